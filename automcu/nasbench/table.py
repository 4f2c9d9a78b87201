"""The table of NAS-Bench-201 (Dong and Yang 2020, arXiv:2001.00326): how each of its 15,625 cells came out of training.

The file is a Parquet with a row for each cell: `arch_str`, and for each data set D the columns `D_valid_acc_12`,
`D_valid_acc_200`, `D_test_acc_200` (percent) and `D_train_seconds_200`; where they are known, `D_valid_acc_200_seeds`
lists the accuracies of single trainings. Columns that mix validation with test images are never read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Literal, get_args

import numpy as np

from automcu.errors import DataError, InvalidArchitecture
from automcu.spaces.nasbench201 import EDGES, OPERATIONS, Cell, cell_of

DataSet = Literal["cifar10", "cifar100", "imagenet16_120"]
DATA_SETS: tuple[DataSet, ...] = get_args(DataSet)
Epochs = Literal[12, 200]
FILE = "nasbench201.parquet"
_CELLS = len(OPERATIONS) ** len(EDGES)
_TRAININGS = "_valid_acc_200_seeds"
_FIELDS = {
    "validation_12": "valid_acc_12",
    "validation_200": "valid_acc_200",
    "test_200": "test_acc_200",
    "seconds_200": "train_seconds_200",
}


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """One data set. Arrays are indexed by `place`; accuracies are shares, means over the benchmark's seeds.

    `seconds_200` is what 200 epochs took there; other fidelities take their share of it. `trainings_200` has a row for
    each place, the validation accuracy of each of its trainings, filled up with NaN; None where that is not known.
    """

    data_set: DataSet
    validation_12: np.ndarray
    validation_200: np.ndarray
    test_200: np.ndarray
    seconds_200: np.ndarray
    trainings_200: np.ndarray | None = None

    def validation(self, cell: Cell, epochs: Epochs = 200) -> float:
        """Accuracy on the validation images after a schedule of so many epochs."""
        return float((self.validation_12 if epochs == 12 else self.validation_200)[place(cell)])

    def one_training(self, cell: Cell, rng: Random) -> float:
        """Accuracy on the validation images after one of the cell's trainings of 200 epochs, drawn at random: what a
        search would see that trains once. Raises as `require_trainings`."""
        known = self.require_trainings()[place(cell)]
        return float(rng.choice(known[np.isfinite(known)]))

    def require_trainings(self) -> np.ndarray:
        """`trainings_200`. Raises `DataError` where these are not known."""
        if self.trainings_200 is None:
            raise DataError(
                f"the table has no accuracies of single trainings on {self.data_set}; choose another of "
                "benchmark.data_sets (cifar10), or leave benchmark.noise out"
            )
        return self.trainings_200

    @property
    def best_validation(self) -> float:
        """The optimum that a search can find."""
        return float(self.validation_200.max())

    @property
    def chosen_test(self) -> float:
        """The test accuracy of the cell that is best in validation: what a perfect search comes to."""
        return float(self.test_200[self.validation_200.argmax()])


@cache
def place(cell: Cell) -> int:
    """Where a cell lies in the arrays of a table."""
    return sum(OPERATIONS.index(operation) * len(OPERATIONS) ** edge for edge, operation in enumerate(cell))


def load_tables(path: Path) -> Mapping[DataSet, Table]:
    """The tables of all data sets, in half a second. Raises `DataError` when the file is missing, broken, lacks a
    column or a cell, or holds what is no accuracy."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {(data_set, field): f"{data_set}_{name}" for data_set in DATA_SETS for field, name in _FIELDS.items()}
    try:
        there = set(pq.read_schema(path).names)
        missing = sorted({"arch_str", *columns.values()} - there)
        if missing:
            raise DataError(f"{path} lacks column {missing[0]}; get the file again from its source")
        single = {data_set: name for data_set in DATA_SETS if (name := f"{data_set}{_TRAININGS}") in there}
        read = pq.read_table(path, columns=["arch_str", *columns.values(), *single.values()])
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"{path} cannot be read as Parquet ({str(error).splitlines()[0]:.150}); name the folder that holds {FILE} "
            "as data.root or in $AUTOMCU_DATA"
        ) from None
    places = _places(path, read["arch_str"].to_pylist())
    arrays = {key: _figures(path, name, read[name], places) for key, name in columns.items()}
    trainings = {data_set: _trainings(path, name, read[name], places) for data_set, name in single.items()}
    return {
        data_set: Table(
            data_set, **{field: arrays[data_set, field] for field in _FIELDS}, trainings_200=trainings.get(data_set)
        )
        for data_set in DATA_SETS
    }


def _places(path: Path, cells: list[object]) -> np.ndarray:
    try:
        found = np.array([place(cell_of(str(cell))) for cell in cells])
    except InvalidArchitecture as error:
        raise DataError(f"{path}: {error}") from None
    different = len(np.unique(found))
    if not len(found) == different == _CELLS:
        raise DataError(
            f"{path} holds {different:,} different cells in {len(found):,} rows, not each of the {_CELLS:,} once; "
            "get the file again from its source"
        )
    return found


def _figures(path: Path, name: str, column: object, places: np.ndarray) -> np.ndarray:
    """The column by place: seconds as they are, percent as shares."""
    try:
        values = np.asarray(column.to_numpy(), np.float64)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise DataError(f"{path}: column {name} holds no numbers; get the file again from its source") from None
    is_share = "acc" in name
    if not (np.isfinite(values).all() and (values >= 0).all() and (not is_share or values.max() <= 100)):
        raise DataError(
            f"{path}: column {name} holds what is no accuracy or duration; get the file again from its source"
        )
    found = np.empty(_CELLS)
    found[places] = values / 100 if is_share else values
    return found


def _trainings(path: Path, name: str, column: object, places: np.ndarray) -> np.ndarray:
    """A column of lists by place, see `Table.trainings_200`."""
    lists = column.to_pylist()  # type: ignore[attr-defined]
    most = max((len(one) for one in lists if isinstance(one, list)), default=0)
    found = np.full((_CELLS, most), np.nan)
    for where, one in zip(places, lists, strict=True):
        if not isinstance(one, list) or not one or not all(isinstance(x, float) and 0 <= x <= 100 for x in one):
            raise DataError(f"{path}: column {name} holds what is no list of accuracies; get the file again")
        found[where, : len(one)] = one
    return found / 100
