"""Where tiers agree, why they do not, and how the accepted share follows the limits."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from automcu.results import FeasibilityReport
from experiments.filter_audit.targets import Judged, Target

FACTORS = (0.8, 0.9, 1.0, 1.1, 1.2, 1.35, 1.5)
"""By which the limits are scaled."""


def population(all_judged: Sequence[Judged], target: Target) -> list[Judged]:
    """Random architectures, and those of the evolution that aimed at `target`."""
    return [judged for judged in all_judged if judged.proposer == "random" or judged.aim == target.name]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How two tiers' verdicts on one target compare, in counts of architectures.

    `why` counts, for those of which only one tier says that they fit, the terms that the other tier counts higher.
    """

    target: str
    one: str
    other: str
    both: int
    only_one: int
    only_other: int
    neither: int
    why: Counter[str]
    example: tuple[Judged, str] | None


def agreements(all_judged: Sequence[Judged], all_targets: Sequence[Target]) -> Iterator[Agreement]:
    """Every pair of tiers on every target."""
    for target in all_targets:
        judged = population(all_judged, target)
        reports = [item.reports(target) for item in judged]
        labels = list(reports[0])
        fits = {label: [target.fits(by_tier[label]) for by_tier in reports] for label in labels}
        for place, one in enumerate(labels):
            for other in labels[place + 1 :]:
                cells: Counter[tuple[bool, bool]] = Counter(zip(fits[one], fits[other], strict=True))
                why: Counter[str] = Counter()
                examples: list[tuple[float, Judged, str]] = []
                for item, by_tier, by_one, by_other in zip(judged, reports, fits[one], fits[other], strict=True):
                    if by_one is by_other:
                        continue
                    admits, refuses = (one, other) if by_one else (other, one)
                    term = deciding_term(by_tier[admits], by_tier[refuses], target)
                    why[f"{refuses}: {term}"] += 1
                    examples.append((target.fullness(by_tier[admits]), item, term))
                # The most instructive disagreement is the one about the network with most room by the other tier.
                found = min(examples, key=lambda example: example[0], default=None)
                yield Agreement(
                    target.name, one, other, cells[True, True], cells[True, False], cells[False, True],
                    cells[False, False], why, found and found[1:],
                )  # fmt: skip


def deciding_term(admits: FeasibilityReport, refuses: FeasibilityReport, target: Target) -> str:
    """Which term of each resource over its limit by `refuses` exceeds that of `admits` most."""
    terms: dict[str, dict[str, float]] = {
        "ram": {
            "activations": refuses.activations_bytes - admits.activations_bytes,
            "margin": refuses.activations_bytes * refuses.margin - admits.activations_bytes * admits.margin,
            "runtime RAM": refuses.runtime_ram_bytes - admits.runtime_ram_bytes,
        },
        "flash": {
            "weights": refuses.weights_bytes - admits.weights_bytes,
            "code": refuses.code_bytes - admits.code_bytes,
        },
    }
    over = [violation.resource for violation in target.budget.violations(refuses)]
    return " and ".join(max(terms[resource], key=terms[resource].__getitem__) for resource in over)


def sensitivity(judged: Sequence[Judged], target: Target, label: str) -> list[float]:
    """The accepted share of `judged` for each of `FACTORS`."""
    reports = [item.reports(target)[label] for item in judged]
    return [sum(target.fits(report, factor) for report in reports) / len(reports) for factor in FACTORS]


@dataclass(frozen=True, slots=True)
class Cost:
    """What the planner's caution costs on one target: of the `rejected` architectures, how many would fit otherwise.

    `in_place`: with sums written over an operand; `no_code`: if code took no Flash at all; `st`: by ST's runtime, for
    each version of the estimate with its margin, and `st_no_margin` without.
    """

    target: str
    proposer: str
    judged: int
    rejected: int
    in_place: int
    no_code: int
    st: dict[str, int]
    st_no_margin: dict[str, int]


def costs_of_caution(judged: Sequence[Judged], target: Target, proposer: str) -> Cost:
    """Counts for the architectures of `proposer` that the planner rejects on `target`."""
    asked = [item for item in judged if item.proposer == proposer and item.aim in ("", target.name)]
    kernels = target.kernels
    rejected = [item for item in asked if not target.fits(item.planner[kernels])]
    versions = [label for label in asked[0].others if label.startswith("st_estimate")] if asked else []
    return Cost(
        target=target.name,
        proposer=proposer,
        judged=len(asked),
        rejected=len(rejected),
        in_place=sum(
            target.fits(replace(item.planner[kernels], activations_bytes=item.in_place_bytes[kernels]))
            for item in rejected
        ),
        no_code=sum(target.fits(replace(item.planner[kernels], code_bytes=0)) for item in rejected),
        st={label: sum(target.fits(item.others[label]) for item in rejected) for label in versions},
        st_no_margin={
            label: sum(target.fits(replace(item.others[label], margin=0.0)) for item in rejected) for label in versions
        },
    )
