"""Changes told with a rejection are true: made to the graph, they cost what was said."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hypothesis import assume, given
from hypothesis import strategies as st

from automcu.board import Budget, Violation
from automcu.errors import CandidateFailure
from automcu.feasibility.findings import CHANGES, EVALUATIONS, with_changes
from automcu.feasibility.planner_tier import PlannerTier
from automcu.feasibility.st.estimate import StEstimate
from automcu.feasibility.timed import Timed
from automcu.graph.channels import cheaper
from automcu.graph.int8 import Int8Graph
from automcu.graph.lowering import lower
from automcu.graph.network import INPUT, Conv, Dense, GlobalAveragePool, Network
from automcu.results import FeasibilityReport
from automcu.spaces import make_space

SPACE = make_space("mcu_cnn", (32, 32, 3), 10)


TIER = Timed(PlannerTier(), "cortex-m0+")


class Counting:
    """The planner, with a count of its reports."""

    name, version, target = PlannerTier.name, PlannerTier.version, "cortex-m0+"

    def __init__(self) -> None:
        self.reports = 0

    def report(self, graph: Int8Graph, model_file: Callable[[], Path]) -> FeasibilityReport:
        self.reports += 1
        return TIER.report(graph, model_file)

    def close(self) -> None:
        pass


def planned(graph: Int8Graph) -> FeasibilityReport:
    return TIER.report(graph, Path)


def two_convolutions(channels: int) -> Int8Graph:
    layers = (
        Conv("wide", INPUT, channels, 3, 1, "relu"),
        Conv("last", "wide", 8, 1, 1, "relu"),
        GlobalAveragePool("pool", "last"),
        Dense("logits", "pool", 3, "none"),
    )
    return lower(Network((8, 8, 3), layers))


def changes_of(graph: Int8Graph, budget: Budget) -> tuple[Violation, ...]:
    return with_changes(graph, PlannerTier(), budget, budget.violations(planned(graph)))


def test_what_keeps_the_budget_comes_first_and_the_least_loss_before() -> None:
    half, quarter_less = planned(two_convolutions(32)), planned(two_convolutions(48))
    (violation,) = changes_of(two_convolutions(64), Budget(quarter_less.ram_bytes, 10**6, None))
    first, second = violation.changes[:2]
    assert (first.text, first.value, first.fits) == (
        "cut a quarter of the channels of wide (64 -> 48)",
        quarter_less.ram_bytes,
        True,
    )
    assert (second.text, second.value, second.fits) == (
        "halve the channels of wide (64 -> 32)",
        half.ram_bytes,
        True,
    )
    (violation,) = changes_of(two_convolutions(64), Budget(half.ram_bytes, 10**6, None))
    assert [(change.value, change.fits) for change in violation.changes[:2]] == [
        (half.ram_bytes, True),
        (quarter_less.ram_bytes, False),
    ]
    assert "halve the channels of wide (64 -> 32): " in str(violation) and str(violation).count(", fits") == 1


@given(st.integers(0, 10**6), st.floats(0.2, 1.1), st.floats(0.2, 1.1), st.floats(0.2, 1.1))
def test_every_change_costs_what_it_says(seed: int, ram: float, flash: float, work: float) -> None:
    graph = lower(SPACE.build(SPACE.random(random.Random(seed))))
    facts = planned(graph)
    budget = Budget(
        round(ram * facts.ram_bytes),
        round(flash * facts.flash_bytes),
        round(work * facts.macs),
        work,
        1000 * (facts.cycles or 0),
    )
    bare = budget.violations(facts)
    assume(bare)
    tier = Counting()
    found = with_changes(graph, tier, budget, bare)
    assert tier.reports <= EVALUATIONS
    assert tuple(replace(violation, changes=()) for violation in found) == bare
    edits = dict(cheaper(graph, range(len(graph.operators))))
    for violation in found:
        assert len(violation.changes) <= CHANGES
        assert [change.fits for change in violation.changes] == sorted(
            (change.fits for change in violation.changes), reverse=True
        )
        for change in violation.changes:
            report = planned(edits[change.text])
            assert change.value == budget.figure(violation.resource, report) < violation.value
            assert change.fits == (not budget.violations(report))


def test_an_edit_that_the_tier_cannot_judge_is_left_out() -> None:
    class Picky(Counting):
        def report(self, graph: Int8Graph, model_file: Callable[[], Path]) -> FeasibilityReport:
            if graph.operators[0].weights[0] == 32:
                raise CandidateFailure("32 channels are not supported; take 48")
            return super().report(graph, model_file)

    graph = two_convolutions(64)
    budget = Budget(1_000, 10**6, None)
    (violation,) = with_changes(graph, Picky(), budget, budget.violations(planned(graph)))
    assert violation.changes and not any("64 -> 32" in change.text for change in violation.changes)


def test_nothing_to_change_is_nothing_changed() -> None:
    assert with_changes(two_convolutions(8), PlannerTier(), Budget(0, 0, None), ()) == ()


def test_the_layer_that_the_tier_names_is_the_first_to_be_changed() -> None:
    # The planner's peak is the wide maps of `stem`; ST overlays those, and has its own at `expand`.
    layers = (
        Conv("stem", INPUT, 32, 3, 1, "relu"),
        Conv("project", "stem", 8, 1, 1, "none"),
        Conv("expand", "project", 48, 1, 1, "relu"),
        Conv("last", "expand", 8, 1, 1, "relu"),
        GlobalAveragePool("pool", "last"),
        Dense("logits", "pool", 3, "none"),
    )
    graph, tier = lower(Network((32, 32, 3), layers)), StEstimate("8.1.0")
    report = tier.report(graph, Path)
    assert report.binding_layer.startswith("expand (")
    budget = Budget(report.ram_bytes - 1, report.flash_bytes, None)
    (violation,) = with_changes(graph, tier, budget, budget.violations(report))
    assert violation.changes and "expand" in violation.changes[0].text
