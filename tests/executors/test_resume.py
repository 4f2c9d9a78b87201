"""A run that is killed anywhere and resumed ends as one that was not: nothing twice, nothing lost."""

import itertools
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from automcu.errors import OutputError
from automcu.executors.blueprint import Blueprint, Past, RunEnd
from automcu.executors.inline import run_inline
from automcu.finished import Deployed
from automcu.journal import Ended, Header, Journal, read_journal
from automcu.run import resume
from automcu.run_folder import RunFolder
from automcu.work import Checked, Trained
from tests.contracts import executor as contract

LIMITS = replace(contract.LIMITS, final_candidates=1, final_seconds=60.0)


def run(folder: Path, past: Past = (), blueprint: Blueprint | None = None) -> RunEnd:
    ticks = itertools.count()
    return run_inline(
        blueprint or contract.blueprint(), LIMITS, contract.HEADER, RunFolder(folder), contract.data(),
        lambda: 0.001 * next(ticks), lambda line: None, past,
    )  # fmt: skip


def test_whatever_line_of_the_journal_is_the_last_the_resumed_run_ends_as_the_whole_one(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    lines = (tmp_path / "whole" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    for count in range(2, len(lines)):
        folder = tmp_path / str(count)
        shutil.copytree(tmp_path / "whole", folder, ignore=shutil.ignore_patterns("best"))
        (folder / "journal.jsonl").write_bytes(b"".join(lines[:count]) + lines[count][:20])  # torn, as by a kill
        past = [(entry.seconds, entry.event) for entry in read_journal(folder / "journal.jsonl")][1:]
        end = run(folder, past)  # type: ignore[arg-type]
        assert end.funnel.deployed == 1 and end.funnel.trained == whole.funnel.trained
        assert sum(isinstance(one, Deployed) and one.trial.final for one in end.finished.values()) == 1
        events = [entry.event for entry in read_journal(folder / "journal.jsonl")]
        assert sum(isinstance(event, Header) for event in events) == 1
        checked = [event.candidate_id for event in events if isinstance(event, Checked)]
        trained = [(event.candidate_id, event.trial.final) for event in events if isinstance(event, Trained)]
        assert len(set(checked)) == len(checked) and len(set(trained)) == len(trained)
        shutil.rmtree(folder)


def test_a_disk_that_refuses_a_file_ends_the_run_and_what_is_left_is_done_when_it_is_resumed(tmp_path: Path) -> None:
    blocking = tmp_path / "candidates"
    blocking.write_bytes(b"no room for a folder")
    blueprint = contract.blueprint(contract.Saving(), tmp_path)
    with pytest.raises(OutputError, match="free disk space"):
        run(tmp_path, blueprint=blueprint)
    (kept,) = (tmp_path / "checkpoints").iterdir()
    past = [(entry.seconds, entry.event) for entry in read_journal(tmp_path / "journal.jsonl")][1:]
    assert not any(isinstance(event, Trained) for _, event in past)
    blocking.unlink()
    end = run(tmp_path, past, blueprint)  # type: ignore[arg-type]
    assert end.funnel.deployed == 1 and end.funnel.trained == LIMITS.max_trained and not kept.exists()


def test_what_cannot_be_resumed_says_why(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="name the folder of a run"):
        resume(tmp_path)
    (tmp_path / "journal.jsonl").write_bytes(b"")
    with pytest.raises(OutputError, match="does not say what was to be done"):
        resume(tmp_path)
    shutil.rmtree(tmp_path)
    run(tmp_path)
    journal = Journal(tmp_path / "journal.jsonl", lambda: 1.0)
    journal(Ended(0, ""))
    journal.close()
    with pytest.raises(OutputError, match="has deployed"):
        resume(tmp_path)


def test_only_one_process_runs_in_a_folder(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with folder.locked(), pytest.raises(OutputError, match="another process runs"), folder.locked():
        pass
    with folder.locked():
        pass
