import json
from collections.abc import Generator, Mapping, Sequence
from typing import get_args

import pytest

from automcu.agents.role import PATIENCE, REASON_SHOWN, REPLY_SHOWN, REST, answer_schema
from automcu.agents.training import TrainingAgent
from automcu.errors import LLMError
from automcu.llm.client import (
    Completion,
    Message,
    SpendingCapReached,
    TruncatedReply,
    UnseenRequest,
)
from automcu.llm.scripted import ScriptedLLM
from automcu.messages import CONFIGURED, CandidateNote, CardProse, RecipeChoice, RecipeRequest, RoundPlan
from tests.agents.scripts import conversation

REQUEST = RecipeRequest(1, 1_000, 2_000, ())
HALF = RecipeChoice(50, 100, 100)


def reply(choice: RecipeChoice = HALF, **more: object) -> str:
    figures = {
        "learning_rate_percent": choice.learning_rate_percent,
        "weight_decay_percent": choice.weight_decay_percent,
        "label_smoothing_percent": choice.label_smoothing_percent,
    }
    return json.dumps({**figures, **more})


class Raises:
    """A model that always raises, after a few characters; `asked` has the most tokens of each call."""

    model, temperature, seed = "m", None, None

    def __init__(self, error: Exception) -> None:
        self.asked: list[int] = []
        self._error = error

    def stream(
        self, messages: Sequence[Message], schema: Mapping[str, object], *, max_tokens: int
    ) -> Generator[str, None, Completion]:
        self.asked.append(max_tokens)
        yield "{"
        raise self._error


@pytest.mark.parametrize("kind", [RoundPlan, RecipeChoice, CandidateNote, CardProse])
def test_a_schema_is_strict_and_flat(kind: type) -> None:
    schema = answer_schema(kind, {}, {})
    assert schema["additionalProperties"] is False
    assert schema["required"] == list(schema["properties"])
    for field in schema["properties"].values():
        assert "type" in field and "$ref" not in json.dumps(field) and "title" not in field


def test_fields_that_code_gives_are_not_asked_for_and_fields_are_narrowed() -> None:
    schema = answer_schema(CandidateNote, {"candidate_id": 3}, {"advice": {"enum": ["keep"]}})
    assert list(schema["properties"]) == ["limited_by", "advice", "note"]
    assert schema["properties"]["advice"] == {"enum": ["keep"], "type": "string"}


def test_the_schema_of_a_choice_lists_what_may_be_chosen() -> None:
    field = answer_schema(RecipeChoice, {}, {})["properties"]["learning_rate_percent"]
    assert tuple(field["enum"]) == get_args(RecipeChoice.__annotations__["learning_rate_percent"])


def test_without_a_model_code_decides_and_nothing_is_told() -> None:
    agent = TrainingAgent(None)
    assert agent.choose(REQUEST) == CONFIGURED
    assert agent.exchanges() == () and agent.notices() == ()


def test_a_valid_answer_is_taken_and_its_exchange_handed_on_once() -> None:
    agent = TrainingAgent(conversation("training", [reply()]))
    assert agent.choose(REQUEST) == HALF
    (exchange,) = agent.exchanges()
    assert (exchange.role, exchange.reply, exchange.error) == ("training", reply(), "")
    assert agent.exchanges() == () and agent.notices() == ()


@pytest.mark.parametrize(
    ("faulty", "told"),
    [
        ("no JSON", "no JSON object"),
        (reply(more=1), "keys must be exactly"),
        ('{"learning_rate_percent": 50}', "keys must be exactly"),
        (reply(learning_rate_percent=70), "100, 50, 25 or 200"),
        (reply(learning_rate_percent=True), "100, 50, 25 or 200"),
    ],
)
def test_a_faulty_answer_is_handed_back_once_with_the_reason(faulty: str, told: str) -> None:
    llm = ScriptedLLM([faulty, reply()])
    agent = TrainingAgent(conversation("training", llm))
    assert agent.choose(REQUEST) == HALF
    first, second = llm.asked
    assert second[: len(first)] == first
    assert second[-2] == Message("assistant", faulty)
    assert told in second[-1].content
    assert len(agent.exchanges()) == 2 and agent.notices() == ()


def test_a_long_faulty_answer_is_handed_back_cut() -> None:
    llm = ScriptedLLM(["x" * 100_000, reply()])
    assert TrainingAgent(conversation("training", llm)).choose(REQUEST) == HALF
    assert len(llm.asked[1][-2].content) == REPLY_SHOWN


def test_two_faulty_answers_leave_it_to_code() -> None:
    agent = TrainingAgent(conversation("training", ["no", "no", reply()]))
    assert agent.choose(REQUEST) == CONFIGURED
    assert len(agent.exchanges()) == 2


def test_trouble_and_its_end_are_told_once_each() -> None:
    agent = TrainingAgent(conversation("training", ["no", "no", "no", "no", reply(), reply()]))
    notices = []
    for _ in range(4):
        agent.choose(REQUEST)
        notices.append([notice.text for notice in agent.notices()])
    assert notices[1] == notices[3] == []
    assert "gave no usable answer" in notices[0][0] and "Code decides" in notices[0][0]
    assert notices[2] == ["The LLM scripted of the training agent answers again."]


def test_a_model_that_is_down_is_asked_once_and_code_decides() -> None:
    llm = Raises(LLMError("no way to reach the model " + "x" * 1_000))
    agent = TrainingAgent(conversation("training", llm))
    assert agent.choose(REQUEST) == CONFIGURED
    assert len(llm.asked) == 1
    (notice,) = agent.notices()
    assert "no way to reach" in notice.text and len(notice.text) < REASON_SHOWN + 200


def test_a_model_that_stays_down_is_asked_ever_less() -> None:
    llm = Raises(LLMError("down"))
    agent = TrainingAgent(conversation("training", llm))
    asked = []
    for _ in range(PATIENCE + 2 * (REST + 1)):
        assert agent.choose(REQUEST) == CONFIGURED
        asked.append(len(llm.asked))
    assert asked == [1, 2, 3, *[3] * REST, 4, *[4] * REST, 5]
    assert len(agent.notices()) == 1


def test_an_answer_that_was_cut_off_is_asked_for_again_with_more_room() -> None:
    llm = Raises(TruncatedReply("cut off", Completion("{", "length", "schema", "m", 1, 1, 0, None, 0.1)))
    agent = TrainingAgent(conversation("training", llm))
    assert agent.choose(REQUEST) == CONFIGURED
    assert llm.asked == [200, 400]


@pytest.mark.parametrize("kind", [SpendingCapReached, UnseenRequest])
def test_what_ends_the_run_is_let_through(kind: type[LLMError]) -> None:
    agent = TrainingAgent(conversation("training", Raises(kind("enough"))))
    with pytest.raises(kind):
        agent.choose(REQUEST)
    assert agent.notices() == ()
