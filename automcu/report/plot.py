"""The Pareto picture: int8 accuracy against RAM and against Flash, with the limits and what was rejected."""

import io
from collections.abc import Sequence

from automcu.board import Budget
from automcu.finished import Deployed, Evaluated, Rejected

_BLUE, _ORANGE, _GREY = "#1f6fb4", "#d9541e", "#b8b8b8"


def plot_front(
    task: str,
    board: str,
    budget: Budget,
    measured: Sequence[Evaluated | Deployed],
    front: Sequence[Evaluated | Deployed],
    rejected: Sequence[Rejected],
) -> bytes:
    """A PNG: two panels, RAM and Flash in KB (log scale) against int8 validation accuracy in percent.

    Rejected architectures have no accuracy; they are ticks along the lower edge.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2, sharey=True)
    others = [end for end in measured if end not in front]
    for panel, name, limit in zip(panels, ("RAM", "Flash"), (budget.ram_bytes, budget.flash_bytes), strict=True):

        def kb(end: Evaluated | Deployed | Rejected, name: str = name) -> float:
            return (end.report.ram_bytes if name == "RAM" else end.report.flash_bytes) / 1000

        def percent(end: Evaluated | Deployed) -> float:
            return 100 * end.chosen_by.int8_validation_accuracy

        panel.set_xscale("log")
        panel.axvline(limit / 1000, color=_GREY, linestyle="--", label="limit")
        panel.plot(
            [kb(end) for end in rejected],
            [0.02] * len(rejected),
            "|",
            color=_GREY,
            transform=panel.get_xaxis_transform(),
            label=f"rejected ({len(rejected)})",
        )
        panel.plot(
            [kb(end) for end in others], list(map(percent, others)), "o", color=_BLUE, alpha=0.45, label="trained"
        )
        panel.plot([kb(end) for end in front], list(map(percent, front)), "o", color=_BLUE, label="Pareto front")
        best = [end for end in measured if isinstance(end, Deployed)]
        panel.plot(
            [kb(end) for end in best], list(map(percent, best)), "*", color=_ORANGE, markersize=15, label="deployed"
        )
        panel.set_xlabel(f"{name}, limit {limit / 1000:g} KB (1,000 bytes)")
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        panel.xaxis.set_minor_locator(NullLocator())
        panel.grid(alpha=0.25)
    panels[0].set_ylabel("int8 validation accuracy (%)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8, frameon=False)
    figure.suptitle(f"{task} on {board}: {len(measured)} networks trained and converted")
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=110)
    return sink.getvalue()
