"""Judges the fast latency estimate against every measured board: what is left out of the fit is predicted.

    python -m experiments.latency.judge [--data FOLDER]

Prints the costs fitted (those in `automcu/graph/latency.py`) and the tables of the README; writes `rows.parquet` (every
row with every prediction) and `table.md` beside this file.
"""

import argparse
import os
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.stats import spearmanr

from automcu.graph.latency import WORK
from experiments.latency.fit import Fit, Grouping, constants, fit, fit_kernels, source_line
from experiments.latency.measurements import Measurement, load_measurements

HERE = Path(__file__).parent


def on_core(row: Measurement) -> Hashable:
    """One constant for each runtime and core."""
    return row.runtime, row.core


def on_board(row: Measurement) -> Hashable:
    """One constant for each runtime and board."""
    return row.runtime, row.board


@dataclass(frozen=True, slots=True)
class Reading:
    """A way to judge. Rows that agree in `left_out` are predicted by a fit on all others: costs shared by all kernels,
    or fitted for each kind of kernels near those if `by_kernels`. The constant of a runtime on a board is one number,
    fitted on the rows predicted if `calibrated`; otherwise it is that of the same runtime and `group` among the others,
    and there is no prediction where these have none."""

    title: str
    left_out: Callable[[Measurement], Hashable]
    by_kernels: bool
    calibrated: bool
    group: Grouping
    costs: bool = True


def _board(row: Measurement) -> Hashable:
    return row.board


def _family(row: Measurement) -> Hashable:
    return row.family


READINGS = {
    "macs": Reading("MACs alone, constant from the board", _board, False, True, on_board, costs=False),
    "board": Reading(
        "board left out, one set of costs for all, constant from the board", _board, False, True, on_board
    ),
    "kernels": Reading("board left out, costs by kernels, constant from the board", _board, True, True, on_board),
    "core": Reading("board left out, constant from other boards of its core", _board, True, False, on_core),
    "network": Reading("network left out, constant from the board's others", _family, True, False, on_board),
}


def predict(rows: Sequence[Measurement], reading: Reading) -> np.ndarray:
    """Cycles of every row as `reading` has it; not a number where it gives none."""
    predicted = np.full(len(rows), np.nan)
    parts: dict[Hashable, list[int]] = {}
    for place, row in enumerate(rows):
        parts.setdefault((reading.left_out(row), reading.by_kernels and row.kernels), []).append(place)
    for (out, kernels), places in parts.items():
        others = [row for row in rows if reading.left_out(row) != out]
        fitted = fit_kernels(others, str(kernels), reading.group) if kernels else fit(others, reading.group)
        predicted[places] = _predicted(fitted, [rows[place] for place in places], reading)
    return predicted


def _predicted(fitted: Fit, asked: Sequence[Measurement], reading: Reading) -> np.ndarray:
    relative = fitted.relative_cycles(asked) if reading.costs else np.array([float(row.macs) for row in asked])
    known = constants(relative, asked, reading.group) if reading.calibrated else fitted.constants
    return relative * np.array([known.get(reading.group(row), np.nan) for row in asked])


def table(rows: Sequence[Measurement], predictions: dict[str, np.ndarray], part: Callable[[Measurement], str]) -> str:
    """For each `part` of the rows and each reading: count, Spearman, median, 90th percentile and worst error."""
    lines = [
        "| rows | reading | count | Spearman | median error | 9 of 10 within | worst |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for name in sorted(set(map(part, rows))):
        for key, reading in READINGS.items():
            chosen = [
                (row.cycles, predicted)
                for row, predicted in zip(rows, predictions[key], strict=True)
                if part(row) == name and not np.isnan(predicted)
            ]
            if chosen:
                lines.append(f"| {name} | {reading.title} | {_figures(np.array(chosen))} |")
    return "\n".join(lines)


def _figures(pairs: np.ndarray) -> str:
    measured, predicted = pairs.T
    errors = predicted / measured - 1
    size = np.abs(errors)
    rank = f"{spearmanr(measured, predicted).statistic:.3f}" if len(pairs) > 4 else "too few"
    worst = errors[size.argmax()]
    return f"{len(pairs)} | {rank} | {np.median(size):.1%} | {np.quantile(size, 0.9):.1%} | {worst:+.1%}"


def shipped(rows: Sequence[Measurement], kernels: str) -> dict[str, tuple[float, ...]]:
    """Cycles of each kind of work by core, as `automcu/graph/latency.py` states them: costs of the runtimes with these
    kernels times the mean of their constants on a core."""
    fitted = fit_kernels(rows, kernels, on_board)
    found: dict[str, list[float]] = {}
    for key, constant in fitted.constants.items():
        core = next(row.core for row in rows if on_board(row) == key)
        found.setdefault(core, []).append(float(np.log(constant)))
    return {
        core: tuple(float(cost * np.exp(np.mean(logs))) for cost in fitted.costs)
        for core, logs in sorted(found.items())
    }


def main() -> None:
    """Fit, judge, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("AUTOMCU_DATA", "../shared/data")))
    rows = load_measurements(parser.parse_args().data)
    print("kinds of work:", ", ".join(WORK))
    for runtime, kernels in (("st", "X-CUBE-AI 9 and later"), ("tflm", "CMSIS-NN")):
        print(f"{runtime}:", *(source_line(core, cycles) for core, cycles in shipped(rows, kernels).items()), sep="\n")
    predictions = {key: predict(rows, reading) for key, reading in READINGS.items()}
    parts: dict[str, Callable[[Measurement], str]] = {
        "All": lambda row: "all",
        "By source": lambda row: row.source,
        "By core": lambda row: row.core,
        "By kernels": lambda row: row.kernels,
        "By runtime and core": lambda row: f"{row.runtime}, {row.core}",
    }
    text = "\n\n".join(f"## {title}\n\n{table(rows, predictions, part)}" for title, part in parts.items())
    print(text)
    (HERE / "table.md").write_text(f"# Every reading of every part\n\n{text}\n")
    pq.write_table(_parquet(rows, predictions), HERE / "rows.parquet", compression="zstd")


def _parquet(rows: Sequence[Measurement], predictions: dict[str, np.ndarray]) -> pa.Table:
    names = ("source", "network", "family", "board", "core", "runtime", "kernels", "cycles", "macs")
    columns: dict[str, object] = {name: [getattr(row, name) for row in rows] for name in names}
    columns |= {kind: [row.work[place] for row in rows] for place, kind in enumerate(WORK)}
    columns |= {f"cycles_predicted_{key}": predicted for key, predicted in predictions.items()}
    return pa.table(columns)


if __name__ == "__main__":
    main()
