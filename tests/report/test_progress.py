"""Which outcomes a person is told of, and that no key is in the line."""

import pytest

from automcu.messages import CONFIGURED, RecipeChoice, RoundPlan
from automcu.proposal import Notice
from automcu.report.progress import Progress
from automcu.search import Limits, Search
from automcu.work import Exchanged, Noticed, Outcome, Planned, RecipeChosen
from tests.builders import exchange

LIMITS = Limits(600, max_proposals=20, max_trained=2, batch=2, lookahead=2, finish_share=0.15, attempts=2)


def said(*outcomes: Outcome) -> list[str]:
    lines: list[str] = []
    progress = Progress(Search(LIMITS, lambda: 0.0), lambda: 61.25, lines.append)
    for outcome in outcomes:
        progress(outcome)
    return [line for line in lines if "proposed 0 " not in line]


def test_agents_words_and_choices_are_told_and_single_calls_are_not() -> None:
    assert said(
        Exchanged(exchange()),
        Noticed(Notice("The LLM is down.")),
        Planned(RoundPlan(4, "less_ram", False, "most broke the RAM limit")),
        Planned(RoundPlan(1, "explore", True, "nothing left to gain")),
        RecipeChosen(3, CONFIGURED),
        RecipeChosen(4, RecipeChoice(50, 0, 200)),
    ) == [
        "[  61.2 s] The LLM is down.",
        "[  61.2 s] round planned: 4 proposals, focus less ram (most broke the RAM limit)",
        "[  61.2 s] the supervisor agent ends the proposing: nothing left to gain",
        "[  61.2 s] candidate 4 is to be trained with 50 % of the configured learning rate, 0 % of the weight decay, "
        "200 % of the label smoothing",
    ]


def test_a_key_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "canary-0123456789")
    assert said(Noticed(Notice("refused (key canary-0123456789)"))) == ["[  61.2 s] refused (key [redacted])"]
