"""The audit's results as Markdown."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from automcu.results import FeasibilityReport
from experiments.filter_audit.accuracy import BOARD, NEAR, Trained
from experiments.filter_audit.agreement import FACTORS, Agreement, Cost
from experiments.filter_audit.agreement import sensitivity as shares_of
from experiments.filter_audit.first_run import FirstRun
from experiments.filter_audit.nasbench import Benchmarked, Lost, Measured
from experiments.filter_audit.population import Offer
from experiments.filter_audit.targets import Judged, Target

_RESAMPLES = 2_000
_UNTRAINED = 0.2
"""Twice the accuracy of guessing one of ten classes."""


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    texts = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    rule = ["---" if rows and isinstance(cell, str) and place == 0 else "--:" for place, cell in enumerate(head)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (list(head), rule, *texts))


def funnel(offers: Sequence[Offer], all_judged: Sequence[Judged], all_targets: Sequence[Target]) -> str:
    """How many come through each step."""
    labels = list(all_judged[0].reports(all_targets[0]))
    rows: list[list[object]] = []
    for target in all_targets:
        for proposer in ("random", "evolution", "replies"):
            made = [offer for offer in offers if offer.proposer == proposer and offer.aim in ("", target.name)]
            networks = [item for item in all_judged if item.proposer == proposer and item.aim in ("", target.name)]
            rows.append(
                [f"{target.name}, {proposer}", len(made), sum(offer.parsed for offer in made),
                 sum(offer.architecture is not None for offer in made), len(networks),
                 *(sum(target.fits(item.reports(target)[label]) for item in networks) for label in labels)]
            )  # fmt: skip
    head = ["target, proposer", "proposed", "parse-valid", "buildable", "distinct", *(f"fit: {x}" for x in labels)]
    equal = sum(
        item.planner["portable"].activations_bytes == item.others["tflm"].activations_bytes for item in all_judged
    )
    return (
        "## Funnel\n\n"
        + _table(head, rows)
        + f"\n\nThe planner's arena for portable kernels equals the head of tflite-micro's allocator for {equal:,} of "
        f"{len(all_judged):,}."
    )


def kinds(offers: Sequence[Offer]) -> str:
    """What becomes of replies, by kind of fault."""
    counts: dict[str, list[int]] = {}
    for offer in offers:
        if offer.proposer == "replies":
            count = counts.setdefault(offer.kind, [0, 0, 0])
            count[0] += 1
            count[1] += offer.parsed
            count[2] += offer.architecture is not None
    rows = [[kind, *count] for kind, count in counts.items()]
    return "## Replies with faults\n\n" + _table(["kind of reply", "proposed", "parse-valid", "buildable"], rows)


def first_run(run: FirstRun) -> str:
    """What the recorded run trained."""
    return (
        "## Trained\n\nThe recorded run `experiments/first_run` (one seed, 256/512 KB and 15 M MACs on nucleo_f746zg, "
        f"CIFAR-100): {run.proposed} proposed, {run.rejected} rejected before training, {run.trained} trained, "
        f"{run.not_reached} not reached in time. Infeasible ones trained: {run.infeasible_trained}, by the record and "
        f"judged anew by today's planner; trained ones whose recorded arena is not what tflite-micro's allocator "
        f"states: {run.other_arena}."
    )


def agreement(found: Sequence[Agreement], all_targets: Sequence[Target]) -> str:
    """The matrix of every pair of tiers, why they differ, and one network for each pair they differ on."""
    rows: list[list[object]] = []
    examples = []
    by_name = {target.name: target for target in all_targets}
    for pair in found:
        total = pair.both + pair.only_one + pair.only_other + pair.neither
        share = (pair.both + pair.neither) / total
        why = "; ".join(f"{reason} {count:,}" for reason, count in pair.why.most_common(3))
        rows.append(
            [f"{pair.target}: {pair.one} / {pair.other}", pair.both, pair.only_one, pair.only_other, pair.neither,
             f"{share:.1%}", why]
        )  # fmt: skip
        if pair.example is not None and pair.one == "planner":
            item, term = pair.example
            reports = item.reports(by_name[pair.target])
            figures = "; ".join(_figures(label, reports[label]) for label in (pair.one, pair.other))
            examples.append(f"- {pair.target}, `{item.architecture.fingerprint}` ({term}): {figures}.")
    head = ["target: tier A / tier B", "both fit", "A only", "B only", "neither", "agree",
            "which term is higher where one refuses"]  # fmt: skip
    return (
        "## Agreement of tiers\n\nRandom architectures and those evolved for the target.\n\n"
        + _table(head, rows)
        + "\n\nThe planner and another tier on one network, that with most room by the tier that admits it:\n\n"
        + "\n".join(examples)
    )


def _figures(label: str, report: FeasibilityReport) -> str:
    margin = f" + {report.margin:.0%}" if report.margin else ""
    return (
        f"{label} RAM {report.ram_bytes:,} = {report.activations_bytes:,}{margin} + {report.runtime_ram_bytes:,} "
        f"runtime, Flash {report.flash_bytes:,} = {report.weights_bytes:,} + {report.code_bytes:,} code"
    )


def sensitivity(all_judged: Sequence[Judged], all_targets: Sequence[Target]) -> str:
    """The accepted share as the limits are scaled."""
    rows: list[list[object]] = []
    for target in all_targets:
        for proposer in ("random", "evolution"):
            asked = [item for item in all_judged if item.proposer == proposer and item.aim in ("", target.name)]
            for label in asked[0].reports(target) if asked else ():
                shares = shares_of(asked, target, label)
                rows.append([f"{target.name}, {proposer}, {label}", *(f"{share:.1%}" for share in shares)])
    head = ["target, proposer, tier", *(f"x {factor}" for factor in FACTORS)]
    return "## Accepted share as both limits are scaled\n\n" + _table(head, rows)


def caution(found: Sequence[Cost]) -> str:
    """What the planner's caution costs in networks."""
    versions = list(found[0].st)
    rows: list[list[object]] = [
        [f"{cost.target}, {cost.proposer}", cost.judged, cost.rejected, cost.in_place, cost.no_code,
         *(f"{cost.st[version]:,} ({cost.st_no_margin[version]:,})" for version in versions)]
        for cost in found
    ]  # fmt: skip
    head = ["target, proposer", "judged", "rejected by the planner", "would fit: ADD in place", "no code at all",
            *(f"{version} (no margin)" for version in versions)]  # fmt: skip
    return "## What the planner rejects and another runtime would take\n\n" + _table(head, rows)


