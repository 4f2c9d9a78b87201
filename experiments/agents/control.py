"""The control of 'feedback helps': the same prompts with every finding replaced by a neutral message.

The neutral message is as long as what it stands for, and repeats one word, `recorded`. What a network needs, which
limit it broke, what would help, and that it was rejected at all are taken out; what was tried stays.
"""

import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace

from automcu.llm.client import LLM, Completion, Message

_FINDINGS = (
    r'(?<=")(?:ram|flash|macs|latency) [\d,]+[^"\n]*(?=")',  # a violation with its changes
    r"(?<=^  )did not fit, RAM .*$",  # a parent on a menu
    r"(?<= \()(?:RAM|Flash|MACs) [^()\n]*(?=\)$)",  # what a network on a menu needs, or an edit adds
    r"(?<= \()costs the same[^()\n]*(?=\)$)",
    r"Nearest misses: .*$",
    r"(?<=, )which fit the limits unless it says too large(?=:$)",
    r"\brejected\b",
)
_FINDING = re.compile("|".join(_FINDINGS), re.MULTILINE)


def neutral(text: str) -> str:
    """`text` without its findings, of the same length."""
    return _FINDING.sub(lambda found: _recorded(len(found[0])), text)


def _recorded(length: int) -> str:
    return ("recorded " * (length // 9 + 1))[:length].strip().ljust(length, ".")


class Unfounded:
    """`llm`, which is told only that its proposals were recorded."""

    def __init__(self, llm: LLM) -> None:
        self._llm = llm
        self.model = llm.model
        self.temperature = llm.temperature
        self.seed = llm.seed

    def stream(
        self, messages: Sequence[Message], schema: Mapping[str, object], *, max_tokens: int
    ) -> Generator[str, None, Completion]:
        """See `LLM.stream`."""
        told = [replace(message, content=neutral(message.content)) for message in messages]
        completion = yield from self._llm.stream(told, schema, max_tokens=max_tokens)
        return completion
