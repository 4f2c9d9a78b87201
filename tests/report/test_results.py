"""The files of a finished run: costs stand in the summary and in a table, and no key is in any of them."""

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from automcu.architecture import Task
from automcu.board import Budget
from automcu.finished import Deployed, Failed, Finished, Rejected, Skipped, Stopped
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


def test_why_nothing_was_deployed_is_told() -> None:
    late, stopped = Rejected(candidate(1), report(), (), trial()), Stopped(candidate(2), report(), trial())
    failed, left = Failed(candidate(3), "evaluate", "candidate", "why"), Skipped(candidate(4), "recipe")
    assert "no proposal fit" in nothing_deployed(replace(FUNNEL, feasible=0), [late])
    assert "no training ended" in nothing_deployed(replace(FUNNEL, trained=0), [left])
    assert "behind networks that do not fit; set" in nothing_deployed(FUNNEL, [late, stopped, left])
    early = Rejected(candidate(1), report(), ())
    for finished in (
        [late, stopped, failed],
        [early, stopped, left],
        [late, stopped, Skipped(candidate(5), "evaluate")],
    ):
        assert "see the failures" in nothing_deployed(FUNNEL, finished)


def test_a_key_in_a_failure_is_in_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVIDER_API_KEY", KEY)
    written(tmp_path, COSTS)
    assert "refused with [redacted]" in (tmp_path / "summary.md").read_text()
    (message,) = filter(None, pq.read_table(tmp_path / "candidates.parquet").column("message").to_pylist())
    assert message == "train (candidate): refused with [redacted]"
    assert not any(KEY.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
