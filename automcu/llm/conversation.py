"""One role's talk with its model: its own context, its own token budget, and a record of every exchange.

By default a role sees its own earlier turns only. `Transcript` is what they are kept in; giving several roles the same
one is the paper's ablation of a shared context (arXiv 2605.21560), where every role reads what all others said.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from math import inf
from typing import Protocol

from automcu.errors import LLMError
from automcu.exchange import CANCELLED, Exchange, Role
from automcu.llm.client import (
    LLM,
    Completion,
    EndsTheRun,
    Message,
    PromptTooLong,
    TruncatedReply,
    UnusableReply,
    message_hashes,
    request_sha256,
)

MAX_RECORDED_CHARS = 200_000


class Context(Protocol):
    """Earlier turns that go before a role's next question. Implementations: `Transcript`, and a Ray actor's handle
    around one for a context that several roles share."""

    def recall(self) -> tuple[Message, ...]:
        """The turns, oldest first, bounded in size."""
        ...

    def add(self, turns: Sequence[Message]) -> None:
        """Remember `turns`, a question and its answer."""
        ...


class Transcript:
    """The latest turns, at most `max_chars` characters of them; 0 remembers nothing."""

    def __init__(self, max_chars: int) -> None:
        self._max_chars = max_chars
        self._turns: tuple[Message, ...] = ()

    def recall(self) -> tuple[Message, ...]:
        """See `Context`."""
        return self._turns

    def add(self, turns: Sequence[Message]) -> None:
        """See `Context`; the oldest turns are forgotten first, in pairs of question and answer."""
        self._turns = _latest((*self._turns, *turns), self._max_chars)


class Conversation:
    """What role `role` says to `llm` and hears from it.

    A question is a system message and the turns of the present exchange; the context's turns go in between. A reply
    is at most `max_tokens` long, and all of the role's calls together use at most `token_budget` tokens (None for no
    limit of its own). `today` gives the date that is recorded.

    How much a model can read is learned from it: when a prompt is too long, or leaves too little room for the reply,
    half as much of the context goes into this one and all later ones.
    """

    def __init__(
        self,
        role: Role,
        llm: LLM,
        context: Context,
        *,
        max_tokens: int,
        token_budget: int | None = None,
        today: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.role = role
        self.llm = llm
        self.max_tokens = max_tokens
        self._context = context
        self._token_budget = token_budget
        self._today = today
        self._spent = 0
        self._most_recalled = inf
        self._exchanges: list[Exchange] = []

    def stream(
        self, system: str, turns: Sequence[Message], schema: Mapping[str, object], max_tokens: int | None = None
    ) -> Generator[str, None, Completion]:
        """The reply, piece by piece; see `LLM.stream`. Whatever comes of the call is recorded."""
        allowed = max_tokens or self.max_tokens
        if self._token_budget is not None and self._spent + allowed > self._token_budget:
            raise LLMError(
                f"the {self.role} agent has used {self._spent:,} of its {self._token_budget:,} tokens; raise "
                f"agents.{self.role}.token_budget"
            )
        while True:
            earlier = _latest(self._context.recall(), self._most_recalled)
            try:
                completion = yield from self._call((Message("system", system), *earlier, *turns), schema, allowed)
            except PromptTooLong:
                if not _chars(earlier):
                    raise
                self._most_recalled = _chars(earlier) // 2
            except TruncatedReply as error:
                if earlier and error.completion.tokens_out < allowed:  # by the end of the model's context
                    self._most_recalled = _chars(earlier) // 2
                raise
            else:
                self._context.add((*turns, Message("assistant", completion.text)))
                return completion

    def _call(
        self, messages: Sequence[Message], schema: Mapping[str, object], max_tokens: int
    ) -> Generator[str, None, Completion]:
        request = request_sha256(messages, schema, max_tokens), message_hashes(messages)
        began = time.monotonic()
        came = ""

        def nothing_whole() -> Completion:
            seconds = time.monotonic() - began
            return Completion(came, "", "prompt", self.llm.model, 0, 0, 0, None, seconds)

        pieces = self.llm.stream(messages, schema, max_tokens=max_tokens)
        try:
            while True:
                try:
                    piece = printable(next(pieces))
                except StopIteration as end:
                    completion: Completion = replace(end.value, text=printable(end.value.text))
                    break
                came += piece
                yield piece
        except UnusableReply as error:
            self._record(request, error.completion, str(error))
            raise
        except EndsTheRun:  # nothing was asked
            raise
        except GeneratorExit:  # whoever listened has heard enough
            self._record(request, nothing_whole(), CANCELLED)
            pieces.close()
            raise
        except LLMError as error:
            self._record(request, nothing_whole(), str(error))
            raise
        self._record(request, completion, "")
        return completion

    def ask(self, system: str, question: str, schema: Mapping[str, object]) -> str:
        """The text of the whole reply to one question."""
        stream = self.stream(system, (Message("user", question),), schema)
        while True:
            try:
                next(stream)
            except StopIteration as end:
                completion: Completion = end.value
                return completion.text

    def exchanges(self) -> tuple[Exchange, ...]:
        """The exchanges since the last time this was asked."""
        taken = tuple(self._exchanges)
        self._exchanges.clear()
        return taken

    def _record(self, request: tuple[str, tuple[str, ...]], completion: Completion, error: str) -> None:
        self._spent += completion.tokens_in + completion.tokens_out
        self._exchanges.append(
            Exchange(
                role=self.role,
                model=completion.model,
                request_sha256=request[0],
                reply=printable(completion.text[:MAX_RECORDED_CHARS]),
                finish=completion.finish,
                level=completion.level,
                tokens_in=completion.tokens_in,
                tokens_out=completion.tokens_out,
                tokens_cached=completion.tokens_cached,
                usd=completion.usd,
                seconds=completion.seconds,
                temperature=self.llm.temperature,
                seed=self.llm.seed,
                date=completion.date or self._today().isoformat(timespec="seconds"),
                error=printable(error),
                message_hashes=request[1],
            )
        )


def _latest(turns: Sequence[Message], max_chars: float) -> tuple[Message, ...]:
    """The latest pairs of question and answer that have at most so many characters together."""
    kept = deque(turns)
    left = _chars(kept)
    while left > max_chars:
        left -= len(kept.popleft().content) + len(kept.popleft().content)
    return tuple(kept)


def _chars(turns: Iterable[Message]) -> int:
    return sum(len(turn.content) for turn in turns)


def printable(text: str) -> str:
    """`text` fit for UTF-8: halves of surrogate pairs, which JSON lets through, become question marks."""
    return text.encode(errors="replace").decode()
