"""The converter against the benchmark's own reader, on files in its layout; others are refused, and run nothing."""

import bz2
import itertools
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from automcu.cli import main
from automcu.errors import DataError
from automcu.nasbench.convert import convert
from automcu.nasbench.table import load_tables, place
from automcu.spaces.nasbench201 import EDGES, OPERATIONS, cell_of, text_of

CELLS = [text_of(cell) for cell in itertools.product(OPERATIONS, repeat=len(EDGES))]
SETS = {
    "cifar10-valid": ("x-valid", "ori-test"),
    "cifar10": ("ori-test",),
    "cifar100": ("x-valid", "x-test", "ori-test"),
    "ImageNet16-120": ("x-valid", "x-test", "ori-test"),
}
EPOCHS = 2
"""Of the made-up trainings: the real ones have 12 and 200 entries."""


def schedule(index: int, rng: np.random.Generator, seeds: list[int]) -> dict[str, Any]:
    results = {}
    for training, images in SETS.items():
        for seed in seeds:
            accuracies = {f"{one}@{epoch}": float(rng.uniform(10, 95)) for one in images for epoch in range(EPOCHS)}
            results[training, seed] = {
                "name": "infer.tiny", "seed": seed, "epochs": EPOCHS, "net_state_dict": None, "params": 0.1,
                "flop": 1.0, "train_acc1es": {0: 1.0, 1: 2.0}, "train_losses": {0: 1.0, 1: 2.0}, "train_acc5es": None,
                "train_times": {0: float(rng.uniform(1, 9)), 1: float(rng.uniform(1, 9))}, "latency": [0.1],
                "arch_config": {}, "eval_names": list(images), "eval_acc1es": accuracies,
                "eval_losses": dict.fromkeys(accuracies, 0.5), "eval_times": dict.fromkeys(accuracies, 0.1),
            }  # fmt: skip
    return {
        "arch_index": index, "arch_str": CELLS[index], "clear_net_done": True, "all_results": results,
        "dataset_seed": {training: list(seeds) for training in SETS},
    }  # fmt: skip


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    """Every cell; the first hundred have trainings of their own with up to three seeds, the others share one."""
    rng = np.random.default_rng(0)
    shared = {"12": schedule(0, rng, [777]), "200": schedule(0, rng, [777])}
    infos: dict[int, Any] = dict.fromkeys(range(len(CELLS)), shared)
    for index in range(100):
        seeds = [777, 888, 999][: 1 + index % 3]
        infos[index] = {"12": schedule(index, rng, seeds[:1]), "200": schedule(index, rng, seeds)}
    return {"meta_archs": CELLS, "arch2infos": infos, "evaluated_indexes": list(range(len(CELLS)))}


def pickled(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with bz2.BZ2File(path, "wb", compresslevel=1) as file:
        pickle.dump(content, file, protocol=4)
    return path


def test_it_reads_what_the_benchmarks_own_reader_reads(whole, tmp_path, capsys) -> None:
    from nats_bench import NATStopology

    target = tmp_path / "tables" / "nasbench201.parquet"
    source = pickled(tmp_path / "NATS-tss-v1_0-3ffb9.pickle.pbz2", whole)
    assert main(["bench", "convert", str(source), str(target)]) == 0
    assert "15,625 cells" in capsys.readouterr().out
    tables = load_tables(target)
    own = {**whole, "arch2infos": {index: whole["arch2infos"][index] for index in range(100)}}
    api = NATStopology({**own, "evaluated_indexes": list(range(100))}, verbose=False)
    for index in range(0, 100, 7):
        cell = cell_of(CELLS[index])
        for name, table in tables.items():
            official = {"imagenet16_120": "ImageNet16-120"}.get(name, name)
            training = "cifar10-valid" if name == "cifar10" else official
            short = api.get_more_info(index, training, hp="12", is_random=False)
            long = api.get_more_info(index, training, hp="200", is_random=False)
            tested = api.get_more_info(index, official, hp="200", is_random=False)
            assert 100 * table.validation(cell, 12) == pytest.approx(short["valid-accuracy"])
            assert 100 * table.validation(cell) == pytest.approx(long["valid-accuracy"])
            assert 100 * table.test_200[place(cell)] == pytest.approx(tested["test-accuracy"])
            assert table.seconds_200[place(cell)] == pytest.approx(long["train-all-time"])
            seeds = [777, 888, 999][: 1 + index % 3]
            singles = [api.get_more_info(index, training, hp="200", is_random=seed)["valid-accuracy"] for seed in seeds]
            known = table.require_trainings()[place(cell)]
            assert sorted(100 * known[np.isfinite(known)]) == pytest.approx(sorted(singles))


def test_nas_bench_201s_own_file_gives_the_same(whole, tmp_path) -> None:
    import torch

    renamed = {index: {"less": info["12"], "full": info["200"]} for index, info in whole["arch2infos"].items()}
    torch.save({**whole, "arch2infos": renamed}, tmp_path / "NAS-Bench-201-v1_1-096897.pth")
    convert(tmp_path / "NAS-Bench-201-v1_1-096897.pth", tmp_path / "one.parquet")
    convert(pickled(tmp_path / "NATS.pickle.pbz2", whole), tmp_path / "other.parquet")
    assert pq.read_table(tmp_path / "one.parquet").equals(pq.read_table(tmp_path / "other.parquet"))


def in_folder(folder: Path, whole: dict[str, Any], count: int) -> Path:
    pickled(folder / "meta.pickle.pbz2", {"meta_archs": CELLS[:count]})
    for index in range(count):
        pickled(folder / f"{index:06d}.pickle.pbz2", whole["arch2infos"][index])
    return folder


def test_a_folder_that_lacks_cells_is_told(whole, tmp_path) -> None:
    with pytest.raises(DataError, match="7 different cells in 7 rows"):
        convert(in_folder(tmp_path / "NATS-tss-v1_0-3ffb9-simple", whole, 7), tmp_path / "table.parquet")
    assert not list(tmp_path.glob("*table.parquet*"))


class Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_would_run_something_runs_nothing(tmp_path) -> None:
    for name in ("NATS.pickle.pbz2", "NAS.pth"):
        source = tmp_path / name
        if name.endswith("pth"):
            import torch

            torch.save(Hostile(tmp_path / "ran"), source)
        else:
            pickled(source, Hostile(tmp_path / "ran"))
        with pytest.raises(DataError, match="cannot be read"):
            convert(source, tmp_path / "table.parquet")
        assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"PK", {"meta_archs": []}, {"meta_archs": ["x"], "arch2infos": {}}, [1]])
def test_what_is_no_benchmark_is_refused_in_a_sentence(content, tmp_path, capsys) -> None:
    source = tmp_path / "NATS.pickle.pbz2"
    if isinstance(content, bytes):
        source.write_bytes(content)
    else:
        pickled(source, content)
    assert main(["bench", "convert", str(source), str(tmp_path / "t.parquet")]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "cannot be read" in told and "as it was published" in told
    assert main(["bench", "convert", str(tmp_path / "none"), str(tmp_path / "t.parquet")]) == 2
    assert "there is no" in capsys.readouterr().err
