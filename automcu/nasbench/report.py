"""A comparison for people: a page with the curves and the tables, and the same as Markdown and PNG."""

import base64
import html
import io
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from automcu.nasbench.search import STATUSES
from automcu.nasbench.summary import CONTROLS, SHARES_OF_OPTIMUM, Row, Runs, reached, summary

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


def results(runs: Sequence[Runs], queries: int) -> Sequence[tuple[str, Lines]]:
    """Titled tables, each with its heading as first line."""
    rows = summary(runs, sorted({*(count for count in CHECKPOINTS if count < queries), queries}))
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
    """What was proposed, and what was asked of language models for it, by method and data set: shares of the queries,
    and means over the searches. `rows` are those of `automcu.nasbench.comparison.run_piece`."""
    heading = ["method", "data set", *(f"{status} %" for status in STATUSES), *_ASKED]
    lines = [heading]
    methods, data_sets, statuses = (np.asarray(rows[name].to_pylist()) for name in ("method", "data_set", "status"))
    figures = {name: rows[name].to_numpy() for name in ("seed", "calls", *_ASKED.values())}
    for method in dict.fromkeys(methods.tolist()):
        for data_set in dict.fromkeys(data_sets.tolist()):
            mine = (methods == method) & (data_sets == data_set)
            searches = len(np.unique(figures["seed"][mine]))
            asked = [figures[name][mine].sum() / searches for name in _ASKED.values()]
            told = ["unknown" if np.isnan(one) else f"{one:,.4g}" for one in asked]
            shares = [f"{100 * np.mean(statuses[mine] == status):.1f}" for status in STATUSES]
            lines.append([method, data_set, *shares, *(told if figures["calls"][mine].any() else [""] * len(told))])
    return "Proposals; calls, tokens, dollars and seconds of a language model are means of a search", lines


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
    """A PNG: for each data set the best validation accuracy so far by queries, mean over the seeds with twice its
    standard error, and the optimum as a line."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    data_sets = list(dict.fromkeys(one.table.data_set for one in runs))
    figure = Figure(figsize=(5.2 * len(data_sets), 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    for panel, data_set in zip(np.atleast_1d(figure.subplots(1, len(data_sets))), data_sets, strict=True):
        mine = [one for one in runs if one.table.data_set == data_set]
        lowest = 1.0
        for one in mine:
            best = 100 * one.validation
            mean, error = best.mean(axis=0), 2 * best.std(axis=0) / np.sqrt(len(best))
            asked = np.arange(1, best.shape[1] + 1)
            (line,) = panel.plot(asked, mean, label=one.method)
            panel.fill_between(asked, mean - error, mean + error, color=line.get_color(), alpha=0.2, linewidth=0)
            lowest = min(lowest, mean[min(4, len(mean) - 1)] / 100)
        optimum = 100 * mine[0].table.best_validation
        panel.axhline(optimum, color="#808080", linestyle="--", label="optimum")
        panel.set_ylim(100 * lowest, optimum + 0.04 * (optimum - 100 * lowest) + 1e-3)
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.set(title=data_set, xlabel="queries", ylabel="best validation accuracy so far, %")
        panel.grid(alpha=0.3)
    panel.legend(loc="lower right")
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=110)
    return sink.getvalue()
