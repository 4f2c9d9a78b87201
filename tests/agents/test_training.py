import json
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automcu.agents.training import NOTES_KEPT, NOTES_SHOWN, TrainingAgent, diverged, recipe_by_code
from automcu.llm.scripted import ScriptedLLM
from automcu.messages import CONFIGURED, ConvergenceNote, RecipeChoice, RecipeRequest
from tests.agents.scripts import conversation, replies

CHOICES = {
    name: get_args(RecipeChoice.__annotations__[name])
    for name in ("learning_rate_percent", "weight_decay_percent", "label_smoothing_percent")
}
RECIPES = st.builds(RecipeChoice, **{name: st.sampled_from(values) for name, values in CHOICES.items()})
SHARES = st.floats(0, 1)
NOTES = st.builds(
    ConvergenceNote,
    candidate_id=st.integers(1, 99),
    epochs=st.integers(0, 20),
    first_accuracy=SHARES,
    previous_accuracy=SHARES,
    last_accuracy=SHARES,
    last_loss=st.floats(0, 10),
    ended=st.sampled_from(["completed", "scheduler", "deadline", "failed"]),
    recipe=RECIPES,
)
REQUESTS = st.builds(RecipeRequest, st.integers(1, 99), st.integers(1), st.integers(1), st.lists(NOTES).map(tuple))
REPLIES = replies({name: st.sampled_from([*values, 75]) for name, values in CHOICES.items()})

WELL = ConvergenceNote(1, 8, 0.2, 0.7, 0.75, 0.9, "completed", CONFIGURED)
BADLY = replace(WELL, last_accuracy=0.1)


def at(percent: int, note: ConvergenceNote) -> ConvergenceNote:
    return replace(note, recipe=RecipeChoice(percent, 100, 100))  # type: ignore[arg-type]


@given(requests=st.lists(REQUESTS, min_size=1, max_size=3), said=REPLIES)
def test_whatever_the_model_says_the_choice_is_one_of_the_listed(
    requests: list[RecipeRequest], said: list[str]
) -> None:
    agent = TrainingAgent(conversation("training", said))
    for request in requests:
        choice = agent.choose(request)
        for name, values in CHOICES.items():
            chosen = getattr(choice, name)
            assert chosen in values and type(chosen) is int


@pytest.mark.parametrize(
    ("notes", "percent"),
    [
        ([], 100),
        ([WELL], 100),
        ([WELL, WELL, BADLY], 100),
        ([WELL, BADLY], 50),
        ([replace(WELL, ended="failed")], 50),
        ([BADLY, at(50, WELL)], 50),
        ([BADLY, at(50, BADLY)], 25),
        ([BADLY, at(50, BADLY), at(25, BADLY)], 25),
        ([BADLY, WELL, WELL, WELL, at(50, BADLY)], 100),
    ],
)
def test_code_lowers_the_learning_rate_where_trainings_diverged(notes: list[ConvergenceNote], percent: int) -> None:
    assert recipe_by_code(notes) == RecipeChoice(percent, 100, 100)  # type: ignore[arg-type]


def test_one_epoch_is_no_divergence() -> None:
    assert not diverged(replace(WELL, epochs=1, first_accuracy=0.5, last_accuracy=0.5))
    assert diverged(replace(WELL, first_accuracy=0.5, last_accuracy=0.5))


def test_notes_are_remembered_over_requests_and_bounded() -> None:
    llm = ScriptedLLM(lambda messages: json.dumps(dict.fromkeys(CHOICES, 100)))
    agent = TrainingAgent(conversation("training", llm))
    agent.choose(RecipeRequest(1, 1, 1, (BADLY,)))
    agent.choose(RecipeRequest(2, 1, 1, ()))
    assert llm.asked[1][-1].content.count("ended: completed") == 1
    agent.choose(RecipeRequest(3, 1, 1, (WELL,) * NOTES_KEPT))
    assert llm.asked[2][-1].content.count("ended: completed") == NOTES_SHOWN
    assert sum(len(message.content) for message in llm.asked[2]) < 1_500
    long_ago = (*(BADLY,) * (NOTES_KEPT + 1), *(WELL,) * NOTES_KEPT)
    assert recipe_by_code(long_ago) != CONFIGURED == TrainingAgent(None).choose(RecipeRequest(4, 1, 1, long_ago))
