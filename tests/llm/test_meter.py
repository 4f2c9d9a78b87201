"""The meter: caps hold whatever is under way, and limits per minute hold in any minute."""

from collections.abc import Generator, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automcu.errors import LLMError
from automcu.llm.client import Completion, Message, SpendingCapReached, UnusableReply, complete
from automcu.llm.meter import Amount, Meter, Metered

QUESTION = (Message("user", "x" * 250),)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Model:
    """Uses as many tokens as it is told to, of those it is allowed."""

    model, temperature, seed = "test", None, None

    def __init__(self, error: bool = False) -> None:
        self.error = error
        self.asked = 0

    def stream(
        self, messages: Sequence[Message], schema: Mapping[str, object], *, max_tokens: int
    ) -> Generator[str, None, Completion]:
        self.asked += 1
        completion = Completion("{}", "stop", "schema", self.model, 60, max_tokens, 0, 0.25, 1.0)
        if self.error:
            raise UnusableReply("no text; ask again", completion)
        yield "{}"
        return completion


@given(st.integers(0, 500), st.lists(st.tuples(st.integers(1, 200), st.integers(0, 200), st.booleans())))
def test_no_cap_is_ever_passed_whatever_is_under_way(cap: int, calls: list[tuple[int, int, bool]]) -> None:
    meter, used, flying = Meter(tokens=cap, usd=cap / 100), 0, list[tuple[Amount, Amount]]()
    for most, actual, at_once in calls:
        reserved = Amount(most, most / 100)
        try:
            assert meter.acquire(reserved) == 0.0
        except SpendingCapReached:
            assert used + sum(reserved.tokens for reserved, _ in flying) + most > cap
            continue
        flying.append((reserved, Amount(min(most, actual), min(most, actual) / 100)))
        if at_once:
            for reserved, spent in flying:
                meter.settle(reserved, spent)
                used += spent.tokens
            flying.clear()
        assert used + sum(reserved.tokens for reserved, _ in flying) <= cap


@given(st.integers(1, 60), st.lists(st.floats(0, 5), max_size=80))
def test_no_more_requests_pass_in_a_minute_than_allowed(limit: int, pauses: list[float]) -> None:
    clock = Clock()
    meter, granted = Meter(requests_per_minute=limit, clock=clock), list[float]()
    for pause in pauses:
        clock.sleep(pause)
        while (wait := meter.acquire(Amount(0, None))) > 0:
            clock.sleep(wait + 1e-6)
        granted.append(clock.now)
    for start in granted:  # a full bucket, and what flows in meanwhile
        assert sum(start <= at < start + 60 for at in granted) <= 2 * limit


def test_a_call_waits_for_its_turn_and_settles_for_what_it_used() -> None:
    clock, model = Clock(), Model()
    meter = Meter(tokens_per_minute=600, tokens=1_000, clock=clock)
    llm = Metered(model, meter, clock.sleep)
    complete(llm, QUESTION, {}, max_tokens=300)  # reserves 101 + 300 tokens, uses 60 + 300
    assert clock.now == 0.0
    complete(llm, QUESTION, {}, max_tokens=300)
    assert clock.now == pytest.approx((401 - 240) / 10)
    with pytest.raises(SpendingCapReached, match=r"budget.tokens of 1,000 \(720 are used"):
        complete(llm, QUESTION, {}, max_tokens=300)
    assert model.asked == 2


def test_a_reply_that_is_of_no_use_is_paid_for_and_a_cancelled_one_is_reckoned() -> None:
    meter = Meter(tokens=1_000)
    with pytest.raises(UnusableReply):
        complete(Metered(Model(error=True), meter), QUESTION, {}, max_tokens=100)
    stream = Metered(Model(), meter).stream(QUESTION, {}, max_tokens=100)
    next(stream)
    stream.close()
    with pytest.raises(SpendingCapReached, match=r"\(262 are used"):  # 160 of the first, 101 + 1 of the second
        meter.acquire(Amount(900, None))


def test_money_is_capped() -> None:
    meter = Meter(usd=1.0)
    meter.acquire(Amount(10, 0.75))
    with pytest.raises(SpendingCapReached, match=r"budget.usd of 1 .*; raise it to go on"):
        meter.acquire(Amount(10, 0.5))
    meter.settle(Amount(10, 0.75), Amount(10, 0.25))
    assert meter.acquire(Amount(10, 0.5)) == 0.0


def test_nobody_waits_for_ever() -> None:
    clock = Clock()
    llm = Metered(Model(), Meter(requests_per_minute=1, clock=lambda: 0.0), clock.sleep)
    complete(llm, QUESTION, {}, max_tokens=1)
    with pytest.raises(LLMError, match=r"raise llm\.requests_per_minute"):
        complete(llm, QUESTION, {}, max_tokens=1)
