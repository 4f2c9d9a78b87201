"""Fits the fast estimate for AutoMCU's own runtime on the profiles of `own.parquet`, judged on networks left out.

    python -m experiments.latency.own

Prints the cycles of each kind of work by core, as `automcu/graph/latency.py` states them, and for each core the errors
of whole networks in tenfold cross-validation. What it is judged against is itself an estimate (executed instructions
through a timing table), so these errors come on top of that table's own.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from scipy.optimize import nnls
from scipy.stats import spearmanr

from automcu.graph.latency import WORK
from experiments.latency.fit import source_line

HERE = Path(__file__).parent
FOLDS = 10
NETWORK_WEIGHT = 3.0
"""How much more a network as a whole counts than one of its layers."""


class Layers:
    """The layers of one core: amounts of work, cycles and the number of their network, in arrays."""

    def __init__(self, rows: Sequence[dict[str, float]]) -> None:
        self.work = np.array([[row[kind] for kind in WORK] for row in rows])
        self.cycles = np.array([float(row["cycles"]) for row in rows])
        self.network = np.array([row["network"] for row in rows])

    def totals(self) -> tuple[np.ndarray, np.ndarray]:
        """Work and cycles of whole networks."""
        numbers = np.unique(self.network)
        of = [self.network == number for number in numbers]
        return np.array([self.work[mask].sum(0) for mask in of]), np.array([self.cycles[mask].sum() for mask in of])

    def chosen(self, mask: np.ndarray) -> "Layers":
        """Those of `mask`."""
        part = Layers([])
        part.work, part.cycles, part.network = self.work[mask], self.cycles[mask], self.network[mask]
        return part


def fit(layers: Layers) -> np.ndarray:
    """Cycles of each kind of work, none negative, with the least squared relative error of layers and of networks."""
    work, cycles = layers.totals()
    amounts = np.concatenate([layers.work / layers.cycles[:, None], NETWORK_WEIGHT * work / cycles[:, None]])
    wanted = np.concatenate([np.ones(len(layers.cycles)), np.full(len(cycles), NETWORK_WEIGHT)])
    costs: np.ndarray = nnls(amounts, wanted)[0]
    return costs


def judge(layers: Layers) -> tuple[np.ndarray, np.ndarray]:
    """Measured and estimated cycles of all networks, each estimated without the tenth that it is in."""
    measured, estimated = [], []
    for fold in range(FOLDS):
        out = layers.network % FOLDS == fold
        costs = fit(layers.chosen(~out))
        work, cycles = layers.chosen(out).totals()
        measured.append(cycles)
        estimated.append(work @ costs)
    return np.concatenate(measured), np.concatenate(estimated)


def main() -> None:
    """Fit, judge and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--profiles", type=Path, default=HERE / "own.parquet")
    rows = pq.read_table(parser.parse_args().profiles).to_pylist()
    by_core: dict[tuple[str, str], list[dict[str, float]]] = {}
    for row in rows:
        by_core.setdefault((row["core"], row["kernels"]), []).append(row)
    print("kinds of work:", ", ".join(WORK))
    for (core, _), found in by_core.items():
        print(source_line(core, fit(Layers(found))))
    print("\n| core | kernels | networks | Spearman | median error | 9 of 10 within | worst | layers, median error |")
    print("|---|---|--:|--:|--:|--:|--:|--:|")
    for (core, kernels), found in by_core.items():
        layers = Layers(found)
        measured, estimated = judge(layers)
        error = estimated / measured - 1
        rank = spearmanr(measured, estimated).statistic
        by_layer = np.abs(layers.work @ fit(layers) / layers.cycles - 1)
        print(
            f"| {core} | {kernels} | {len(measured)} | {rank:.3f} | {np.median(abs(error)):.1%} | "
            f"{np.quantile(abs(error), 0.9):.1%} | {error[abs(error).argmax()]:+.1%} | {np.median(by_layer):.1%} |"
        )


if __name__ == "__main__":
    main()
