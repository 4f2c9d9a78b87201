"""A comparison for people: a page with the curves and the tables, and the same as Markdown and PNG."""

import base64
import html
import io
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from automcu.nasbench.comparison import Comparison
from automcu.nasbench.known import known
from automcu.nasbench.methods import view_of
from automcu.nasbench.search import STATUSES
from automcu.nasbench.summary import CONTROLS, SHARES_OF_OPTIMUM, Row, Runs, reached, summary
from automcu.run_folder import RunFolder

_LEAST_REGRET = 0.001
"""In points: less is drawn at the edge."""
CHECKPOINTS = (10, 20, 30, 50, 100, 200, 500, 1000)
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body{{font:16px/1.5 sans-serif;max-width:70em;margin:2em auto;padding:0 1em}}
table{{border-collapse:collapse;margin:1em 0}}th,td{{padding:.2em .8em;text-align:right;border-bottom:1px solid #ddd}}
th:first-child,td:first-child{{text-align:left}}img{{max-width:100%}}</style>
<h1>{title}</h1><p>{told}</p><img alt="regret by queries" src="data:image/png;base64,{png}">{tables}</html>
"""
_ASKED = {
    "calls": "calls",
    "tokens in": "tokens_in",
    "of them cached": "tokens_cached",
    "tokens out": "tokens_out",
    "USD": "usd",
    "seconds": "seconds",
}
Lines = Sequence[Sequence[str]]


def write(files: RunFolder, rows: pa.Table, runs: Sequence[Runs], comparison: Comparison) -> str:
    """Write `summary.md`, `regret.png` and `report.html` of a comparison; returns the summary. `rows` are those of
    `automcu.nasbench.comparison.run_piece`, `runs` the same by method and data set."""
    words = (
        f"{comparison.seeds:,} seeds from {comparison.first_seed}, told the validation accuracy after "
        f"{comparison.epochs} epochs{' of one training, drawn at random' if comparison.noise else ''}. "
        f"{asked(rows)}Test accuracy is that of the network of which the search was told the best accuracy so "
        "far; every proposal is a query, and invalid ones and duplicates count. p is of Wilcoxon's signed-rank test, "
        "two-sided, paired by seeds."
    )
    lines = [*results(runs), proposals(rows)]
    as_published = comparison.epochs == 200 and not comparison.noise
    if as_published and (figures := known(runs)):
        lines.append(("Known figures", figures))
    png = plot(runs)
    text = markdown(lines, words)
    files.write("summary.md", text.encode())
    files.write("regret.png", png)
    files.write("report.html", page(lines, words, png).encode())
    return text


def results(runs: Sequence[Runs]) -> Sequence[tuple[str, Lines]]:
    """Titled tables, each with its heading as first line."""
    ends = {one.places.shape[1] for one in runs}
    rows = summary(runs, sorted({*(count for count in CHECKPOINTS if count < max(ends)), *ends}))
    found: list[tuple[str, Lines]] = []
    for data_set in dict.fromkeys(row.data_set for row in rows):
        heading = ["method", "queries", "seeds", "test %", "sd", "mean regret", "median regret"]
        lines = [[*heading, *(f"p, other than {control}" for control in CONTROLS)]]
        found.append((data_set, lines + [_line(row) for row in rows if row.data_set == data_set]))
    reaching = [["method", "data set", *(f"queries to {100 * share:g} %" for share in SHARES_OF_OPTIMUM)]]
    for (method, data_set), shares in reached(runs).items():
        told = [f"{median:,.0f}" if np.isfinite(median) else "never" for _, median, _ in shares]
        reaching.append(
            [method, data_set, *(f"{one} ({part:.0%})" for one, (_, _, part) in zip(told, shares, strict=True))]
        )
    return [*found, ("Queries until the best so far is so much of the optimum: median (share of the seeds)", reaching)]


def proposals(rows: pa.Table) -> tuple[str, Lines]:
    """What was proposed, what training it would have taken, and what was asked of language models for it, by method and
    data set: shares of the queries, and means over the searches."""
    lines = [["method", "data set", *(f"{status} %" for status in STATUSES), "training hours", *_ASKED]]
    for method in pc.unique(rows["method"]).to_pylist():
        for data_set in pc.unique(rows["data_set"]).to_pylist():
            mine = rows.filter((pc.field("method") == method) & (pc.field("data_set") == data_set))
            if not mine.num_rows:
                continue
            searches = pc.count_distinct(mine["seed"]).as_py()
            # What was trained before need not be trained again.
            trained = mine.filter(pc.is_in(mine["status"].cast(pa.string()), pa.array(["new", "isomorphic"])))
            hours = (pc.sum(trained["training_seconds"]).as_py() or 0.0) / 3600 / searches
            counts = {
                one["values"]: one["counts"] for one in pc.value_counts(mine["status"].cast(pa.string())).to_pylist()
            }
            shares = [f"{100 * counts.get(status, 0) / mine.num_rows:.1f}" for status in STATUSES]
            asked = [mine[name].to_numpy().sum() / searches for name in _ASKED.values()]
            told = ["unknown" if np.isnan(one) else _figure(one) for one in asked]
            none = not pc.sum(mine["calls"]).as_py()
            lines.append([method, data_set, *shares, _figure(hours), *([""] * len(told) if none else told)])
    return (
        "Proposals; hours of training, as they took the benchmark's machines, and what was asked of a language model "
        "are means of a search"
    ), lines


def asked(rows: pa.Table) -> str:
    """Which language models were asked, and when; how what they were shown differs. Nothing where none was."""
    answers = rows.filter(pc.field("model").cast(pa.string()) != "")
    if not answers.num_rows:
        return ""
    models = ", ".join(sorted(pc.unique(answers["model"].cast(pa.string())).to_pylist()))
    days = sorted({date[:10] for date in pc.unique(answers["date"].cast(pa.string())).to_pylist()})
    when = f"on {days[0]}" if len(days) == 1 else f"from {days[0]} to {days[-1]}"
    told = f"{models} answered {when} (UTC). "
    if any(view_of(method.split(" (")[0]) != "true" for method in pc.unique(rows["method"]).to_pylist()):
        told += (
            "renamed: operations have other names, which are explained, and the data set is not told; hidden: they are "
            "not explained either. "
        )
    return told


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.4g}"


def _line(row: Row) -> list[str]:
    return [
        row.method,
        f"{row.queries:,}",
        f"{row.seeds:,}",
        f"{row.test_mean:.2f}",
        f"{row.test_sd:.2f}",
        f"{row.regret_mean:.3f}",
        f"{row.regret_median:.3f}",
        *("" if p is None else f"{p:.1e}" for p in (row.p_random, row.p_local_search)),
    ]


def markdown(tables: Sequence[tuple[str, Lines]], told: str) -> str:
    """The tables as Markdown."""
    parts = [told]
    for title, (heading, *lines) in tables:
        rule = "|".join(["", *("--:" if place else "---" for place in range(len(heading))), ""])
        parts.append("\n".join([f"## {title}", "", _piped(heading), rule, *map(_piped, lines)]))
    return "\n\n".join(parts) + "\n"


def _piped(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def page(tables: Sequence[tuple[str, Lines]], told: str, png: bytes) -> str:
    """All of it on one page that needs no other file."""
    parts = []
    for title, (heading, *lines) in tables:
        body = "".join(f"<tr>{_cells('td', line)}</tr>" for line in lines)
        parts.append(f"<h2>{html.escape(title)}</h2><table><tr>{_cells('th', heading)}</tr>{body}</table>")
    return _PAGE.format(
        title="NAS-Bench-201", told=html.escape(told), png=base64.b64encode(png).decode(), tables="".join(parts)
    )


def _cells(tag: str, cells: Sequence[str]) -> str:
    return "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)


def plot(runs: Sequence[Runs]) -> bytes:
    """A PNG, a column a data set: above what was found (mean validation accuracy over the seeds with twice its standard
    error) by queries, and the optimum as a line; below the mean regret, which is the distance between the two."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    data_sets = list(dict.fromkeys(one.table.data_set for one in runs))
    figure = Figure(figsize=(5.2 * len(data_sets), 7.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, len(data_sets), sharex=True, squeeze=False, height_ratios=(3, 2))
    for (above, below), data_set in zip(panels.T, data_sets, strict=True):
        mine = [one for one in runs if one.table.data_set == data_set]
        optimum, lowest, least = 100 * mine[0].table.best_validation, 100.0, 1.0
        for one in mine:
            best = 100 * one.validation
            mean, error = best.mean(axis=0), 2 * best.std(axis=0) / np.sqrt(len(best))
            queries = np.arange(1, best.shape[1] + 1)
            (line,) = above.plot(queries, mean, label=one.method)
            above.fill_between(queries, mean - error, mean + error, color=line.get_color(), alpha=0.2, linewidth=0)
            lowest = min(lowest, mean[min(4, len(mean) - 1)])
            regret = np.where(optimum - mean > 1e-9, optimum - mean, np.nan)
            below.plot(queries, regret, color=line.get_color())
            least = min(least, np.nanmin(regret, initial=1.0))
        above.axhline(optimum, color="#808080", linestyle="--", label="optimum")
        above.set_ylim(lowest, optimum + 0.04 * (optimum - lowest) + 1e-3)
        above.set(title=data_set, ylabel="validation accuracy found, %")
        below.set_yscale("log")
        below.set_ylim(max(least, _LEAST_REGRET) / 1.2, 1.2 * max(optimum - lowest, 2 * _LEAST_REGRET))
        below.set(xlabel="queries", ylabel="mean regret, points")
        for panel in (above, below):
            panel.set_xscale("log")
            panel.grid(alpha=0.3)
        for axis in (above.xaxis, below.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axis.set_minor_formatter(NullFormatter())
    above.legend(loc="lower right")
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=110)
    return sink.getvalue()
