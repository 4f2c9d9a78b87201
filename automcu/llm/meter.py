"""One meter for the language models of all roles: how often they may be asked, and what they may use in all.

A call reserves the most it could use before it is made, and settles for what it did use. So a cap on tokens or money
holds whatever is under way, as long as providers keep `max_tokens` and a prompt has no more tokens than `tokens_of`
reckons.
"""

import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Protocol

from automcu.errors import LLMError
from automcu.llm.client import LLM, Completion, Message, SpendingCapReached, UnusableReply
from automcu.llm.prices import price_of

CHARS_PER_TOKEN = 2.5
"""Fewer than tokenizers of the models in `conf/llm` need for JSON and English: a prompt is not to be underrated."""
MOST_WAITED_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Amount:
    """Tokens, in and out, and US dollars (None when the price is unknown, which counts as nothing against a cap)."""

    tokens: int
    usd: float | None


class MeterLike(Protocol):
    """Grants calls. Implementations: `Meter`, `SharedMeter`, and a Ray actor's handle around one."""

    def acquire(self, most: Amount) -> float:
        """0.0 when a call that uses at most `most` may be made now, which reserves that much; otherwise how many
        seconds to wait before asking again. Raises `SpendingCapReached` when it could go over a cap."""
        ...

    def settle(self, reserved: Amount, used: Amount) -> None:
        """Put what a call `used` in the place of what it had `reserved`."""
        ...


class Meter:
    """Counts what all roles use. Limits are for any 60 seconds and for the whole run; None is no limit. `clock` gives
    seconds."""

    def __init__(
        self,
        *,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        tokens: int | None = None,
        usd: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tokens_cap = tokens
        self._usd_cap = usd
        self._tokens = 0
        self._usd = 0.0
        self._clock = clock
        # Of each limit how much is free now; it fills up again within a minute.
        self._buckets = {"requests": _Bucket(requests_per_minute, clock), "tokens": _Bucket(tokens_per_minute, clock)}

    def acquire(self, most: Amount) -> float:
        """See `MeterLike`."""
        if self._tokens_cap is not None and self._tokens + most.tokens > self._tokens_cap:
            raise SpendingCapReached(
                f"budget.tokens of {self._tokens_cap:,} ({self._tokens:,} are used or promised, and one more call may "
                "take more than is left); raise it to go on"
            )
        if self._usd_cap is not None and self._usd + (most.usd or 0.0) > self._usd_cap:
            raise SpendingCapReached(
                f"budget.usd of {self._usd_cap:g} ({self._usd:.2g} are spent or promised, and one more call may cost "
                "more than is left); raise it to go on"
            )
        wants = {"requests": 1.0, "tokens": float(most.tokens)}
        wait = max(bucket.seconds_until(wants[name]) for name, bucket in self._buckets.items())
        if wait > 0:
            return wait
        for name, bucket in self._buckets.items():
            bucket.take(wants[name])
        self._tokens += most.tokens
        self._usd += most.usd or 0.0
        return 0.0

    def settle(self, reserved: Amount, used: Amount) -> None:
        """See `MeterLike`."""
        self._tokens += used.tokens - reserved.tokens
        self._usd += (used.usd or 0.0) - (reserved.usd or 0.0)
        self._buckets["tokens"].take(used.tokens - reserved.tokens)


class SharedMeter:
    """A meter that threads of one process share."""

    def __init__(self, meter: MeterLike) -> None:
        self._meter = meter
        self._lock = threading.Lock()

    def acquire(self, most: Amount) -> float:
        """See `MeterLike`."""
        with self._lock:
            return self._meter.acquire(most)

    def settle(self, reserved: Amount, used: Amount) -> None:
        """See `MeterLike`."""
        with self._lock:
            self._meter.settle(reserved, used)


class _Bucket:
    """A limit per minute: holds at most a minute's worth, and fills evenly."""

    def __init__(self, per_minute: int | None, clock: Callable[[], float]) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._free = float(per_minute or 0)
        self._at = clock()

    def seconds_until(self, amount: float) -> float:
        """How long until `amount` is free; what is larger than a minute's worth waits for a full bucket."""
        if self._per_minute is None:
            return 0.0
        now = self._clock()
        self._free = min(self._per_minute, self._free + (now - self._at) * self._per_minute / 60)
        self._at = now
        return max(0.0, (min(amount, self._per_minute) - self._free) * 60 / self._per_minute)

    def take(self, amount: float) -> None:
        self._free -= amount


class Metered:
    """An `LLM` whose calls a meter must grant. `sleep` waits for one that is not granted yet, for `most_waited_s` in
    all."""

    def __init__(
        self,
        llm: LLM,
        meter: MeterLike,
        sleep: Callable[[float], None] = time.sleep,
        *,
        most_waited_s: float = MOST_WAITED_SECONDS,
    ) -> None:
        self._llm = llm
        self._meter = meter
        self._sleep = sleep
        self._most_waited_s = min(most_waited_s, MOST_WAITED_SECONDS)

    @property
    def model(self) -> str:
        """See `LLM`."""
        return self._llm.model

    @property
    def temperature(self) -> float | None:
        """See `LLM`."""
        return self._llm.temperature

    @property
    def seed(self) -> int | None:
        """See `LLM`."""
        return self._llm.seed

    def stream(
        self, messages: Sequence[Message], schema: Mapping[str, object], *, max_tokens: int
    ) -> Generator[str, None, Completion]:
        """See `LLM.stream`. A call that failed, was cancelled, or is not counted by its provider settles
        for what its prompt and the text that came are reckoned at."""
        prompt = tokens_of(sum(len(message.content) for message in messages) + len(str(schema)))
        reserved = self._amount(prompt, max_tokens)
        self._await(reserved)
        came = 0
        used = None
        stream = self._llm.stream(messages, schema, max_tokens=max_tokens)
        try:
            while True:
                try:
                    piece = next(stream)
                except StopIteration as end:
                    completion: Completion = end.value
                    used = _used(completion)
                    return completion
                came += len(piece)
                yield piece
        except UnusableReply as error:
            used = _used(error.completion)
            raise
        finally:
            stream.close()
            self._meter.settle(reserved, used or self._amount(prompt if came else 0, tokens_of(came)))

    def _await(self, most: Amount) -> None:
        waited = 0.0
        while (seconds := self._meter.acquire(most)) > 0:
            if waited + seconds > self._most_waited_s:
                raise LLMError(
                    f"the limits per minute would make {self.model} wait for more than {self._most_waited_s:.0f} s; "
                    "raise llm.requests_per_minute or llm.tokens_per_minute"
                )
            self._sleep(seconds)
            waited += seconds

    def _amount(self, tokens_in: int, tokens_out: int) -> Amount:
        price = price_of(self.model)
        usd = None if price is None else tokens_in * price.usd_in + tokens_out * price.usd_out
        return Amount(tokens_in + tokens_out, usd)


def tokens_of(characters: int) -> int:
    """At most about so many tokens have so many characters."""
    return ceil(characters / CHARS_PER_TOKEN)


def _used(completion: Completion) -> Amount | None:
    """What the provider counted, None when it counts nothing."""
    tokens = completion.tokens_in + completion.tokens_out
    return Amount(tokens, completion.usd) if tokens else None
