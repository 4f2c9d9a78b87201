"""What the recorded rows say: tables, and the picture of the best accuracy so far.

    python -m experiments.agents.report [--out FOLDER]

Prints the tables that the README holds and writes `best_so_far.png`.
"""

import argparse
import io
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.agents.measure import HERE, read

Runs = Mapping[tuple[str, int], Sequence[Mapping[str, Any]]]
"""The rows of each run, by method and seed."""

PROBLEMS = ("digits_trained", "nasbench201", "cifar10", "digits")
RESAMPLES = 10_000
_COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#17becf", "#7f7f7f")
_SHOWN = (
    "random",
    "evolution",
    "llm:edit local",
    "llm:edit chance",
    "llm:edit obedient",
    "hybrid:edit local",
    "llm:architecture local",
)
_PANELS = {
    "digits_trained": ("digits on nucleo_l011k4, trained", (90.0, 100.0)),
    "nasbench201": ("NAS-Bench-201, names hidden", (89.0, 91.7)),
    "cifar10": ("cifar10 on nucleo_l010rb, stand-in for accuracy", (30.0, 85.0)),
}
"""Titles, and the accuracies shown."""
LEAST_RUNS = 5
"""Fewer make no curve."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables, write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=HERE)
    asked = parser.parse_args(arguments)
    print("\n\n".join(tables(asked.out)))
    (asked.out / "best_so_far.png").write_bytes(picture(asked.out))


def tables(folder: Path) -> list[str]:
    """All tables, in Markdown."""
    found = [summary(name, runs_of(folder, name)) for name in PROBLEMS if (folder / f"{name}.parquet").exists()]
    return [feedback(runs_of(folder, "feedback")), *found, against(folder)]


def runs_of(folder: Path, name: str) -> Runs:
    """The recorded runs of one problem."""
    runs = defaultdict(list)
    for row in read(folder / f"{name}.parquet"):
        runs[row["method"], row["seed"]].append(row)
    return runs


def feedback(runs: Runs) -> str:
    """Whether a finding helps: shares of what was asked for that fits, with the findings and without."""
    lines = [
        "| asked once, after three near misses | seeds | fits, told | fits, untold | told less untold [95 %] "
        "| of the menu fits |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for method in dict.fromkeys(method for method, _ in runs):
        if f"{method} untold" in {method for method, _ in runs}:
            told, untold = (_per_seed(runs, name, _fitting) for name in (method, f"{method} untold"))
            seeds = sorted(told.keys() & untold.keys())
            menus = [runs[method, seed][0] for seed in seeds]
            lines_of_menus = sum(row["menu"] for row in menus)
            chance = f"{_percent(sum(row['menu_fits'] for row in menus) / lines_of_menus)}" if lines_of_menus else ""
            pairs = [(told[seed], untold[seed]) for seed in seeds]
            means = [_percent(float(np.mean(side))) for side in zip(*pairs, strict=True)]
            difference = _interval([100 * (left - right) for left, right in pairs], "{:+.0f}")
            lines.append(f"| {method} | {len(seeds)} | {means[0]} | {means[1]} | {difference} | {chance} |")
    return "\n".join(lines)


def summary(name: str, runs: Runs) -> str:
    """A line a method. Shares are of the proposals, or of the runs for the first one; tokens and seconds are those of
    all rounds, by what fits in the end."""
    lines = [
        f"| {name} | runs | valid | duplicates | first fits | fits, before findings | after | tokens in + out a fit "
        "| seconds a fit | best accuracy, mean (sd) |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for method in dict.fromkeys(method for method, _ in runs):
        mine = [rows for (other, _), rows in runs.items() if other == method]
        rows = [row for run in mine for row in run]
        checked = [row for row in rows if row["feasible"] is not None]
        first = [next(row["feasible"] for row in run if row["feasible"] is not None) for run in mine if _any(run)]
        fits = sum(row["feasible"] for row in checked)
        before = [row["feasible"] for row in checked if not row["findings"]]
        after = [row["feasible"] for row in checked if row["findings"]]
        tokens = [sum(row[key] for row in rows) for key in ("tokens_in", "tokens_out")]
        best = [100 * run[-1]["best_accuracy"] for run in mine]
        cells = [
            str(len(mine)),
            _percent(sum(row["valid"] for row in rows) / len(rows)),
            str(sum(row["duplicate"] for row in rows)),
            _share(first),
            _share(before),
            _share(after),
            f"{tokens[0] / fits:,.0f} + {tokens[1] / fits:,.0f}" if fits and sum(tokens) else "",
            f"{sum(row['seconds'] for row in rows) / fits:.2f}" if fits else "",
            f"{np.mean(best):.2f} ({np.std(best, ddof=1) if len(best) > 1 else 0:.2f})" if fits else "none",
        ]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def against(folder: Path) -> str:
    """The best accuracy of runs with a model less that of a control, seed by seed."""
    lines = ["| best accuracy, points | seeds | difference [95 %] |", "|---|--:|--:|"]
    for name in PROBLEMS:
        if not (folder / f"{name}.parquet").exists():
            continue
        runs = runs_of(folder, name)
        for method, control in (
            ("llm:edit local", "llm:edit chance"),
            ("llm:edit local", "random"),
            ("llm:edit local", "evolution"),
            ("hybrid:edit local", "evolution"),
            ("llm:architecture local", "random"),
            ("llm:edit chance", "random"),
            ("llm:edit obedient", "llm:edit chance"),
            ("hybrid:edit rubbish", "evolution"),
        ):
            left, right = (_per_seed(runs, other, _best) for other in (method, control))
            seeds = sorted(left.keys() & right.keys())
            if seeds:
                difference = _interval([100 * (left[seed] - right[seed]) for seed in seeds], "{:+.2f}")
                lines.append(f"| {name}: {method} less {control} | {len(seeds)} | {difference} |")
    return "\n".join(lines)


def picture(folder: Path) -> bytes:
    """A PNG: the mean over the runs of the best accuracy so far, with its standard error, by networks proposed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = [name for name in _PANELS if (folder / f"{name}.parquet").exists()]
    figure = Figure(figsize=(5.2 * len(names), 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    handles: dict[str, Any] = {}
    for panel, name in zip(panels, names, strict=True):
        runs = runs_of(folder, name)
        for method, colour in zip(_SHOWN, _COLOURS, strict=False):
            curves = [curve(rows) for (other, _), rows in runs.items() if other == method]
            if len(curves) >= LEAST_RUNS:
                length = min(map(len, curves))
                values = 100 * np.array([values[:length] for values in curves])
                mean, error = values.mean(0), values.std(0) / np.sqrt(len(values))
                steps = np.arange(1, length + 1)
                (handles[method],) = panel.plot(steps, mean, color=colour, linewidth=1.6)
                panel.fill_between(steps, mean - error, mean + error, color=colour, alpha=0.15, linewidth=0)
        title, shown = _PANELS[name]
        panel.set_ylim(*shown)
        panel.set_title(title, fontsize=10)
        panel.set_xlabel("different networks proposed")
        panel.grid(alpha=0.25)
    panels[0].set_ylabel("best validation accuracy so far (%)")
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=90)
    return sink.getvalue()


def curve(rows: Sequence[Mapping[str, Any]]) -> list[float]:
    """The best accuracy after each different network of a run."""
    return [row["best_accuracy"] for row in rows if row["feasible"] is not None]


def _per_seed(runs: Runs, method: str, value: Callable[[Sequence[Mapping[str, Any]]], float]) -> dict[int, float]:
    return {seed: value(rows) for (other, seed), rows in runs.items() if other == method}


def _fitting(rows: Sequence[Mapping[str, Any]]) -> float:
    return sum(bool(row["feasible"]) for row in rows) / len(rows)


def _best(rows: Sequence[Mapping[str, Any]]) -> float:
    best: float = rows[-1]["best_accuracy"]
    return best


def _any(rows: Sequence[Mapping[str, Any]]) -> bool:
    return any(row["feasible"] is not None for row in rows)


def _interval(differences: Sequence[float], form: str) -> str:
    """The mean with its percentile interval over bootstrap samples of the seeds."""
    values, rng = np.array(differences), np.random.default_rng(0)
    means = values[rng.integers(0, len(values), (RESAMPLES, len(values)))].mean(1)
    low, high = np.percentile(means, (2.5, 97.5))
    return f"{form.format(values.mean())} [{form.format(low)}, {form.format(high)}]"


def _share(flags: Sequence[bool]) -> str:
    return _percent(sum(flags) / len(flags)) if flags else ""


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


if __name__ == "__main__":
    main()
