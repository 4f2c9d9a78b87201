"""Fits the constants of the tier `st_estimate` and judges it on every row known.

    python -m experiments.st_calibration.calibrate [--data FOLDER]

Prints the fitted constants, the table of all rows, and the errors with each family of networks left out of the fit;
writes `rows.parquet` and `table.md` beside this file.
"""

import argparse
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.optimize import nnls

from automcu.feasibility.st.estimate import BASE_BYTES, GENERATIONS, Generation, StEstimate, keeps_size, pack_version
from automcu.feasibility.st.memory import st_layers, st_memory
from automcu.results import FeasibilityReport
from experiments.st_calibration.rows import Row, load_rows

HERE = Path(__file__).parent


def main() -> None:
    """Fit, judge, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("AUTOMCU_DATA", "../shared/data")))
    rows = load_rows(parser.parse_args().data)
    fitted = [row for row in rows if row.use == "fit"]
    _print_constants(fitted)
    reports = [StEstimate(row.version).report(row.graph, Path) for row in rows]
    left_out = [_left_out_error(row, fitted) for row in rows]
    table = _table(rows, reports, left_out)
    print(table)
    (HERE / "table.md").write_text(table + "\n")
    pq.write_table(_parquet(rows, reports, left_out), HERE / "rows.parquet", compression="zstd")


def _memory(row: Row) -> int:
    return st_memory(row.graph, st_layers(row.graph)).bytes


def _generation(row: Row) -> Generation:
    pack = pack_version(row.version)
    return next(g for g in GENERATIONS if g.first <= pack <= g.last)


def family_median(rows: Sequence[Row], figure: Callable[[Row], float]) -> float:
    """The median over families of each family's median: a family counts once, however many rows it has."""
    families = sorted({row.family for row in rows})
    return median(median(figure(row) for row in rows if row.family == family) for family in families)


def fit_base(rows: Sequence[Row]) -> float:
    """Bytes beside the largest layer's, from the versions before 10."""
    return family_median(
        [row for row in rows if _generation(row).last < 10], lambda row: row.activations - _memory(row)
    )


def fit_growth(rows: Sequence[Row], full_size: bool) -> float:
    """How much more version 10 and later take."""
    asked = [row for row in rows if _generation(row).first >= 10 and keeps_size(row.graph) is full_size]
    return family_median(asked, lambda row: row.activations / (_memory(row) + BASE_BYTES))


def fit_runtime(rows: Sequence[Row], columns: Callable[[Row], Sequence[float]], figure: str) -> np.ndarray:
    """Non-negative coefficients of `columns` with least squared relative error of the runtime's `figure`."""
    known = [row for row in rows if getattr(row, figure) is not None]
    real = np.array([getattr(row, figure) for row in known])
    return nnls(np.array([columns(row) for row in known]) / real[:, None], np.ones(len(known)))[0]


def _ram_columns(row: Row) -> tuple[float, ...]:
    kinds = [row.graph.operators[layer.operator] for layer in st_layers(row.graph)]
    joining = sum(op.kind in ("ADD", "CONCATENATION") for op in kinds)
    weighted = sum(bool(op.weights) for op in kinds)
    return 1.0, weighted, joining, len(kinds) - weighted - joining


def _code_columns(row: Row) -> tuple[float, ...]:
    kinds = [row.graph.operators[layer.operator] for layer in st_layers(row.graph)]
    channels = sum(row.graph.tensors[op.output].shape[-1] for op in kinds if op.weights)
    return 1.0, len(kinds), channels


def _print_constants(rows: Sequence[Row]) -> None:
    print(f"base: fitted {fit_base(rows):,.0f} B, used {BASE_BYTES:,} B")
    modern = GENERATIONS[-1]
    print(f"growth from version 10 on: fitted {fit_growth(rows, False):.3f}, used {modern.growth}")
    print(f"  with a first depthwise layer of stride 1: {fit_growth(rows, True):.3f}, used {modern.growth_full_size}")
    for generation in GENERATIONS[1:]:
        of_it = [row for row in rows if _generation(row) is generation]
        ram, code = fit_runtime(of_it, _ram_columns, "runtime_ram"), fit_runtime(of_it, _code_columns, "code")
        g = generation
        print(f"versions {g.first} to {g.last}: runtime RAM fitted {_round(ram)}, used "
              f"{[g.ram_base, g.ram_weighted, g.ram_joining, g.ram_other]}; code fitted {_round(code)}, used "
              f"{[g.code_base, g.code_layer, g.code_channel]}")  # fmt: skip


