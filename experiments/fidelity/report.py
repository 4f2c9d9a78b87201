"""The tables of the README: Spearman's correlation of each short training, and each proxy, with the long training.

    python -m experiments.fidelity.report

Intervals are of 2,000 bootstrap samples of the networks.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from scipy.stats import spearmanr

from experiments.fidelity.measure import SCHEDULES

HERE = Path(__file__).parent
RUNGS = (1, 2, 3, 4, 6, 12)
"""Epochs after which ASHA may look."""
SAMPLES = 2_000


def rows() -> list[dict[str, Any]]:
    """All trainings that were measured."""
    return [row for path in sorted(HERE.glob("rows*.parquet")) for row in pq.read_table(path).to_pylist()]


def correlation(found: Sequence[float], final: Sequence[float]) -> tuple[float, float, float]:
    """Spearman's correlation, with its 95 % interval."""
    pairs, rng = np.array([found, final]).T, np.random.default_rng(0)
    samples = [spearmanr(*pairs[rng.integers(0, len(pairs), len(pairs))].T).statistic for _ in range(SAMPLES)]
    low, high = np.nanpercentile(samples, [2.5, 97.5])
    return float(spearmanr(*pairs.T).statistic), float(low), float(high)


def table(measured: list[dict[str, Any]]) -> list[str]:
    """Lines of the table, cheapest first."""
    by_schedule: dict[str, dict[str, dict[str, Any]]] = {}
    for row in measured:
        by_schedule.setdefault(row["schedule"], {})[row["fingerprint"]] = row
    final = {name: row["accuracy"] for name, row in by_schedule["long"].items()}
    predictors: list[tuple[str, float | None, dict[str, float]]] = []
    for proxy in json.loads(next(iter(by_schedule["long"].values()))["proxies"]):
        values = {name: json.loads(row["proxies"])[proxy] for name, row in by_schedule["long"].items()}
        predictors.append((f"no training: {proxy}", None, values))
    for schedule, found in by_schedule.items():
        seconds = float(np.mean([row["cpu_seconds"] for row in found.values()]))
        if schedule != "long":
            seen = SCHEDULES[schedule].recipe.shares_by_epoch
            for epoch in RUNGS:
                values = {name: row["curve"][epoch - 1] for name, row in found.items()}
                cost = seconds * sum(seen[:epoch]) / sum(seen)
                predictors.append((f"{schedule}: after {epoch}", cost, values))
    lines = ["| predictor | networks | CPU seconds a network | Spearman [95 %] |", "|---|--:|--:|--:|"]
    for told, spent, values in sorted(predictors, key=lambda one: one[1] or 0.0):
        names = sorted(values.keys() & final.keys())
        best, low, high = correlation([values[name] for name in names], [final[name] for name in names])
        shown = "" if spent is None else f"{spent:.0f}"
        lines.append(f"| {told} | {len(names)} | {shown} | {best:.2f} [{low:.2f}, {high:.2f}] |")
    return lines


if __name__ == "__main__":
    print("\n".join(table(rows())))