def links(rows: Sequence[dict[str, Any]]) -> str:
    """The linker's verdicts against the planner's near the limits, and by how much what is planned exceeds what is
    linked."""
    lines: list[list[object]] = []
    near = [row for row in rows if row["near_limit"]]
    if not near:
        return "## Linked firmware against the planner\n\nNo network lay near a limit; raise --count or --links."
    for name in (*dict.fromkeys(row["target"] for row in near), "all"):
        chosen = [row for row in near if name in ("all", row["target"])]
        cells = Counter((row["planner_fits"], row["linker_fits"]) for row in chosen)
        nearest = min(abs(row["fullness"] - 1) for row in chosen)
        label = name if name == "all" else f"{name}, {chosen[0]['board']}, {chosen[0]['kernels']}"
        lines.append(
            [label, len(chosen), cells[True, True], cells[True, False], cells[False, True], cells[False, False],
             f"{nearest:.3%}", _quantiles([row["flash_excess_bytes"] for row in chosen]),
             _quantiles([row["ram_excess_bytes"] for row in chosen])]
        )  # fmt: skip
    head = ["target", "linked", "both fit", "false accept", "false reject", "neither", "nearest to the limit",
            "Flash, planned less linked", "RAM, planned less linked"]  # fmt: skip
    accepted = sum(row["planner_fits"] for row in rows)
    false = sum(row["planner_fits"] and not row["linker_fits"] for row in rows)
    bound = (
        f" In such a sample {3 / accepted:.1%} false accepts could go unseen (95 %, three by the count)."
        if accepted and not false
        else ""
    )
    return (
        "## Linked firmware against the planner\n\nBytes: least ... median ... most.\n\n"
        + _table(head, lines)
        + f"\n\nThe linker refuses {false:,} of {accepted:,} that the planner admits.{bound}"
    )


def false_rejects(rows: Sequence[dict[str, Any]], costs: Sequence[Cost]) -> str:
    """Of all that the planner rejects, how many the linker takes."""
    lines: list[list[object]] = []
    for cost in costs:
        in_doubt = [
            row for row in rows if row["in_doubt"] and (row["target"], row["proposer"]) == (cost.target, cost.proposer)
        ]
        taken = [row for row in in_doubt if row["linker_fits"]]
        over = f"{max(row['fullness'] for row in taken) - 1:.1%}" if taken else "none"
        lines.append(
            [f"{cost.target}, {cost.proposer}", cost.judged, cost.rejected, len(in_doubt), len(taken),
             sum(row["scarcer"] == "ram" for row in taken), over]
        )  # fmt: skip
    head = ["target, proposer", "judged", "rejected by the planner", "of these linked", "taken by the linker",
            "by RAM the scarcer", "most over the limit as planned"]  # fmt: skip
    return (
        "## What the planner rejects and the linker takes\n\nLinked are all whose weights alone and whose arena with "
        "sums in place fit: no other can.\n\n" + _table(head, lines)
    )


def _quantiles(values: Sequence[int]) -> str:
    return " ... ".join(f"{round(value):,}" for value in np.percentile(values, (0, 50, 100)))


