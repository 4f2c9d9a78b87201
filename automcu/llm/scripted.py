"""A language model that gives the replies it was told to give: for tests, demonstrations and dry runs."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from automcu.errors import ConfigError, LLMError
from automcu.llm.client import Completion, Message

Policy = Callable[[Sequence[Message]], str]


class ScriptedLLM:
    """Gives `replies` in their order and then raises `LLMError`; or asks a function of the messages for each reply.

    `asked` holds every conversation it was shown. It counts no tokens and costs nothing that could be known.
    """

    def __init__(self, replies: Sequence[str] | Policy, model: str = "scripted") -> None:
        self.model = model
        self.asked: list[tuple[Message, ...]] = []
        self._replies = replies

    @classmethod
    def from_file(cls, path: str | Path) -> "ScriptedLLM":
        """The replies of a JSON file that holds a list of strings. Raises `ConfigError` when it does not."""
        try:
            replies = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(
                f"cannot read the scripted replies {path} ({error.strerror}); correct the path"
            ) from error
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{path} is no JSON file of replies ({error}); write a list of strings") from error
        if not isinstance(replies, list) or not all(isinstance(reply, str) for reply in replies):
            raise ConfigError(f"{path} does not hold a list of strings; write each reply as one string")
        return cls(replies)

    def complete(self, messages: Sequence[Message], schema: Mapping[str, object], *, max_tokens: int) -> Completion:
        """The next reply; see `LLM.complete`."""
        turn = len(self.asked)
        self.asked.append(tuple(messages))
        if callable(self._replies):
            text = self._replies(messages)
        elif turn < len(self._replies):
            text = self._replies[turn]
        else:
            raise LLMError(f"all {turn} scripted replies are used up; add replies to the script or use another LLM")
        return Completion(text, "stop", "prompt", self.model, tokens_in=0, tokens_out=0, usd=None, seconds=0.0)
