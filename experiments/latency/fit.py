"""Costs of the kinds of work, fitted on measured cycles: cycles = constant x sum(cost x amount of work).

All networks of one group (a runtime on a core, or on a board) share one constant; the costs are shared by all groups
that are fitted together. Costs are relative: a multiply-accumulate of an ordinary convolution costs 1.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from automcu.graph.latency import WORK
from experiments.latency.measurements import Measurement

Grouping = Callable[[Measurement], Hashable]

_FIRST_GUESS = dict(
    conv_macs=1.0,
    pointwise_macs=1.0,
    depthwise_3x3_macs=4.5,
    depthwise_macs=3.0,
    narrow_depthwise_macs=10.0,
    dense_macs=1.5,
    gathered=2.0,
    taps=0.5,
    outputs=15.0,
    depthwise_outputs=15.0,
    elements=15.0,
    pooled=4.0,
    pool_outputs=15.0,
    moved=2.0,
    exponentials=200.0,
    operators=500.0,
)
EXPECTED = np.array([_FIRST_GUESS[kind] for kind in WORK])
"""What costs are before any data: orders of magnitude for SIMD code. What measured networks hardly do stays here."""
SPREAD = 0.5
"""How far (standard deviation of the logarithm) costs may be from what is expected."""
NOISE = 0.1
"""How far measurements may be from the estimate, likewise."""


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """Relative `costs`, in the order of `WORK`, and the constant (cycles) of each group."""

    costs: np.ndarray
    constants: dict[Hashable, float]

    def relative_cycles(self, rows: Sequence[Measurement]) -> np.ndarray:
        """The estimate of each row, before its constant."""
        return np.array([row.work for row in rows]) @ self.costs


def fit(rows: Sequence[Measurement], group: Grouping, expected_costs: np.ndarray = EXPECTED) -> Fit:
    """Least squares of the logarithms of `rows`, each group weighing by the root of its count: many networks of one
    family on one board say less than as many boards. Without rows, the costs expected."""
    if not rows:
        return Fit(expected_costs, {})
    expected = np.log(expected_costs)
    amounts = np.array([row.work for row in rows])
    measured = np.log([row.cycles for row in rows])
    keys = [group(row) for row in rows]
    places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    index = np.array([places[key] for key in keys])
    counts = np.bincount(index)
    weight = counts[index] ** -0.25

    def gaps(costs: np.ndarray) -> np.ndarray:
        gap: np.ndarray = measured - np.log(amounts @ np.exp(costs))
        return gap

    def residuals(free: np.ndarray) -> np.ndarray:
        gap = gaps(np.concatenate([[0.0], free]))
        gap = gap - (np.bincount(index, gap) / counts)[index]
        return np.concatenate([weight * gap / NOISE, (free - expected[1:]) / SPREAD])

    costs = np.concatenate([[0.0], least_squares(residuals, expected[1:]).x])
    means = np.bincount(index, gaps(costs)) / counts
    return Fit(np.exp(costs), {key: float(np.exp(means[place])) for key, place in places.items()})


def fit_kernels(rows: Sequence[Measurement], kernels: str, group: Grouping) -> Fit:
    """A fit for those of `rows` with these `kernels`, near the costs that all `rows` agree on."""
    common = fit(rows, group).costs
    return fit([row for row in rows if row.kernels == kernels], group, common)


def source_line(core: str, cycles: Iterable[float]) -> str:
    """`cycles` as they stand in `automcu/graph/latency.py`: three digits each."""
    figures = (float(f"{figure:.3g}") for figure in cycles)
    return f'    "{core}": ({", ".join(f"{figure:g}" for figure in figures)}),'


def constants(relative: np.ndarray, rows: Sequence[Measurement], group: Grouping) -> dict[Hashable, float]:
    """For each group of `rows`, the one constant that brings `relative` estimates nearest to what was measured."""
    gaps: dict[Hashable, list[float]] = {}
    for row, estimate in zip(rows, relative, strict=True):
        gaps.setdefault(group(row), []).append(float(np.log(row.cycles / estimate)))
    return {key: float(np.exp(np.mean(found))) for key, found in gaps.items()}
