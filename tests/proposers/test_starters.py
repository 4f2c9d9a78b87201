import random
from pathlib import Path

import pytest

from automcu.architecture import Architecture, Candidate
from automcu.board import Budget, Resource, Violation
from automcu.feasibility.planner_tier import PlannerTier
from automcu.feasibility.timed import Timed
from automcu.finished import Rejected
from automcu.graph.kernel_sets import kernel_set_for
from automcu.graph.lowering import lower
from automcu.proposers.forecast import Forecast
from automcu.proposers.starters import Starters
from automcu.results import FeasibilityReport
from automcu.spaces.mcu_cnn import McuCnnSpace
from automcu.spaces.nasbench201 import NasBench201Space
from tests import builders

CORE = "cortex-m4f"
TIER = Timed(PlannerTier(kernel_set_for(CORE)), CORE)
SPACE = McuCnnSpace((32, 32, 3), 10)


def cost(architecture: Architecture) -> FeasibilityReport:
    return TIER.report(lower(SPACE.build(architecture)), Path)


def starters(budget: Budget) -> Starters:
    return Starters(SPACE.families(), Forecast(cost, budget))


def rejected(architecture: Architecture, *resources: Resource) -> Rejected:
    violations = tuple(Violation(resource, 1, 2, "layer") for resource in resources)
    return Rejected(Candidate(1, architecture, "evolution:start(plain)"), builders.report(), violations)


@pytest.mark.parametrize(
    "budget",
    [
        Budget(256_000, 512_000, None),
        Budget(256_000, 512_000, 50_000_000),
        Budget(64_000, 64_000, 15_000_000),
        Budget(512_000, 30_000, None),
        Budget(20_000, 512_000, None),
        Budget(256_000, 512_000, 15_000_000, latency_ms=100, clock_hz=80_000_000),
    ],
)
def test_every_family_has_one_that_fits_and_nearly_fills_a_limit(budget):
    found = dict(starters(budget).new(()))
    assert found.keys() == SPACE.families().keys()
    for architecture in found.values():
        report = cost(architecture)
        assert not budget.violations(report)
        shares = [report.ram_bytes / budget.ram_bytes, report.flash_bytes / budget.flash_bytes]
        if budget.macs is not None:
            shares.append(report.macs / budget.macs)
        if budget.latency_ms is not None:
            shares.append(budget.figure("latency", report) / (1000 * budget.latency_ms))
        assert max(shares) > 0.5


def test_no_family_where_nothing_fits():
    assert not dict(starters(Budget(1_000, 1_000, None)).new(()))


def test_a_space_without_families_has_none():
    assert not dict(
        Starters(NasBench201Space((32, 32, 3), 10).families(), Forecast(cost, Budget(10**6, 10**6, None))).new(())
    )


def test_what_was_tried_is_not_new():
    found = starters(Budget(256_000, 512_000, None))
    names = [name for name, _ in found.new(())]
    first = dict(found.new(()))[names[0]]
    assert [name for name, _ in found.new({first.fingerprint})] == names[1:]


@pytest.mark.parametrize(("resource", "figure"), [("ram", "ram_bytes"), ("macs", "macs"), ("flash", "flash_bytes")])
def test_a_rejected_starter_gives_way_to_one_that_needs_less(resource, figure):
    found = starters(Budget(256_000, 512_000, 50_000_000))
    seen: set[str] = set()
    before = dict(found.new(seen))["plain"]
    figures = [getattr(cost(before), figure)]
    for _ in range(200):
        seen.add(before.fingerprint)
        found.reject(rejected(before, resource))
        after = dict(found.new(seen)).get("plain")
        if after is None:
            break
        figures.append(getattr(cost(after), figure))
        before = after
    assert after is None  # down to the narrowest, then the family is given up
    assert figures == sorted(figures, reverse=True)
    assert figures[-1] < figures[0] / 5


def test_other_rejections_and_other_families_change_nothing():
    found = starters(Budget(256_000, 512_000, None))
    before = dict(found.new(()))
    found.reject(rejected(SPACE.random(random.Random(0)), "ram"))
    assert dict(found.new(())) == before
    found.reject(rejected(before["plain"], "flash"))
    after = dict(found.new(()))
    assert after.pop("plain") != before.pop("plain")
    assert after == before
