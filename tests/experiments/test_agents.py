"""The agents experiment: a run end to end, models that obey and that cannot, the neutral message, recorded figures."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from automcu.llm.client import Message
from automcu.llm.scripted import ScriptedLLM
from automcu.spaces.nasbench201 import OPERATIONS
from experiments.agents import feedback, measure, report, runs
from experiments.agents.control import neutral
from experiments.agents.problems import problem
from experiments.agents.runs import Method
from tests.graph.shared_models import DATA, shared

CODE_ONLY = ["random", "llm:edit obedient", "llm:edit rubbish", "hybrid:edit rubbish", "evolution"]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("agents")
    for _ in range(2):  # the second time there is nothing left to do
        measure.main(["cifar10", "--seeds", "1", "--methods", *CODE_ONLY, "--out", str(folder)])
    return folder


def test_a_run_is_recorded_once_and_proposal_by_proposal(recorded: Path) -> None:
    rows = {method: found for (method, _), found in report.runs_of(recorded, "cifar10").items()}
    assert set(rows) == set(CODE_ONLY)
    for method in ("random", "evolution", "llm:edit obedient"):
        assert [row["step"] for row in rows[method]] == list(range(1, 13))
        assert [row["round"] for row in rows[method]] == [1] * 4 + [2] * 4 + [3] * 4
        assert all(row["valid"] and (row["accuracy"] is not None) is row["feasible"] for row in rows[method])
    assert all(row["feasible"] for row in rows["llm:edit obedient"])
    assert {row["findings"] for row in rows["random"][:4]} == {0}
    assert rows["random"][4]["findings"] == sum(not row["feasible"] for row in rows["random"][:4]) > 0


def test_a_useless_model_ends_alone_and_costs_a_hybrid_nothing(recorded: Path) -> None:
    rows = {method: found for (method, _), found in report.runs_of(recorded, "cifar10").items()}
    assert not any(row["valid"] for row in rows["llm:edit rubbish"]) and rows["llm:edit rubbish"][-1]["round"] == 3
    found = [row["architecture"] for row in rows["hybrid:edit rubbish"] if row["valid"]]
    assert found == [row["architecture"] for row in rows["evolution"]]


@pytest.mark.parametrize("proposer", ["llm:edit", "llm:architecture"])
def test_who_obeys_is_helped_by_findings_and_not_by_the_neutral_message(proposer: str) -> None:
    fits = {
        told: [
            row.feasible
            for seed in range(10)
            for row in feedback.once(Method(proposer, "obedient", told), problem("cifar10", seed, DATA), seed)
        ]
        for told in (True, False)
    }
    told, untold = (sum(map(bool, flags)) / len(flags) for flags in (fits[True], fits[False]))
    assert told >= 0.9 and untold < 0.8


@pytest.mark.parametrize("proposer", ["llm:edit", "llm:architecture"])
def test_the_neutral_message_says_nothing_and_is_as_long(proposer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = ScriptedLLM(lambda messages: "")
    monkeypatch.setattr(runs, "ScriptedLLM", lambda *given: inner)
    asked = {}
    for told in (True, False):
        inner.asked.clear()
        shown = feedback.once(Method(proposer, "first", told), problem("cifar10", 3, DATA), 3)
        assert [row.valid for row in shown] == [False, False]  # the reply, and the one that was to correct it
        asked[told] = inner.asked[0][1].content
    assert len(asked[True]) == len(asked[False]) and asked[True].count("\n") == asked[False].count("\n")
    findings = re.compile(r"too large|reject|did not fit|decided by|halve the channels|RAM [-+\d]|Flash [-+\d]")
    assert len(findings.findall(asked[True])) > 8
    limits = re.compile(r"RAM 18,432 B, Flash 131,072 B")
    assert not findings.findall(limits.sub("", asked[False]))
    assert limits.search(asked[False])
    assert neutral(asked[True]) == asked[False]


def test_names_of_the_benchmark_are_hidden_from_every_prompt() -> None:
    shared("nasbench201.parquet")
    asked: list[tuple[Message, ...]] = []
    for proposer in ("llm:edit", "llm:architecture"):
        made, watched = runs.proposer_of(Method(proposer, "first"), found := problem("nasbench201", 5, DATA), 5)
        assert watched is not None
        runs_rows = runs.run(Method(proposer, "first"), replace(found, proposals=8), 5)
        assert any(row.accuracy for row in runs_rows)
        list(made.propose(4))
        asked += watched._llm.asked  # type: ignore[attr-defined]
    told = "\n".join(message.content for messages in asked for message in messages)
    assert len(told) > 1_000
    assert not [word for word in (*OPERATIONS[1:], "nasbench", "NAS-Bench", "cifar", "CIFAR") if word in told]


def test_readme_holds_the_figures_that_were_recorded() -> None:
    readme = (measure.HERE / "README.md").read_text("utf-8")
    for table in report.tables(measure.HERE):
        assert table in readme
    assert (measure.HERE / "best_so_far.png").read_bytes().startswith(b"\x89PNG")
