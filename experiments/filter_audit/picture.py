"""The accepted share against the limits, as a picture."""

import io
from collections.abc import Sequence

from experiments.filter_audit.agreement import FACTORS, sensitivity
from experiments.filter_audit.targets import Judged, Target

_STYLES = {"planner": ("#1f6fb4", "o-"), "tflm": ("#d9541e", "s-")}
_OTHERS = (("#2e8b57", "^--"), ("#8a63b5", "v--"), ("#555555", "d--"))


def sensitivity_picture(all_judged: Sequence[Judged], all_targets: Sequence[Target]) -> bytes:
    """A PNG: a column for each target, random architectures above, those evolved for the target below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, len(all_targets), sharex=True, sharey=True)
    others = iter(_OTHERS)
    styles = {label: _STYLES.get(label) or next(others) for label in all_judged[0].reports(all_targets[0])}
    for row, proposer in zip(panels, ("random", "evolution"), strict=True):
        for panel, target in zip(row, all_targets, strict=True):
            asked = [item for item in all_judged if item.proposer == proposer and item.aim in ("", target.name)]
            panel.axvline(1, color="#b8b8b8", linestyle=":")
            for label, (colour, line) in styles.items():
                if asked:
                    shares = [100 * share for share in sensitivity(asked, target, label)]
                    panel.plot(FACTORS, shares, line, color=colour, markersize=4, label=label)
            panel.grid(alpha=0.25)
            if proposer == "random":
                panel.set_title(target.name, fontsize=10)
            else:
                panel.set_xlabel("limits times")
        row[0].set_ylabel(f"{proposer}: accepted (%)")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.suptitle("Share of architectures that fit, by tier, as RAM and Flash limits are scaled")
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=90)
    return sink.getvalue()
