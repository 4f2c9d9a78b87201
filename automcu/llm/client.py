"""The seam between AutoMCU and a language model: messages and a JSON schema in, one completion or a typed error out.

Implementations: `LiteLLMClient` (any provider), `ScriptedLLM` (given replies). Contract suite:
`tests/contracts/llm.py`. A completion's text is untrusted; `automcu.llm.reply` reads it.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, Protocol

from automcu.errors import LLMError

Level = Literal["schema", "json", "prompt"]
"""How structure is asked for: the endpoint's native schema, its JSON mode, or words alone."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Completion:
    """One reply. Tokens are the provider's count (0 when it gives none); `usd` is None when the price is unknown.

    `finish` is the provider's finish reason; `seconds` is the wall time of the call, retries included.
    """

    text: str
    finish: str
    level: Level
    model: str
    tokens_in: int
    tokens_out: int
    usd: float | None
    seconds: float


class UnusableReply(LLMError):
    """The model replied and may have been paid, but sent no whole text. `completion` holds what came."""

    def __init__(self, message: str, completion: Completion) -> None:
        super().__init__(message, completion)
        self.completion = completion

    def __str__(self) -> str:
        return str(self.args[0])


class TruncatedReply(UnusableReply):
    """The reply ran into `max_tokens`; asking again with more may do."""


class LLM(Protocol):
    """A language model. `model` names it as the provider does."""

    @property
    def model(self) -> str:
        """The model's name."""
        ...

    def complete(self, messages: Sequence[Message], schema: Mapping[str, object], *, max_tokens: int) -> Completion:
        """The model's reply to `messages`, which should be one JSON object after `schema` (no promise that it is).

        Raises `LLMError`: `TruncatedReply` or `UnusableReply` when a reply came but not a whole one.
        """
        ...


def request_sha256(model: str, messages: Sequence[Message], schema: Mapping[str, object], max_tokens: int) -> str:
    """Content hash of a request: what a recorded exchange is found by."""
    request = [model, [asdict(message) for message in messages], schema, max_tokens]
    return hashlib.sha256(json.dumps(request, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
