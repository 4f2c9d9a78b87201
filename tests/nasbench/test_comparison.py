"""Comparisons from the command line: what they leave, that they go on, and what is refused before any work."""

import json
import random
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from automcu.cli import main
from automcu.errors import ConfigError, OutputError
from automcu.llm.scripted import ScriptedLLM
from automcu.nasbench import comparison as module
from automcu.nasbench.comparison import Comparison, Piece, Results, run_piece
from automcu.nasbench.setting import setting
from automcu.run_folder import RunFolder
from automcu.spaces.nasbench201 import OPERATIONS
from tests.nasbench.tables import DATA, REAL, needs_table
from tests.test_launch import one_sentence, run

__all__ = ["run"]
SMALL = ("+experiment=nasbench201", "benchmark.methods=[random,local_search]", "benchmark.queries=20")


@needs_table
def test_a_comparison_leaves_rows_tables_and_curves(run, monkeypatch) -> None:
    monkeypatch.setenv("AUTOMCU_DATA", str(DATA))
    result = run(*SMALL, "benchmark.seeds=30")
    assert result.code == 0, result.err
    rows = pq.read_table(result.folder / "queries.parquet")
    assert rows.num_rows == 2 * 3 * 30 * 20
    assert set(rows.column_names) >= {"method", "data_set", "seed", "query", "place", "status", "validation", "test"}
    assert not list((result.folder / "parts").glob("*.parquet"))
    summary = (result.folder / "summary.md").read_text()
    assert summary in result.out and "| local_search | 20 | 30 |" in summary
    assert (result.folder / "regret.png").read_bytes().startswith(b"\x89PNG")
    # Once more: nothing is left to do, and the tables are the same.
    before = (result.folder / "queries.parquet").stat().st_mtime_ns
    again = run(*SMALL, "benchmark.seeds=30", folder=result.folder)
    assert again.code == 0 and "12 of 12 pieces are done" in again.out and summary in again.out
    assert (result.folder / "queries.parquet").stat().st_mtime_ns == before
    one_sentence(run(*SMALL, "benchmark.seeds=31", folder=result.folder), 2, "other settings", "hydra.run.dir")


@needs_table
def test_an_interrupted_one_goes_on_with_what_is_missing(run, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("AUTOMCU_DATA", str(DATA))
    monkeypatch.setattr(module, "PIECE_SEEDS", 2)
    whole = run(*SMALL, "benchmark.seeds=5", folder=tmp_path / "whole")
    done: list[str] = []

    def stopped(piece, path):
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(piece.name)
        return run_piece(piece, path)

    monkeypatch.setattr(module, "run_piece", stopped)
    first = run(*SMALL, "benchmark.seeds=5", folder=tmp_path / "stopped")
    assert first.code == 130 and "goes on" in first.err
    monkeypatch.setattr(module, "run_piece", run_piece)
    second = run(*SMALL, "benchmark.seeds=5", folder=tmp_path / "stopped")
    assert second.code == 0 and "4 of 18 pieces are done" in second.out
    assert pq.read_table(tmp_path / "stopped/queries.parquet").equals(pq.read_table(whole.folder / "queries.parquet"))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("benchmark.queries=0", ("benchmark.queries", "greater than 0")),
        ("benchmark.seeds=0", ("benchmark.seeds", "greater than 0")),
        ("benchmark.data_sets=[cifar11]", ("benchmark.data_sets", "cifar11")),
        ("benchmark.methods=[rondom]", ("'rondom' is unknown", "local_search")),
        ("benchmark.methods=[]", ("at least one",)),
        ("benchmark.methods=[random,random]", ("once",)),
        ("benchmark.noise=true", ("no accuracies of single trainings on cifar100", "benchmark.noise")),
        ("benchmark.epochs=90", ("benchmark.epochs", "12 or 200")),
        ("benchmark.seeds=1000000000", ("of memory", "lower benchmark.seeds")),
        ("+benchmark.colour=red", ("benchmark.colour is unknown",)),
        ("data.root=/nowhere", ("nasbench201.parquet", "$AUTOMCU_DATA")),
    ],
)
def test_what_cannot_be_is_told_before_any_work(run, monkeypatch, tmp_path, override, words) -> None:
    if override.startswith("data.root"):
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("AUTOMCU_DATA", raising=False)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    one_sentence(run(*SMALL, override), 2, *words)


def test_a_folder_of_another_comparison_is_left_alone(tmp_path: Path) -> None:
    one = Comparison(("random",), ("cifar10",), 3, 10)
    Results(RunFolder(tmp_path), one)
    Results(RunFolder(tmp_path), one)
    with pytest.raises(OutputError, match="other settings"):
        Results(RunFolder(tmp_path), Comparison(("random",), ("cifar10",), 4, 10))
    with pytest.raises(ConfigError, match="seeds >= 1"):
        Comparison(("random",), ("cifar10",), 0, 10)


