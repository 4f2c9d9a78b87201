"""What would lower a figure that is over its limit: smaller versions of the network, costed by the tier that rejected
it."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path

from automcu.board import Budget, Change, Violation
from automcu.errors import CandidateFailure
from automcu.feasibility.tier import FeasibilityTier
from automcu.graph.channels import cheaper
from automcu.graph.costs import costs
from automcu.graph.int8 import Int8Graph
from automcu.graph.planner import plan_memory
from automcu.results import FeasibilityReport

EVALUATIONS = 12
"""Smaller versions costed for one rejection, shared by its violations."""
CHANGES = 3
"""Changes told for one violation."""


def with_changes(
    graph: Int8Graph, tier: FeasibilityTier, budget: Budget, violations: Sequence[Violation]
) -> tuple[Violation, ...]:
    """`violations` of `graph`, each with up to `CHANGES` edits that lower its figure: first those after which the whole
    network keeps the budget, the fewest MACs lost first, then the others by what they save.

    `tier` must need no file; figures and `Change.fits` are by it.
    """
    share = EVALUATIONS // max(len(violations), 1)
    known: dict[str, FeasibilityReport] = {}
    found = []
    for violation in violations:
        ranked = []
        for text, smaller in islice(cheaper(graph, _deciding(graph, violation)), share):
            if text not in known:
                with suppress(CandidateFailure):
                    known[text] = tier.report(smaller, _no_file)
            report = known.get(text)
            if report is None:
                continue
            value = budget.figure(violation.resource, report)
            if value < violation.value:
                fits = not budget.violations(report)
                ranked.append((not fits, -report.macs if fits else value, Change(text, value, fits)))
        ranked.sort(key=lambda entry: entry[:2])
        found.append(replace(violation, changes=tuple(change for _, _, change in ranked[:CHANGES])))
    return tuple(found)


def _deciding(graph: Int8Graph, violation: Violation) -> list[int]:
    """The operators that decide the figure, the weightiest first: for RAM the one that the tier names, which need not
    be the one at the planner's peak, then that one and those that made what is alive there."""
    if violation.resource == "ram":
        plan = plan_memory(graph)
        named = [i for i, operator in enumerate(graph.operators) if violation.binding.startswith(f"{operator.name} (")]
        largest = sorted(plan.binding_tensors, key=lambda tensor: -graph.tensors[tensor].bytes)
        writers = {operator.output: index for index, operator in enumerate(graph.operators)}
        return [*named, plan.binding_operator, *(writers[tensor] for tensor in largest if tensor in writers)]
    cost = costs(graph)
    share = cost.weights_bytes if violation.resource == "flash" else cost.macs
    return sorted((index for index in range(len(share)) if share[index]), key=lambda index: -share[index])


def _no_file() -> Path:
    raise AssertionError("only tiers that judge from the graph alone are asked for changes")
