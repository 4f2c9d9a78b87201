"""The command line as a user meets it: bad input is one clear sentence with the remedy, and the exit code tells."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hydra import compose, initialize_config_dir
from safetensors import safe_open

from automcu import launch
from automcu.cli import main
from automcu.journal import Ended, Header, read_journal
from automcu.launch import CONF, job_folder
from automcu.proposal import Proposal
from automcu.work import Exchanged, Proposed, Trained
from tests.graph.shared_models import shared

DATA = Path(os.environ.get("AUTOMCU_DATA", Path(__file__).parents[2] / "shared" / "data"))


class Result:
    """What a command line printed, and its exit code."""

    def __init__(self, code: int, out: str, err: str, folder: Path) -> None:
        self.code, self.out, self.err, self.folder = code, out, err, folder

    @property
    def events(self) -> list[object]:
        return [entry.event for entry in read_journal(self.folder / "journal.jsonl")]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def launched(*overrides: str, folder: Path | None = None) -> Result:
        place = folder or tmp_path / "run"
        monkeypatch.setattr(sys, "argv", ["launch", *overrides, "cluster=inline", f"hydra.run.dir={place}"])
        monkeypatch.setattr(launch, "_exit_codes", [])
        for name in ("stmai_username", "stmai_password"):  # no account of whoever runs the tests
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.upper(), raising=False)
        code = launch.main()
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err, place)

    return launched


def one_sentence(result: Result, code: int, *words: str) -> None:
    assert result.code == code, result.err
    lines = [line for line in result.err.splitlines() if line.strip()]
    assert len(lines) == 1 and lines[0].startswith("automcu: "), result.err
    assert "Traceback" not in result.err
    for word in words:
        assert word in result.err


def test_an_unknown_experiment_lists_the_known_ones(run) -> None:
    one_sentence(run("+experiment=cifar1000"), 2, "cifar1000", "cifar100", "quickstart")


def test_an_unknown_board_is_named(run) -> None:
    one_sentence(run("board=nucleo_f999"), 2, "nucleo_f999", "docs/boards.md")


@pytest.mark.parametrize("override", ["budget.minuts=3", "+budget.minuts=3", "budgets.minutes=3", "+minutes=3"])
def test_a_misspelt_key_is_named(run, override: str) -> None:
    one_sentence(run(override), 2, override.lstrip("+").split("=")[0].split(".")[-1])


def test_a_value_out_of_range_is_named(run) -> None:
    one_sentence(run("budget.minutes=-1"), 2, "budget.minutes", "greater than 0")


def test_a_mandatory_value_left_open_is_named(run) -> None:
    one_sentence(run("proposer=llm", "llm=openai_compatible"), 2, "llm.model")


def test_a_budget_too_small_for_any_network_says_what_would_do(run) -> None:
    result = run("budget.ram_kb=0.5", "budget.flash_kb=5")
    one_sentence(result, 2, "smallest network", "budget.ram_kb to at least", "budget.flash_kb to at least")


def test_a_run_folder_that_cannot_be_written_is_named(run) -> None:
    one_sentence(run(folder=Path("/proc/automcu")), 2, "/proc/automcu", "hydra.run.dir=FOLDER")


def test_a_folder_that_holds_a_run_is_left_alone(run, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "journal.jsonl").write_text("precious\n")
    one_sentence(run(), 2, "already holds a run", "hydra.run.dir=FOLDER")
    assert (tmp_path / "run" / "journal.jsonl").read_text() == "precious\n"


def test_missing_data_lists_the_folders_searched(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no network in this test")

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AUTOMCU_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("socket.socket.connect", refuse)
    result = run("+experiment=cifar10", f"data.root={tmp_path / 'mine'}")
    one_sentence(result, 2, str(tmp_path / "mine"), str(tmp_path / "data"), "AUTOMCU_DATA", "data.root")


@pytest.mark.skipif(not (DATA / "mnist").is_dir(), reason="the shared data folder with mnist is not there")
def test_a_corrupt_shard_is_named(run, tmp_path: Path) -> None:
    folder = tmp_path / "mine" / "mnist"
    folder.mkdir(parents=True)
    (folder / "train-00000-of-00001.parquet").write_bytes(
        (DATA / "mnist" / "train-00000-of-00001.parquet").read_bytes()[:100_000]
    )
    one_sentence(run("task=mnist", f"data.root={tmp_path / 'mine'}"), 2, "train-00000-of-00001.parquet")


def test_an_llm_that_is_down_ends_the_run_with_its_journal_intact(run, tmp_path: Path) -> None:
    replies = tmp_path / "replies.json"
    replies.write_text("[]")
    result = run("proposer=llm", "llm=scripted", f"llm.replies={replies}")
    one_sentence(result, 1, "proposing ended early", "proposer.fallback=true")
    assert isinstance(result.events[0], Header)
    assert result.events[-1] == Ended(1, result.err.strip().removeprefix("automcu: "))


def test_an_llm_that_replies_rubbish_ends_the_run_with_every_reply_kept(run, tmp_path: Path) -> None:
    replies = tmp_path / "replies.json"
    replies.write_text(json.dumps(["Sure! Here is a network:", '{"proposals": [{"stages": "many"}]}'] * 3))
    result = run("proposer=llm", "llm=scripted", f"llm.replies={replies}")
    one_sentence(result, 1, "proposing ended early", "proposer.fallback=true")
    assert sum("many" in repr(event) for event in result.events) >= 3


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["feasibility=stedgeai", "feasibility.stedgeai=no-such-program"], ["no-such-program not found", "tier auto"]),
        (["feasibility=st_cloud"], ["stmai_username", "stmai_password"]),
        (["feasibility.tool_version=8.1"], ["planner has one version only", "st_estimate"]),
        (["feasibility=st_estimate", "feasibility.tool_version=99"], ["99", "give one of"]),
        (["deploy.runtime=st", "board=stm32l151"], ["STM32L151", "deploy.runtime=automcu"]),
        (["feasibility.tier=oracle"], ["feasibility.tier", "oracle"]),
        (["feasibility=oracle"], ["oracle", "planner", "st_estimate"]),
    ],
)
def test_a_tier_that_cannot_judge_is_named_with_the_remedy(run, overrides: list[str], words: list[str]) -> None:
    one_sentence(run(*overrides), 2, *words)


FAKE_TOOL = """#!{python}
import pathlib, sys
if sys.argv[1] == "--version":
    print("ST Edge AI Core v2.2.0-20266 2adc00962")
    sys.exit()
