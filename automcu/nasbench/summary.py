"""What a comparison comes to: per method, data set and number of queries, over the seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.stats import wilcoxon

from automcu.nasbench.table import DataSet, Table

SHARES_OF_OPTIMUM = (0.99, 0.999, 1.0)
CONTROLS = ("random", "local_search")


@dataclass(frozen=True, eq=False)
class Runs:
    """All searches of a method on a data set: a row a seed, a column a query; places in the table, -1 for none, and
    what the search was `told` of their accuracy, NaN for nothing.

    Searches that ended early are filled up with these.
    """

    method: str
    table: Table
    places: np.ndarray
    told: np.ndarray

    @cached_property
    def found(self) -> np.ndarray:
        """The place that did best so far by what was told, by query; -1 before the first."""
        told = np.nan_to_num(self.told, nan=-1.0)
        before = np.maximum.accumulate(np.column_stack([np.full(len(told), -1.0), told[:, :-1]]), axis=1)
        best = np.maximum.accumulate(np.where(told > before, np.arange(told.shape[1]), -1), axis=1)
        chosen: np.ndarray = np.where(best >= 0, np.take_along_axis(self.places, best, axis=1), -1)
        return chosen

    @property
    def validation(self) -> np.ndarray:
        """Its mean validation accuracy after 200 epochs; 0 before the first."""
        known: np.ndarray = np.append(self.table.validation_200, 0.0)[self.found]  # -1 is the last one
        return known

    @property
    def regret(self) -> np.ndarray:
        """How far that is below the optimum."""
        gap: np.ndarray = self.table.best_validation - self.validation
        return gap

    def test(self, queries: int) -> np.ndarray:
        """Test accuracy of what was found among the first so many, by seed."""
        known: np.ndarray = np.append(self.table.test_200, 0.0)[self.found[:, queries - 1]]
        return known

    def queries_to(self, share: float) -> np.ndarray:
        """Queries until what was found was so much of the optimum, by seed; infinite where it never was."""
        there = self.validation >= share * self.table.best_validation - 1e-12
        return np.where(there.any(axis=1), there.argmax(axis=1) + 1.0, np.inf)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the summary. Accuracies and regrets are in percent and points. `p_random` and `p_local_search` are of
    Wilcoxon's signed-rank test, two-sided and seed by seed, that the regret is another than the control's; None where
    there is no such control, and for the control itself."""

    method: str
    data_set: DataSet
    queries: int
    seeds: int
    test_mean: float
    test_sd: float
    regret_mean: float
    regret_median: float
    p_random: float | None
    p_local_search: float | None


def summary(runs: Sequence[Runs], checkpoints: Sequence[int]) -> list[Row]:
    """A row for each of `runs` and each number of queries among `checkpoints` that they have."""
    by_key = {(one.method, one.table.data_set): one for one in runs}
    rows = []
    for one in runs:
        for queries in (count for count in checkpoints if count <= one.places.shape[1]):
            test, regret = 100 * one.test(queries), 100 * one.regret[:, queries - 1]
            p = [
                _p_value(one, by_key.get((control, one.table.data_set)), queries) if one.method != control else None
                for control in CONTROLS
            ]
            rows.append(
                Row(
                    one.method, one.table.data_set, queries, len(test), float(test.mean()), _deviation(test),
                    float(regret.mean()), float(np.median(regret)), *p,
                )
            )  # fmt: skip
    return rows


def _deviation(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def _p_value(one: Runs, control: Runs | None, queries: int) -> float | None:
    """Seeds that both have are paired."""
    if control is None or control.places.shape[1] < queries:
        return None
    seeds = min(len(one.places), len(control.places))
    difference = one.regret[:seeds, queries - 1] - control.regret[:seeds, queries - 1]
    if not difference.any():
        return 1.0
    return float(wilcoxon(difference).pvalue)


def reached(runs: Sequence[Runs]) -> Mapping[tuple[str, DataSet], list[tuple[float, float, float]]]:
    """By method and data set, for each of `SHARES_OF_OPTIMUM`: the share, the median queries to come so near (infinite
    where most never did), and which part of the seeds did."""
    return {
        (one.method, one.table.data_set): [
            (share, float(np.median(counts)), float(np.isfinite(counts).mean()))
            for share in SHARES_OF_OPTIMUM
            for counts in [one.queries_to(share)]
        ]
        for one in runs
    }
