"""Runs side by side, from the folders that real runs leave."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from automcu.cli import main
from automcu.report.leaderboard import entries, leaderboard

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small runs as a multirun leaves them: evolution, a model whose replies are half valid, one that fails, and two of
    random search that differ in when they check."""
    folder = tmp_path_factory.mktemp("sweep")
    script = folder / "replies.json"
    cell = {"stages": [{"block": "conv", "channels": 8, "kernel": 3, "stride": 2, "repeats": 1, "activation": "relu"}]}
    sound = cell | {"hidden_units": 0}
    script.write_text(json.dumps([json.dumps({"proposals": [sound, {"stages": []}]}), "no", "no", "no", "no", "no"]))
    short = ("budget.candidates=1", "training.recipe.epochs=1", "deploy=files", "cluster=inline")
    by_model = ("proposer=llm", "llm=scripted", f"llm.replies={script}")
    for name, asked in {
        "0": ("seed=0",),
        "1": ("seed=1", *by_model),
        "2": ("seed=2", *by_model, "data.root=/nowhere", "task=cifar10", "budget.ram_kb=0.01"),
        "3": ("proposer=random", "budget.flash_kb=12", "search.check=before_training"),
        "4": ("proposer=random", "budget.flash_kb=12", "search.check=after_training"),
    }.items():
        command = [sys.executable, "-m", "automcu.launch", *short, *asked, f"hydra.run.dir={folder / name}"]
        subprocess.run(command, capture_output=True, text=True, timeout=150, cwd=ROOT, check=False)
    return folder


def test_groups_rates_and_failures(sweep: Path) -> None:
    found = entries(sweep)
    assert [(entry.folder.name, entry.seed) for entry in found] == [("0", 0), ("1", 1), ("2", 2), ("3", 0), ("4", 0)]
    rows = {(row["proposer"], row["model"], row["task"]): row for row in leaderboard(found[:3])}
    assert rows.keys() == {
        ("evolution", "", "digits"), ("llm", "scripted", "digits"), ("llm", "scripted", "cifar10"),
    }  # fmt: skip
    code, model = rows["evolution", "", "digits"], rows["llm", "scripted", "digits"]
    assert code["shipped"] == model["shipped"] == 1 and code["valid_rate"] == 1.0
    assert 0.3 < code["accuracy"] <= 1.0  # type: ignore[operator]
    assert code["json_rate"] is None and 0 < model["json_rate"] < 1  # type: ignore[operator]
    assert model["valid_rate"] < 1 and model["feasible_rate"] == 1.0  # type: ignore[operator]
    failed = rows["llm", "scripted", "cifar10"]
    assert (failed["runs"], failed["shipped"], failed["accuracy"], failed["seconds"]) == (1, 0, None, None)
    assert "exit code 2" in found[2].trouble


def test_runs_that_differ_in_a_setting_are_groups_of_their_own(sweep: Path) -> None:
    random = [row for row in leaderboard(entries(sweep)) if row["proposer"] == "random"]
    by_check = {row["settings"]["search.check"]: row for row in random}
    assert by_check.keys() == {"before_training", "after_training"} and all(len(row["settings"]) == 1 for row in random)
    assert by_check["before_training"]["in_vain"] == 0 < by_check["after_training"]["in_vain"] == 1
    assert by_check["before_training"]["shipped"] == 1 and by_check["after_training"]["accuracy"] is None


def test_runs_are_told_apart_by_the_settings_that_are_asked_for(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(*by: str) -> list[dict[str, Any]]:
        assert main(["bench", "leaderboard", str(sweep / "3"), str(sweep / "4"), "--json", "--by", *by]) == 0
        return json.loads(capsys.readouterr().out)["rows"]  # type: ignore[no-any-return]

    (merged,) = told()
    assert (merged["runs"], merged["shipped"], merged["settings"]) == (2, 1, {})
    assert [row["runs"] for row in told("budget.flash_kb")] == [2]
    assert len(told("search.check", "budget.flash_kb")) == 2
    assert main(["bench", "leaderboard", str(sweep), "--by", "search.chek"]) == 2
    assert "'search.chek'; choose from search.check" in capsys.readouterr().err


def test_settings_of_proposer_and_model_tell_runs_apart_too(sweep: Path, tmp_path: Path) -> None:
    for name, change in {"0": {}, "1": {"population": 99}}.items():
        shutil.copytree(sweep / "0", tmp_path / name)
        record = json.loads((tmp_path / name / "run.json").read_text())
        record["config"]["proposer"] |= change
        (tmp_path / name / "run.json").write_text(json.dumps(record))
    rows = leaderboard(entries(tmp_path))
    assert {row["settings"]["proposer.population"] for row in rows} == {"16", "99"}


def test_a_run_that_could_not_begin_is_counted(sweep: Path, tmp_path: Path) -> None:
    shutil.copytree(sweep / "0", tmp_path / "0")
    command = [sys.executable, "-m", "automcu.launch", "budget.minutes=-1", "cluster=inline"]
    done = subprocess.run([*command, f"hydra.run.dir={tmp_path / '1'}"], capture_output=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    found = entries(tmp_path)
    (row,) = leaderboard(found)
    assert row["runs"] == 2 and row["shipped"] == 1 and "budget.minutes" in found[1].trouble


def test_the_command_prints_a_table_and_what_did_not_end_well(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "leaderboard", str(sweep)]) == 0
    told = capsys.readouterr().out
    assert (
        "| llm | scripted |  | cifar10 |" in told
        and "| llm | scripted | scripted, 20" in told
        and f"- {sweep / '2'}: exit code 2" in told
    )
    assert main(["bench", "leaderboard", str(sweep), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["rows"]) == 5


def test_runs_are_kept_in_a_file_and_put_together_again(sweep: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    whole, kept = entries(sweep), tmp_path / "runs.parquet"
    assert (
        main(["bench", "leaderboard", str(sweep / "0"), str(sweep / "1"), str(sweep / "2"), "--save", str(kept)]) == 0
    )
    assert entries(kept) == whole[:3]
    assert leaderboard(entries(kept, sweep / "3", sweep / "4")) == leaderboard(whole)
    assert entries(kept, sweep) == whole  # no run is counted twice
    capsys.readouterr()
    for content in (b"no", b""):
        (tmp_path / "wrong.parquet").write_bytes(content)
        assert main(["bench", "leaderboard", str(tmp_path / "wrong.parquet")]) == 2
        assert "holds no saved runs" in capsys.readouterr().err
    pq.write_table(pa.table({"folder": ["a"]}), tmp_path / "wrong.parquet")
    assert main(["bench", "leaderboard", str(tmp_path / "wrong.parquet")]) == 2
    assert main(["bench", "leaderboard", str(kept), "--save", str(tmp_path)]) == 2


@pytest.mark.parametrize("harm", ["run.json", "costs.parquet", "candidates.parquet", "killed"])
def test_a_broken_run_is_shown_as_such_and_harms_no_other(sweep: Path, tmp_path: Path, harm: str) -> None:
    folder = tmp_path / "sweep"
    shutil.copytree(sweep, folder)
    if harm == "killed":
        record = json.loads((folder / "0/run.json").read_text()) | {"status": "running"}
        (folder / "0/run.json").write_text(json.dumps(record))
    else:
        (folder / "0" / harm).write_bytes(b"\x1b[31m not this")
    found = entries(folder)
    assert len(found) == 5 and found[0].trouble and found[0].accuracy is None
    assert found[1].accuracy is not None


def test_a_folder_without_runs_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "leaderboard", str(tmp_path)]) == 2
    assert "no run is in" in capsys.readouterr().err
