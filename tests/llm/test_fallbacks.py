"""Several models as one."""

from collections.abc import Generator, Mapping, Sequence

import pytest

from automcu.errors import LLMError
from automcu.llm.client import LLM, Completion, Message, SpendingCapReached, complete
from automcu.llm.fallbacks import REST_SECONDS, Fallbacks
from automcu.llm.scripted import ScriptedLLM
from tests.contracts.llm import LLMContract

QUESTION = (Message("user", "?"),)


class TestFallbacks(LLMContract):
    def make(self, replies: list[str]) -> LLM:
        return Fallbacks([ScriptedLLM(replies), ScriptedLLM([])])


class Breaking:
    """Gives one piece and breaks off."""

    model, temperature, seed = "breaking", None, None

    def stream(
        self, messages: Sequence[Message], schema: Mapping[str, object], *, max_tokens: int
    ) -> Generator[str, None, Completion]:
        yield "{"
        raise LLMError("the connection was reset; ask again")


class Capped(Breaking):
    def stream(
        self, messages: Sequence[Message], schema: Mapping[str, object], *, max_tokens: int
    ) -> Generator[str, None, Completion]:
        raise SpendingCapReached("budget.tokens of 1 (1 used); raise it to go on")
        yield


def test_the_next_is_asked_and_the_first_rests() -> None:
    now = [0.0]
    down, up = ScriptedLLM([], "down"), ScriptedLLM(["1", "2", "3"], "up")
    llm = Fallbacks([down, up], lambda: now[0])
    assert complete(llm, QUESTION, {}, max_tokens=9).model == "up"
    assert complete(llm, QUESTION, {}, max_tokens=9).text == "2"
    assert len(down.asked) == 1
    now[0] = REST_SECONDS
    complete(llm, QUESTION, {}, max_tokens=9)
    assert len(down.asked) == 2
    with pytest.raises(LLMError, match="used up"):
        complete(llm, QUESTION, {}, max_tokens=9)


def test_what_broke_off_and_what_a_cap_forbids_is_not_asked_of_another() -> None:
    other = ScriptedLLM(["1"])
    for first in (Breaking(), Capped()):
        with pytest.raises(LLMError):
            complete(Fallbacks([first, other]), QUESTION, {}, max_tokens=9)
    assert not other.asked