def nasbench(known: Sequence[Benchmarked], all_targets: Sequence[Target], unseen: Sequence[Lost]) -> str:
    """The best accuracy that passes, and the best that a less cautious filter would have let pass."""
    rows: list[list[object]] = []
    for target, lost in zip(all_targets, unseen, strict=True):
        kernels = target.kernels
        passed = [
            [item for item in known if target.fits(item.planner[kernels])],
            [item for item in known if target.fits(item.st_estimate)],
            [item for item in known if target.fits(replace(item.st_estimate, margin=0.0))],
            *([item for item in known if target.fits(item.planner[kernels], factor)] for factor in (0.8, 1.2, 1.5)),
        ]
        told = [f"{len(items):,}: {_best(items)}" for items in passed]
        better = "none" if lost.accuracy is None else f"{lost.accuracy:.2%}"
        rows.append([target.name, told[0], f"{better} ({lost.linked:,} linked of {lost.in_doubt:,})", *told[1:]])
    best = max(known, key=lambda item: item.accuracy)
    figures = best.planner["portable"]
    head = ["target", "planner", "better, rejected, taken by the linker", "st_estimate 4.0",
            "st_estimate 4.0, no margin", "planner, limits x 0.8", "x 1.2", "x 1.5"]  # fmt: skip
    return (
        f"## Accuracy let pass: NAS-Bench-201, {len(known):,} networks\n\nHow many fit, and the best accuracy among "
        "them (CIFAR-10 test, 200 epochs, mean of seeds; the best of all has "
        f"{best.accuracy:.2%}, {figures.flash_bytes:,} B of Flash and {figures.ram_bytes:,} B of RAM with portable "
        "kernels).\n\n" + _table(head, rows)
    )


def device(found: Sequence[Measured]) -> str:
    """The tflm tier's figures against those measured on a microcontroller."""
    arena = [item.tflm_arena_bytes / item.measured_arena_bytes - 1 for item in found]
    file = [item.file_bytes / item.measured_file_bytes - 1 for item in found]
    over = sum(item.planner_arena_bytes > item.measured_arena_bytes for item in found)
    return (
        f"## The tflm tier against a real device\n\n{len(found)} networks of NAS-Bench-201 as measured on an nRF5340 "
        f"(Cortex-M33, TensorFlow Lite Micro; NATS-Bench-MCU): arena predicted less measured {_range(arena)}; file "
        f"{_range(file)}. The planner's arena alone is larger than what was measured for {over} of them."
    )


def _range(shares: Sequence[float]) -> str:
    return f"{min(shares):+.1%} ... {max(shares):+.1%} (median {np.median(shares):+.1%})"


def _best(items: Sequence[Benchmarked]) -> str:
    return f"{max(item.accuracy for item in items):.2%}" if items else "none"


def trainings(found: Sequence[Trained]) -> str:
    """Both sides of the limit compared."""
    rows: list[list[object]] = []
    means: dict[bool, np.ndarray] = {}
    for fits in (True, False):
        by_network: dict[str, list[float]] = {}
        for training in found:
            if training.fits is fits:
                by_network.setdefault(training.fingerprint, []).append(training.validation_accuracy)
        if not by_network:
            return "## Trained on both sides of a limit\n\nNo network lay so near the limit; raise --trainings."
        mean = means[fits] = np.array([np.mean(accuracies) for accuracies in by_network.values()])
        within = np.mean([np.ptp(accuracies) for accuracies in by_network.values()])
        rows.append(
            ["just admitted" if fits else "just rejected", len(mean), int(np.sum(mean < _UNTRAINED)),
             f"{mean.mean():.2%}", f"{np.median(mean):.2%}", f"{mean.min():.2%} ... {mean.max():.2%}", f"{within:.2%}"]
        )  # fmt: skip
    head = ["digits, validation accuracy", "networks", "stayed at chance", "mean", "median", "range of networks",
            "between seeds, on average"]  # fmt: skip
    trained = {fits: mean[mean >= _UNTRAINED] for fits, mean in means.items()}
    return (
        f"## Trained on both sides of a limit ({BOARD}, within a factor of {NEAR})\n\n"
        + _table(head, rows)
        + f"\n\nMean of the just rejected less that of the just admitted, with 95 % interval (networks resampled): "
        f"{_difference(means[False], means[True])}; without those that stayed at chance "
        f"{_difference(trained[False], trained[True])}."
    )


def _difference(one: np.ndarray, other: np.ndarray) -> str:
    rng = np.random.default_rng(0)
    resampled = [rng.choice(one, len(one)).mean() - rng.choice(other, len(other)).mean() for _ in range(_RESAMPLES)]
    low, high = np.percentile(resampled, (2.5, 97.5))
    return f"{100 * (one.mean() - other.mean()):+.2f} points ({100 * low:+.2f} ... {100 * high:+.2f})"
