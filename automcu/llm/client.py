"""The seam between AutoMCU and a language model: messages and a JSON schema in; text as it comes, and one completion or
a typed error, out.

Implementations: `LiteLLMClient` (any provider), `Fallbacks` (several, in order), `ScriptedLLM` (given replies),
`ReplayLLM` (a recorded run). Contract suite: `tests/contracts/llm.py`. A completion's text is untrusted;
`automcu.llm.reply` reads it.
"""

import hashlib
import json
from collections.abc import Generator, Mapping, Sequence
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
    """One reply. Tokens are the provider's count (0 when it gives none), `tokens_cached` those of `tokens_in` that it
    read from its cache; `usd` is None when the price is unknown.

    `finish` is the provider's finish reason; `seconds` is the wall time of the call, retries included. `date` is that
    of a reply of earlier, as in `Exchange`; empty for one of now.
    """

    text: str
    finish: str
    level: Level
    model: str
    tokens_in: int
    tokens_out: int
    tokens_cached: int
    usd: float | None
    seconds: float
    date: str = ""


class UnusableReply(LLMError):
    """The model replied and may have been paid, but sent no whole text. `completion` holds what came."""

    def __init__(self, message: str, completion: Completion) -> None:
        super().__init__(message, completion)
        self.completion = completion

    def __str__(self) -> str:
        return str(self.args[0])


class TruncatedReply(UnusableReply):
    """The reply ran into `max_tokens`; asking again with more may do."""


class PromptTooLong(LLMError):
    """The model's context has no room for the prompt: a shorter one may do. The message begins with
    `automcu.exchange.TOO_LONG`."""


class EndpointDown(LLMError):
    """Nobody answers, or not in time."""


class RateLimited(LLMError):
    """The provider wants fewer calls, or the account's quota is spent."""


class KeyRefused(LLMError):
    """The key is missing, not accepted, or has no money left."""


class EndsTheRun(LLMError):
    """Nothing was asked, and code must not step in: whoever asked lets this through, and the proposing ends."""


class SpendingCapReached(EndsTheRun):
    """The call was not made, because it could have gone over a cap on tokens or money."""


class UnseenRequest(EndsTheRun):
    """A run that is replayed strictly asked what the recorded one did not ask."""


class LLM(Protocol):
    """A language model. `model` names it as the provider does; `temperature` and `seed` are what it samples with, None
    where it takes none."""

    @property
    def model(self) -> str:
        """The model's name."""
        ...

    @property
    def temperature(self) -> float | None:
        """Sampling temperature."""
        ...

    @property
    def seed(self) -> int | None:
        """Seed of the sampling."""
        ...

    def stream(
        self, messages: Sequence[Message], schema: Mapping[str, object], *, max_tokens: int
    ) -> Generator[str, None, Completion]:
        """The model's reply to `messages`, piece by piece, which should be one JSON object after `schema` (no promise
        that it is). The generator's value is the completion, whose text is all pieces joined.

        Closing the generator cancels the call. Raises `LLMError`: `TruncatedReply` or `UnusableReply` when a reply came
        but not a whole one, `SpendingCapReached` when a cap forbids the call.
        """
        ...


def complete(llm: LLM, messages: Sequence[Message], schema: Mapping[str, object], *, max_tokens: int) -> Completion:
    """The whole reply of `llm`, see `LLM.stream`."""
    stream = llm.stream(messages, schema, max_tokens=max_tokens)
    while True:
        try:
            next(stream)
        except StopIteration as end:
            completion: Completion = end.value
            return completion


def request_sha256(messages: Sequence[Message], schema: Mapping[str, object], max_tokens: int) -> str:
    """Content hash of what was asked: what a recorded exchange is found by. Which model answered, and what it sampled
    with, stand beside it in the record."""
    request = [[asdict(message) for message in messages], schema, max_tokens]
    return hashlib.sha256(json.dumps(request, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def message_hashes(messages: Sequence[Message]) -> tuple[str, ...]:
    """A short hash a message: tells where two requests differ."""
    return tuple(
        hashlib.sha256(f"{message.role} {message.content}".encode(errors="surrogatepass")).hexdigest()[:12]
        for message in messages
    )