def _round(values: Iterable[float]) -> list[float]:
    return [round(float(value), 1) for value in values]


def _left_out_error(row: Row, fitted: Sequence[Row]) -> float:
    """Relative error of the activations with the row's family left out of the fit."""
    others = [other for other in fitted if other.family != row.family]
    growth = 1.0 if _generation(row).last < 10 else fit_growth(others, keeps_size(row.graph))
    return float(growth * (_memory(row) + fit_base(others)) / row.activations - 1)


def _table(rows: Sequence[Row], reports: Sequence[FeasibilityReport], left_out: Sequence[float]) -> str:
    lines = [
        "| network | version | activations, predicted | ST's | error | family left out | with margin "
        "| weights, error | runtime RAM, predicted / ST's | code, predicted / ST's |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    groups = {"fit": "**rows of the fit**", "check": "**rows of no fit**"}
    for use, title in groups.items():
        lines.append(f"| {title} | | | | | | | | | |")
        for row, report, apart in sorted(zip(rows, reports, left_out, strict=True), key=lambda item: _order(item[0])):
            if row.use == use:
                lines.append(_line(row, report, apart))
    for use in groups:
        for first, last in ((5, 9), (10, 12)):
            chosen = [
                (report.activations_bytes / row.activations - 1, apart, (1 + report.margin) * report.activations_bytes
                 / row.activations - 1)
                for row, report, apart in zip(rows, reports, left_out, strict=True)
                if row.use == use and first <= pack_version(row.version) <= last
            ]  # fmt: skip
            errors, aparts, margined = zip(*chosen, strict=True)
            lines += [
                "",
                f"{groups[use]}, versions {first} to {last}, {len(chosen)} rows: median absolute error "
                f"{_median(errors):.1%}, with the family left out {_median(aparts):.1%}; from {min(errors):+.1%} to "
                f"{max(errors):+.1%}; with the margin at worst {min(margined):+.1%}",
            ]
    return "\n".join(lines)


def _median(errors: Iterable[float]) -> float:
    return median(abs(error) for error in errors)


def _order(row: Row) -> tuple[str, int, str]:
    return row.network, pack_version(row.version), row.version


def _line(row: Row, report: FeasibilityReport, apart: float) -> str:
    error = report.activations_bytes / row.activations - 1
    margined = report.activations_bytes * (1 + report.margin) / row.activations - 1
    weights = "" if row.weights is None else f"{report.weights_bytes / row.weights - 1:+.2%}"
    ram = "" if row.runtime_ram is None else f"{report.runtime_ram_bytes:,} / {row.runtime_ram:,.0f}"
    code = "" if row.code is None else f"{report.code_bytes:,} / {row.code:,.0f}"
    return (
        f"| {row.network} | {row.version} | {report.activations_bytes:,} | {row.activations:,.0f} | {error:+.1%} | "
        f"{apart:+.1%} | {margined:+.1%} | {weights} | {ram} | {code} |"
    )


def _parquet(rows: Sequence[Row], reports: Sequence[FeasibilityReport], left_out: Sequence[float]) -> pa.Table:
    return pa.table(
        {
            "network": [row.network for row in rows],
            "family": [row.family for row in rows],
            "version": [row.version for row in rows],
            "use": [row.use for row in rows],
            "activations_bytes": [row.activations for row in rows],
            "activations_predicted_bytes": [report.activations_bytes for report in reports],
            "activations_error_left_out": left_out,
            "margin": [report.margin for report in reports],
            "weights_bytes": [row.weights for row in rows],
            "weights_predicted_bytes": [report.weights_bytes for report in reports],
            "runtime_ram_bytes": [row.runtime_ram for row in rows],
            "runtime_ram_predicted_bytes": [report.runtime_ram_bytes for report in reports],
            "code_bytes": [row.code for row in rows],
            "code_predicted_bytes": [report.code_bytes for report in reports],
        }
    )


if __name__ == "__main__":
    main()