@needs_table
@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_on_ray_the_rows_are_the_same() -> None:
    from automcu.actors.comparison import pieces_on_ray

    pieces = list(Comparison(("random", "local_search"), ("cifar10",), 30, 15).pieces())
    found = dict(pieces_on_ray(pieces, REAL))
    assert found.keys() == set(pieces)
    assert all(found[piece].equals(run_piece(piece, REAL)) for piece in pieces)


@needs_table
@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_table_that_a_node_cannot_read_is_told(tmp_path: Path) -> None:
    from automcu.actors.comparison import pieces_on_ray
    from automcu.errors import DataError

    pieces = list(Comparison(("random",), ("cifar10",), 1, 1).pieces())
    with pytest.raises(DataError, match="cannot be read"):
        list(pieces_on_ray(pieces, tmp_path / "none.parquet"))


def test_names_of_pieces_differ() -> None:
    pieces = list(Comparison(("random", "evolution"), ("cifar10", "cifar100"), 60, 10, first_seed=7).pieces())
    assert len({piece.name for piece in pieces}) == len(pieces) == 12
    assert sum(piece.seeds for piece in pieces) == 4 * 60
    assert min(piece.first_seed for piece in pieces) == 7


@needs_table
def test_methods_that_ask_a_model_are_compared_and_what_they_used_is_told(run, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("AUTOMCU_DATA", str(DATA))
    shown = setting("cifar100", 0, "true").space
    cells = [json.loads(shown.random(random.Random(seed)).text) for seed in range(10)]
    replies = [json.dumps({"reason": "r", "network": cell, "proposals": [cell]}) for cell in cells]
    script = tmp_path / "replies.json"
    script.write_text(json.dumps([*replies, "no idea", replies[0]]))
    result = run(
        "+experiment=nasbench201", "benchmark.methods=[genius,genius_hidden,llm,hybrid,random]",
        "benchmark.data_sets=[cifar100]", "benchmark.seeds=2", "benchmark.queries=12", "llm=scripted",
        f"llm.replies={script}",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert "asks scripted" in result.out
    rows = pq.read_table(result.folder / "queries.parquet").to_pylist()
    genius = [row for row in rows if row["method"] == "genius" and row["seed"] == 0]
    assert {row["status"] for row in genius[:10]} <= {"new", "isomorphic"}
    assert [row["status"] for row in genius[10:]] == ["invalid", "duplicate"]
    assert [row["calls"] for row in genius] == [1] * 12
    assert {row["model"] for row in genius} == {"scripted"} and all(row["date"] > "2026" for row in genius)
    assert {row["model"] for row in rows if row["method"] == "random"} == {""}
    hidden = [row["status"] for row in rows if row["method"] == "genius_hidden"]
    assert set(hidden) == {"invalid"}  # operations go by other names there
    hybrid = [row["origin"] for row in rows if row["method"] == "hybrid" and row["seed"] == 1]
    assert hybrid[0] == "llm" and hybrid[-1].startswith("local_search") and len(hybrid) == 12
    assert "| genius | cifar100 |" in result.out and "| unknown |" in result.out
    page = (result.folder / "report.html").read_text()
    assert "scripted answered on 20" in page and "renamed: operations have other names" in page


@needs_table
def test_a_model_that_fails_at_once_is_told_and_what_was_done_stays(run, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("AUTOMCU_DATA", str(DATA))
    script = tmp_path / "replies.json"
    script.write_text("[]")
    asked = ("+experiment=nasbench201", "benchmark.methods=[random,genius]", "benchmark.data_sets=[cifar10]",
             "benchmark.seeds=2", "benchmark.queries=5", "llm=scripted", f"llm.replies={script}")  # fmt: skip
    result = run(*asked)
    assert result.code == 2 and "replies are used up" in result.err
    assert [part.name for part in (result.folder / "parts").glob("*")] == ["random-cifar10-000000.parquet"]


def test_a_method_that_asks_needs_a_model(run, monkeypatch) -> None:
    monkeypatch.setenv("AUTOMCU_DATA", str(DATA))
    if REAL.exists():
        one_sentence(run(*SMALL, "benchmark.methods=[genius]"), 2, "needs a language model", "llm=local")


def test_hidden_the_names_say_nothing_and_differ_between_seeds() -> None:
    names = [setting("cifar100", seed, "hidden").space.names for seed in range(20)]
    assert len(set(names)) > 15
    one, other = (setting(data_set, 3, "hidden") for data_set in ("imagenet16_120", "cifar10"))
    assert one == other  # neither its images nor its classes give a data set away
    told = f"{one.task} {one.space.describe()} {one.space.json_schema}".lower()
    known = ("cifar", "imagenet", "nas-bench", "nor_conv", "skip", "none", "avg", "1x1", "batch", "average pooling,")
    assert not [word for word in known if word in told]


def test_renamed_the_names_are_others_and_are_explained() -> None:
    shown = setting("cifar10", 3, "renamed").space
    assert shown.names == setting("cifar10", 3, "hidden").space.names
    by_name = dict(zip(shown.names, OPERATIONS, strict=True))
    (name,) = [name for name, operation in by_name.items() if operation == "nor_conv_1x1"]
    assert f"{name} (1x1 convolution" in shown.describe() and "nor_conv" not in shown.describe()
    assert "nor_conv_1x1 (1x1 convolution" in setting("cifar10", 3, "true").space.describe()


@needs_table
def test_a_model_is_told_what_its_cells_take() -> None:
    space = setting("cifar10", 0, "true").space
    cells = [json.loads(space.random(random.Random(seed)).text) for seed in range(3)]
    llm = ScriptedLLM([json.dumps({"reason": "r", "proposals": [cell]}) for cell in cells])
    rows = run_piece(Piece("llm", "cifar10", 0, 1, 3, 200, False), REAL, llm)
    assert rows.column("status").to_pylist() == ["new"] * 3
    last = "\n".join(message.content for message in llm.asked[-1])
    assert " 0 MACs" not in last and "RAM 0 B" not in last and last.count(" MACs") >= 2


@needs_table
def test_comparisons_of_several_models_are_one_table(run, monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setenv("AUTOMCU_DATA", str(DATA))
    sweep, cells = tmp_path / "sweep", setting("cifar10", 0, "true").space
    drawn = [json.loads(cells.random(random.Random(seed)).text) for seed in range(3)]
    script = tmp_path / "replies.json"
    script.write_text(json.dumps([json.dumps({"reason": "r", "network": cell}) for cell in drawn]))
    asked = ("-m", "+experiment=nasbench201", "benchmark.methods=[random,genius]", "benchmark.data_sets=[cifar10]",
             "benchmark.seeds=2", f"hydra.sweep.dir={sweep}")  # fmt: skip
    done = run(*asked, "llm=scripted", f"llm.replies={script}", "benchmark.queries=3")
    assert done.code == 0, done.err
    assert run(*asked, "llm=none", "benchmark.queries=4").code == 2  # no model, so it cannot end
    assert [path.name.rsplit("-", 1)[0] for path in sorted(sweep.glob("nasbench*"))] == [
        "nasbench201-scripted-seed0", "nasbench201-seed0"
    ]  # fmt: skip
    assert main(["bench", "nasbench201", str(sweep)]) == 0
    told = capsys.readouterr().out
    assert "| genius (scripted) | 3 | 2 |" in told and "| random | 3 | 2 |" in told
    assert (sweep / "report.html").exists() and "scripted answered on" in told
    # Whose rows are there twice is told, and the larger one is kept.
    assert run("+experiment=nasbench201", "benchmark.methods=[random]", "benchmark.data_sets=[cifar10]",
               "benchmark.seeds=3", "benchmark.queries=3", folder=sweep / "more").code == 0  # fmt: skip
    assert main(["bench", "nasbench201", str(sweep)]) == 0
    told = capsys.readouterr().out
    assert "| random | 3 | 3 |" in told and "Left out: random, cifar10 of" in told


@needs_table
def test_known_figures_are_those_of_the_published_setting(run, monkeypatch) -> None:
    monkeypatch.setenv("AUTOMCU_DATA", str(DATA))
    assert "## Known figures" in run(*SMALL, "benchmark.seeds=2").out
    assert "## Known figures" not in run(*SMALL, "benchmark.seeds=2", "benchmark.epochs=12").out


def test_what_cannot_be_put_together_is_told(tmp_path, capsys, monkeypatch) -> None:
    if not REAL.exists():
        pytest.skip(f"{REAL} is absent")
    monkeypatch.setenv("AUTOMCU_DATA", str(DATA))

    def refused() -> str:
        assert main(["bench", "nasbench201", str(tmp_path)]) == 2
        return capsys.readouterr().err

    assert "no comparison" in refused()
    for name, epochs in {"a": 200, "b": 12}.items():
        comparison = Comparison(("random",), ("cifar10",), 2, 3, epochs=epochs)
        results = Results(RunFolder(tmp_path / name), comparison)
        for piece in comparison.pieces():
            results.add(piece, run_piece(piece, REAL))
        results.rows()
    assert "other accuracies" in refused()
    shutil.copytree(tmp_path / "a", tmp_path / "b", dirs_exist_ok=True)
    (tmp_path / "b" / "queries.parquet").write_bytes(b"PAR1")
    assert "queries.parquet cannot be read" in refused()
    (tmp_path / "b" / "settings.json").write_text('{"format": 1}')
    assert "another version" in refused()
    (tmp_path / "b" / "settings.json").write_text("[]")
    assert "cannot be read" in refused()
