"""Several models as one: the next is asked while one fails."""

import time
from collections.abc import Callable, Generator, Mapping, Sequence

from automcu.errors import LLMError
from automcu.llm.client import LLM, Completion, EndsTheRun, Message

REST_SECONDS = 60.0
"""How long a model that failed is passed over, as long as another is left."""


class Fallbacks:
    """Asks `llms` in their order, at least one. A model that failed before its first piece is followed by the next, and
    rests; a reply that broke off later is a failure of the call, since its pieces are out. The completion tells who
    answered."""

    def __init__(self, llms: Sequence[LLM], clock: Callable[[], float] = time.monotonic) -> None:
        self._llms = list(llms)
        self._clock = clock
        self._rests_until = [float("-inf")] * len(self._llms)

    @property
    def model(self) -> str:
        """The first model's name."""
        return self._llms[0].model

    @property
    def temperature(self) -> float | None:
        """The first model's."""
        return self._llms[0].temperature

    @property
    def seed(self) -> int | None:
        """The first model's."""
        return self._llms[0].seed

    def stream(
        self, messages: Sequence[Message], schema: Mapping[str, object], *, max_tokens: int
    ) -> Generator[str, None, Completion]:
        """See `LLM.stream`. Raises the last model's error when all fail."""
        now = self._clock()
        order = sorted(range(len(self._llms)), key=lambda number: self._rests_until[number] > now)
        for last, number in enumerate(order, start=1):
            stream = self._llms[number].stream(messages, schema, max_tokens=max_tokens)
            try:
                first = next(stream)
            except StopIteration as end:
                completion: Completion = end.value
                return completion
            except EndsTheRun:
                raise
            except LLMError:
                self._rests_until[number] = now + REST_SECONDS
                if last == len(order):
                    raise
                continue
            try:
                yield first
                return (yield from stream)
            finally:
                stream.close()
        raise AssertionError("the last model returns or raises")
