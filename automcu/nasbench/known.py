"""Known figures of searches in the published table, to hold against one's own: a comparison that does not come to them
is wrong before it says anything new."""

from collections.abc import Mapping, Sequence

import numpy as np

from automcu.nasbench.summary import Runs
from automcu.nasbench.table import DATA_SETS, DataSet

TEST = (
    ("random", 10, ("93.0", "69.8", "43.3")),
    ("evolution", 100, ("94.1", "72.6 to 72.8", "46.1")),
)
"""Method, queries, mean test accuracy in percent by data set, of hundreds of searches in the same table; evolution of
ten cells, tournaments of 3 to 5."""
QUERIES_TO_OPTIMUM: Mapping[DataSet, str] = {"cifar10": "about 65", "cifar100": "about 59"}
"""Median of local search."""
BEST: Mapping[DataSet, str] = {"cifar10": "94.37", "cifar100": "73.51"}
"""Test accuracy of the cell that is best in validation, in percent: what Dong and Yang (2020) and their successors
call the optimum."""


def known(runs: Sequence[Runs]) -> list[Sequence[str]]:
    """A line for each figure that `runs` have too, after a heading; nothing where there is none."""
    found = {(one.method, one.table.data_set): one for one in runs}
    lines = [
        [f"{method}, {queries} queries, test %", data_set, figure, _mean(100 * one.test(queries))]
        for method, queries, figures in TEST
        for data_set, figure in zip(DATA_SETS, figures, strict=True)
        if (one := found.get((method, data_set))) and one.places.shape[1] >= queries
    ]
    for data_set, figure in QUERIES_TO_OPTIMUM.items():
        if one := found.get(("local_search", data_set)):
            median = float(np.median(one.queries_to(1.0)))
            told = f"{median:g}" if np.isfinite(median) else f"more than {one.places.shape[1]:,}"
            lines.append(["local_search, median queries to the optimum", data_set, figure, told])
    for data_set, table in {one.table.data_set: one.table for one in runs}.items():
        if data_set in BEST:
            lines.append(["best in validation, test %", data_set, BEST[data_set], f"{100 * table.chosen_test:.2f}"])
    return [["figure", "data set", "known", "here (+- twice the standard error)"], *lines] if lines else []


def _mean(values: np.ndarray) -> str:
    return f"{values.mean():.2f} +- {2 * values.std() / len(values) ** 0.5:.2f}"