out = pathlib.Path(sys.argv[sys.argv.index("-o") + 1])
out.mkdir(parents=True)
(out / f"network_{{sys.argv[1]}}_report.txt").write_bytes(pathlib.Path({report!r}).read_bytes())
"""


@pytest.mark.slow
def test_a_whole_run_judged_by_the_vendors_tool(run, tmp_path: Path) -> None:
    """A stand-in for ST Edge AI that says the same of every network: that of a captured report, which fits."""
    program = tmp_path / "stedgeai"
    report = shared("stedgeai_reports/stedgeai-2.2.0_finger-int8-stm32h7/network_generate_report.txt")
    program.write_text(FAKE_TOOL.format(python=sys.executable, report=str(report)))
    program.chmod(0o755)
    result = run(
        "+experiment=quickstart", "budget.candidates=1", "training.recipe.epochs=2", "board=nucleo_f446re",
        f"feasibility.stedgeai={program}",
    )  # fmt: skip
    assert result.code == 0, result.err
    first = result.out.splitlines()[1]
    assert "by tier stedgeai 2.2.0-20266" in first and f"found at {program}" in first
    table = pq.read_table(result.folder / "candidates.parquet").to_pylist()
    (deployed,) = [row for row in table if row["status"] == "deployed"]
    assert (deployed["tier"], deployed["target"]) == ("stedgeai", "stm32f4")
    card = (result.folder / "best" / "model_card.md").read_text()
    assert "| planner | automcu " in card and "| stedgeai | " in card


def test_a_whole_run_in_this_process(run) -> None:
    """The quickstart, cut short: from nothing to a bundle that is what the journal and the table say."""
    result = run(
        "+experiment=quickstart", "budget.candidates=2", "training.recipe.epochs=2",
        "feasibility.stedgeai=no-such-program",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert "Language models: 1 to" in result.out and "int8 test accuracy" in result.out
    first = result.out.splitlines()[1]
    assert first.startswith("Fit is judged after int8 quantization by tier planner ") and "(auto: neither " in first
    assert f"Fit was{first.removeprefix('Fit is')}." in (result.folder / "summary.md").read_text()
    table = pq.read_table(result.folder / "candidates.parquet").to_pylist()
    (deployed,) = [row for row in table if row["status"] == "deployed"]
    assert deployed["int8_test_accuracy"] > 0.2
    assert (deployed["tier"], deployed["tool"], deployed["target"]) == ("planner", "automcu", "cortex-m0+")
    assert (deployed["link"], deployed["unit"]) == ("virtual", "instructions")
    assert deployed["matching"] == deployed["checked"] == 16 and deployed["latency_ms"] > 0
    assert (deployed["margin"], deployed["quantization"]) == (0.0, "after int8 quantization")
    assert (result.folder / "best" / "model_int8.tflite").stat().st_size == deployed["tflite_bytes"]
    assert (result.folder / "pareto.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((result.folder / "run.json").read_text())["exit_code"] == 0
    assert result.events[-1] == Ended(0, "")
    offers = [event.item.architecture for event in result.events if isinstance(event, Proposed)
              and isinstance(event.item, Proposal)]  # fmt: skip
    assert [row["architecture"] for row in table] == list(dict.fromkeys(offer.text for offer in offers))
    asked = [event.exchange for event in result.events if isinstance(event, Exchanged)]
    assert asked and all(exchange.tokens_in > 100 and exchange.tokens_out > 0 for exchange in asked)


@pytest.mark.slow
def test_a_run_that_was_killed_in_its_final_phase_goes_on_where_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [
        sys.executable, "-m", "automcu.launch", "+experiment=quickstart", "cluster=inline", "budget.candidates=2",
        "final.candidates=1", "final.all_images=true", "final.recipe.epochs=200", f"hydra.run.dir={folder}",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        checkpoint = None
        while checkpoint is None and process.poll() is None:
            checkpoint = next(folder.glob("checkpoints/*_final.safetensors"), None)
            time.sleep(0.1)
        time.sleep(1)
        assert checkpoint is not None and main(["resume", str(folder)]) == 2  # it runs still
        process.kill()
    before = (folder / "journal.jsonl").read_bytes()
    with safe_open(checkpoint, "np") as file:
        done = json.loads(file.metadata()["facts"])["curve"]
    assert main(["resume", str(folder)]) == 0
    assert (folder / "journal.jsonl").read_bytes().startswith(before)
    events = [entry.event for entry in read_journal(folder / "journal.jsonl")]
    (final,) = [event.trial for event in events if isinstance(event, Trained) and event.trial.final]
    assert [asdict(point) for point in final.curve[: len(done)]] == done and len(final.curve) == 200
    assert sum(isinstance(event, Trained) for event in events) == 3
    assert isinstance(events[-1], Ended) and events[-1].exit_code == 0
    (deployed,) = [
        row for row in pq.read_table(folder / "candidates.parquet").to_pylist() if row["status"] == "deployed"
    ]
    assert deployed["int8_test_accuracy"] > 0.8
    assert main(["resume", str(folder)]) == 2  # nothing is left


@pytest.mark.slow
def test_ctrl_c_leaves_the_journal_intact(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "automcu.launch", "+experiment=quickstart", "cluster=inline"]
    began = time.monotonic()
    with subprocess.Popen(
        [*command, f"hydra.run.dir={folder}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        for line in process.stdout:
            if " > trained " in line:  # the first progress line: the search has begun
                break
        process.send_signal(signal.SIGINT)
        error = process.stderr.read()
        assert process.wait(timeout=60) == 130, error
    assert error.strip().startswith("automcu: interrupted") and len(error.strip().splitlines()) == 1
    events = [entry.event for entry in read_journal(folder / "journal.jsonl")]
    assert isinstance(events[-1], Ended) and events[-1].exit_code == 130
    assert time.monotonic() - began < 120


def test_a_refusal_leaves_the_run_that_is_there_alone(run, tmp_path: Path) -> None:
    record = tmp_path / "run.json"
    record.write_text('{"status": "ended", "exit_code": 0}')
    assert run("llm=replay", folder=tmp_path).code == 2
    assert json.loads(record.read_text()) == {"status": "ended", "exit_code": 0}


def test_the_folder_of_a_job_depends_on_what_it_comes_to_only() -> None:
    def folder(*overrides: str) -> str:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return job_folder(compose("config", list(overrides)))

    bench = "+experiment=nasbench201", "llm=local"
    assert folder(*bench) == folder(*bench, "budget.tokens=9", "benchmark.asked_at_once=4", "cluster=inline")
    assert folder(*bench).startswith("nasbench201-local-seed0-")
    assert len({folder(*bench), folder(*bench, "benchmark.seeds=3"), folder(*bench, "llm.temperature=0.1")}) == 3
    assert len({folder("seed=1"), folder("seed=1", "proposer=random"), folder("seed=1", "budget.ram_kb=3")}) == 3


def test_who_gave_up_for_want_of_a_model_is_asked_again_in_a_sweep(run, tmp_path: Path) -> None:
    script, sound = tmp_path / "replies.json", tmp_path / "sound.json"
    sweep = tmp_path / "sweep"
    stage = {"block": "conv", "channels": 8, "kernel": 3, "stride": 2, "repeats": 1, "activation": "relu"}
    script.write_text("[]")
    asked = (
        "-m", "+experiment=quickstart", "proposer=llm", "llm=scripted", f"llm.replies={script}", "deploy=files",
        "budget.candidates=1", "training.recipe.epochs=1", "cluster=inline", "agents=solo", f"hydra.sweep.dir={sweep}",
    )  # fmt: skip
    assert run(*asked).code == 1
    (record,) = sweep.glob("*/run.json")
    assert json.loads(record.read_text())["message"].startswith("proposing ended early")
    sound.write_text(json.dumps([json.dumps({"proposals": [{"stages": [stage], "hidden_units": 0}]})] * 9))
    sound.replace(script)
    again = run(*asked)
    assert "Done already" not in again.out and (record.parent / "best").exists()


def test_a_sweep_goes_on_where_it_was_stopped_and_one_bad_job_harms_no_other(run, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    asked = (
        "-m", "+experiment=quickstart", "llm=none", "proposer=evolution", "deploy=files", "budget.candidates=1",
        "training.recipe.epochs=1", "budget.ram_kb=0.01,18", f"hydra.sweep.dir={sweep}",
    )  # fmt: skip
    first = run(*asked)
    assert first.code == 2 and "smallest network" in first.err
    records = {json.loads(path.read_text())["exit_code"]: path for path in sweep.glob("evolution-seed0-*/run.json")}
    assert records.keys() == {0, 2}
    record = records[0]
    journal = record.with_name("journal.jsonl")
    before = journal.read_bytes()
    # With another job before them the same jobs are found again.
    again = run(*asked[:-2], "budget.ram_kb=0.02,0.01,18", asked[-1])
    assert again.code == 2 and f"Done already, exit code 0: {record.parent}" in again.out
    assert len(list(sweep.glob("*/run.json"))) == 3
    assert journal.read_bytes() == before
    whole = record.read_text()
    record.write_text(json.dumps(json.loads(whole) | {"config": {}}))
    assert "another configuration; choose another hydra.sweep.dir" in run(*asked).err
    record.write_text(whole)
    # Now as if it had been killed after its training.
    lines = before.decode().splitlines()
    trained = next(number for number, line in enumerate(lines) if '"kind":"Trained"' in line)
    journal.write_text("\n".join(lines[: trained + 1]) + "\n")
    record.write_text(json.dumps(json.loads(record.read_text()) | {"status": "running"}))
    last = run(*asked)
    assert last.out.count("Going on after") == 1
    assert json.loads(record.read_text())["exit_code"] == 0
    # And as if it had been killed when all but its report was done.
    record.write_text(json.dumps(json.loads(record.read_text()) | {"status": "running"}))
    (record.parent / "summary.md").unlink()
    *before_the_end, ended = journal.read_text().splitlines()
    assert '"kind":"Ended"' in ended
    journal.write_text("\n".join(before_the_end) + "\n")
    assert run(*asked).out.count("Going on after") == 1
    assert json.loads(record.read_text())["exit_code"] == 0 and (record.parent / "summary.md").exists()
