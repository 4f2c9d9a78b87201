import json
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automcu.agents.evaluation import NOTES_KEPT, EvaluationAgent, note_by_code, shares
from automcu.board import Budget
from automcu.llm.scripted import ScriptedLLM
from automcu.messages import CandidateNote
from automcu.results import EpochPoint, TrialResult
from tests import builders
from tests.agents.scripts import conversation, replies

BUDGET = Budget(64_000, 128_000, None)
EMPTY = {"ram": 0.2, "flash": 0.3}
ANNOTATIONS = CandidateNote.__annotations__
REPLIES = replies(
    {
        "limited_by": st.sampled_from(get_args(ANNOTATIONS["limited_by"])),
        "advice": st.sampled_from(get_args(ANNOTATIONS["advice"])),
        "note": st.text(max_size=220),
    }
)


def trial(*points: tuple[float, float], ended: str = "completed") -> TrialResult:
    """One with these training losses and accuracies."""
    curve = tuple(EpochPoint(i + 1, loss, accuracy, 1.0) for i, (loss, accuracy) in enumerate(points))
    return TrialResult(curve, ended, 0, 1.0)  # type: ignore[arg-type]


SETTLED = trial((2, 0.2), (1.5, 0.4), (1.4, 0.5), (1.39, 0.505))


@given(
    said=REPLIES,
    ram=st.integers(1_000, 63_000),
    accuracy=st.floats(0, 1),
    lost=st.floats(0, 0.2),
    points=st.lists(st.tuples(st.floats(0, 10), st.floats(0, 1)), min_size=1, max_size=12),
    ended=st.sampled_from(["completed", "deadline"]),
)
def test_whatever_the_model_says_the_note_is_valid_and_of_this_candidate(
    said: list[str], ram: int, accuracy: float, lost: float, points: list[tuple[float, float]], ended: str
) -> None:
    evaluation = replace(builders.evaluation(accuracy), float_validation_accuracy=accuracy + lost)
    report = builders.report(activations=ram)
    agent = EvaluationAgent(conversation("evaluation", said))
    note = agent.note(builders.candidate(7), report, trial(*points, ended=ended), evaluation, BUDGET)
    assert note.candidate_id == 7
    assert note.limited_by in get_args(ANNOTATIONS["limited_by"])
    assert note.advice in get_args(ANNOTATIONS["advice"])
    assert note.note.isprintable() and len(note.note) <= 200
    assert note.advice != "larger" or report.ram_bytes <= 0.95 * BUDGET.ram_bytes


@pytest.mark.parametrize(
    ("curve", "lost", "used", "limited_by", "advice"),
    [
        (SETTLED, 0.05, EMPTY, "quantization", "other_blocks"),
        (trial((2, 0.2), (1, 0.5), (0.5, 0.5), (0.2, 0.49)), 0.0, EMPTY, "overfitting", "smaller"),
        (trial((2, 0.2), (1, 0.5), (0.5, 0.6), (0.2, 0.7)), 0.0, EMPTY, "training", "train_longer"),
        (replace(SETTLED, ended="deadline"), 0.0, EMPTY, "training", "train_longer"),
        (SETTLED, 0.0, EMPTY, "capacity", "larger"),
        (SETTLED, 0.0, {"ram": 0.9, "flash": 0.3}, "capacity", "deeper"),
        (SETTLED, 0.0, {"ram": 0.3, "flash": 0.9}, "capacity", "other_blocks"),
        (SETTLED, 0.0, {"ram": 0.9, "flash": 0.9}, "nothing_clear", "keep"),
        (SETTLED, 0.0, {"ram": 0.3, "flash": 0.3, "macs": 0.97}, "nothing_clear", "keep"),
        (trial((2, 0.2)), 0.0, EMPTY, "capacity", "larger"),
        (trial((2, 0.5), (1, 0.5)), 0.0, EMPTY, "capacity", "larger"),  # too short to be called overfitting
    ],
)
def test_code_says_what_limits_a_network(
    curve: TrialResult, lost: float, used: dict, limited_by: str, advice: str
) -> None:
    evaluation = replace(builders.evaluation(0.5), float_validation_accuracy=0.5 + lost)
    note = note_by_code(3, curve, evaluation, used)
    assert (note.candidate_id, note.limited_by, note.advice) == (3, limited_by, advice)


def test_shares_are_of_the_limits_that_are_set() -> None:
    report = replace(builders.report(activations=31_000, weights=22_000, macs=500), cycles=2_000_000)
    assert shares(report, BUDGET) == {"ram": 0.5, "flash": 0.25}
    timed = Budget(64_000, 128_000, 1_000, latency_ms=40.0, clock_hz=100_000_000)
    assert shares(report, timed) == {"ram": 0.5, "flash": 0.25, "macs": 0.5, "latency": 0.5}


def test_advice_that_cannot_fit_is_refused() -> None:
    said = json.dumps({"limited_by": "capacity", "advice": "larger", "note": "grow"})
    llm = ScriptedLLM([said, said.replace("larger", "deeper")])
    agent = EvaluationAgent(conversation("evaluation", llm))
    report = builders.report(activations=62_000)
    note = agent.note(builders.candidate(7), report, SETTLED, builders.evaluation(), BUDGET)
    assert note == CandidateNote(7, "capacity", "deeper", "grow")
    assert "98% of a limit; larger would not fit" in llm.asked[1][-1].content


def test_its_own_notes_are_remembered_and_bounded() -> None:
    llm = ScriptedLLM(lambda messages: json.dumps({"limited_by": "training", "advice": "keep", "note": "n"}))
    agent = EvaluationAgent(conversation("evaluation", llm))
    for _ in range(NOTES_KEPT + 2):
        agent.note(builders.candidate(7), builders.report(), SETTLED, builders.evaluation(), BUDGET)
    assert llm.asked[1][-1].content.count("Earlier: ") == 1
    assert llm.asked[-1][-1].content.count("Earlier: ") == NOTES_KEPT
    assert sum(len(message.content) for message in llm.asked[-1]) < 1_500
