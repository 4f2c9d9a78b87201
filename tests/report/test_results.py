"""The files of a finished run: costs stand in the summary and in a table, and no key is in any of them."""

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from automcu.architecture import Task
from automcu.board import Budget
from automcu.finished import Deployed, Failed, Finished, Rejected
from automcu.ledger import Costs
from automcu.report.results import nothing_deployed, write_results
from automcu.run_folder import RunFolder
from tests.builders import board, candidate, deployment, evaluation, report, test_result, trial
from tests.report.test_costs import COSTS, FUNNEL, NONE

KEY = "canary-0123456789"
TASK = Task("digits", "digits", (8, 8, 1), 10, "handwritten digits")


def written(folder: Path, costs: Costs, stopped_by: str | None = None) -> tuple[str, str]:
    """What the screen shows, and the summary file."""
    finished: dict[int, Finished] = {
        1: Rejected(candidate(1), report(), ()),
        2: Failed(candidate(2), "train", "candidate", f"refused with {KEY}"),
        3: Deployed(candidate(3), report(), trial(), evaluation(), test_result(), deployment()),
    }
    files, budget = RunFolder(folder), Budget(20_000, 100_000, None)
    screen = write_results(files, TASK, board(), budget, "planner", finished, FUNNEL, costs, stopped_by, 600.0, "next")
    return screen, (folder / "summary.md").read_text()


def test_costs_and_what_ended_the_proposing_are_told(tmp_path: Path) -> None:
    screen, summary = written(tmp_path, COSTS, "budget.usd of 1; raise it to go on.")
    for text in (screen, summary):
        assert "Language models: 10 calls" in text
        assert "Proposing was ended early by budget.usd of 1; raise it to go on.\n" in text
    assert "## Costs" in summary and "| all | 10 |" in summary
    assert pq.read_table(tmp_path / "costs.parquet").column("role").to_pylist() == ["proposal", "supervisor", "all"]
    assert "costs.parquet" in screen


def test_a_run_of_code_alone_says_so_in_the_summary_only(tmp_path: Path) -> None:
    screen, summary = written(tmp_path, NONE)
    assert "anguage model" not in screen and "ended early" not in screen
    assert "No language model was asked." in summary


def test_what_was_trained_in_vain_is_told(tmp_path: Path) -> None:
    files, budget = RunFolder(tmp_path), Budget(5_000, 100_000, None)
    broken = budget.violations(report())
    finished: dict[int, Finished] = {
        1: Rejected(candidate(1), report(), broken),
        2: Rejected(candidate(2), report(), broken, trial(0.25)),
    }
    funnel = replace(FUNNEL, rejected=2)
    screen = write_results(files, TASK, board(), budget, "planner", finished, funnel, NONE, None, 600.0, "next")
    assert " 1 rejected before training" in screen and " 1 infeasible ones trained" in screen
    first, second = pq.read_table(tmp_path / "candidates.parquet").to_pylist()
    assert first["status"] == second["status"] == "rejected"
    assert first["float_validation_accuracy"] is None and second["float_validation_accuracy"] == 0.25


@pytest.mark.parametrize(
    ("feasible", "trained", "stopped", "why"),
    [
        (0, 6, 1, "no proposal fit"),
        (2, 0, 0, "no training ended"),
        (2, 6, 2, "all networks that fit were stopped early, behind others that do not"),
        (2, 6, 1, "see the failures"),
    ],
)
def test_why_nothing_was_deployed_is_told(feasible: int, trained: int, stopped: int, why: str) -> None:
    told = nothing_deployed(replace(FUNNEL, feasible=feasible, trained=trained, stopped=stopped))
    assert why in told and ";" in told


def test_a_key_in_a_failure_is_in_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVIDER_API_KEY", KEY)
    written(tmp_path, COSTS)
    assert "refused with [redacted]" in (tmp_path / "summary.md").read_text()
    (message,) = filter(None, pq.read_table(tmp_path / "candidates.parquet").column("message").to_pylist())
    assert message == "train (candidate): refused with [redacted]"
    assert not any(KEY.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
