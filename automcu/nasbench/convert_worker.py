"""The process that reads the files of NAS-Bench-201 and NATS-Bench; `automcu.nasbench.convert` starts it.

They are pickles, which may run any program: only what holds numbers and texts is let through, and whatever happens,
happens here.
"""

import bz2
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from automcu.child import Answer, Frame, serve
from automcu.errors import CandidateFailure

_ALLOWED = {
    ("collections", "OrderedDict"),
    ("collections", "defaultdict"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
}
_EPOCHS = {"12": ("12", "less"), "200": ("200", "full")}
"""What the two benchmarks call a schedule."""
_SETS = {
    "cifar10": (("cifar10-valid", "x-valid"), ("cifar10", "ori-test")),
    "cifar100": (("cifar100", "x-valid"), ("cifar100", "x-test")),
    "imagenet16_120": (("ImageNet16-120", "x-valid"), ("ImageNet16-120", "x-test")),
}
"""By data set: which training and which images give the validation and the test accuracy (Dong and Yang 2020, section
2.3)."""


_NOT_THE_BENCHMARK = (
    OSError, EOFError, pickle.UnpicklingError, LookupError, TypeError, ValueError, AttributeError, StopIteration,
)  # fmt: skip


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise CandidateFailure(f"it holds a {module}.{name}, which no file of the benchmark does")
        return super().find_class(module, name)


def _unpickled(path: Path) -> Any:
    with bz2.BZ2File(path) as file:
        return _Unpickler(file).load()


def _loaded(path: Path) -> Any:
    import torch

    return torch.load(path, map_location="cpu", weights_only=True)


def _results(source: Path) -> tuple[list[str], Iterator[Mapping[str, Any]]]:
    """The cells in the benchmark's order, and what each came to."""
    if source.is_dir():
        cells = list(_unpickled(source / "meta.pickle.pbz2")["meta_archs"])
        return cells, (_unpickled(source / f"{index:06d}.pickle.pbz2") for index in range(len(cells)))
    whole = _loaded(source) if source.suffix == ".pth" else _unpickled(source)
    cells = list(whole["meta_archs"])
    return cells, (whole["arch2infos"][index] for index in range(len(cells)))


def figures(result: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of one cell."""
    found: dict[str, Any] = {}
    for epochs, names in _EPOCHS.items():
        schedule = next(result[name] for name in names if name in result)
        for data_set, (validation, test) in _SETS.items():
            found[f"{data_set}_valid_acc_{epochs}"] = _accuracy(schedule, *validation)
            found[f"{data_set}_test_acc_{epochs}"] = _accuracy(schedule, *test)
            if epochs == "200":
                found[f"{data_set}_valid_acc_200_seeds"] = _accuracies(schedule, *validation)
                times = [sum(trial["train_times"].values()) for trial in _trials(schedule, validation[0])]
                found[f"{data_set}_train_seconds_200"] = float(np.mean(times))
    return found


def _trials(schedule: Mapping[str, Any], training: str) -> list[Mapping[str, Any]]:
    return [schedule["all_results"][training, seed] for seed in schedule["dataset_seed"][training]]


def _accuracy(schedule: Mapping[str, Any], training: str, images: str) -> float:
    """After the last epoch, in percent, mean over the seeds."""
    return float(np.mean(_accuracies(schedule, training, images)))


def _accuracies(schedule: Mapping[str, Any], training: str, images: str) -> list[float]:
    """The same of each seed."""
    trials = _trials(schedule, training)
    return [float(trial["eval_acc1es"][f"{images}@{trial['epochs'] - 1}"]) for trial in trials]


def _column(values: list[Any]) -> np.ndarray:
    """Lists become rows, filled up with NaN: no array has rows of several lengths."""
    if not isinstance(values[0], list):
        return np.array(values)
    rows = np.full((len(values), max(map(len, values))), np.nan)
    for row, known in zip(rows, values, strict=True):
        row[: len(known)] = known
    return rows


def load_answer() -> Answer:
    """The function that reads what is at the request's `path`."""

    def answer(request: Frame) -> Frame:
        try:
            cells, results = _results(Path(str(request.header["path"])))
            rows = [figures(result) for result in results]
            columns = {name: _column([row[name] for row in rows]) for name in rows[0]}
        except _NOT_THE_BENCHMARK as error:
            raise CandidateFailure(
                f"it is not laid out as the benchmark's files are ({type(error).__name__}: {error})"
            ) from None
        return Frame({"cells": cells}, columns)

    return answer


if __name__ == "__main__":
    serve(load_answer)
