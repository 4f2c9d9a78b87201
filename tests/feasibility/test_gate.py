from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from automcu.architecture import Architecture
from automcu.board import Board, Budget, MemoryRegion
from automcu.errors import BudgetTooSmall, CandidateFailure, ConfigError, InfraFailure
from automcu.feasibility.gate import Gate, ReportCache, judge
from automcu.feasibility.planner_tier import PlannerTier
from automcu.feasibility.timed import Timed
from automcu.graph.int8 import Int8Graph
from automcu.graph.lowering import lower
from automcu.graph.network import INPUT, Conv, Dense, Network
from automcu.graph.tflite.reader import UnsupportedModel, read_tflite
from automcu.results import FeasibilityReport
from tests import builders
from tests.graph.shared_models import shared

LARGE = Budget(1_000_000, 1_000_000, None)


class Widths:
    """A space of one number: the channels of the only convolution."""

    def build(self, architecture: Architecture) -> Network:
        channels = int(architecture.text)
        return Network((8, 8, 3), (Conv("conv", INPUT, channels, 3, 1, "relu"), Dense("logits", "conv", 3, "none")))


class Raised:
    """The planner's figures with more activations; counts its reports."""

    version = "1"
    target = "any"

    def __init__(self, name: str = "raised", more_bytes: int = 0) -> None:
        self.name = name
        self.more_bytes = more_bytes
        self.reports = 0
        self.closed = False

    def report(self, graph: Int8Graph, model_file: Callable[[], Path]) -> FeasibilityReport:
        self.reports += 1
        report = PlannerTier().report(graph, model_file)
        activations = report.activations_bytes + self.more_bytes
        return replace(report, tier=self.name, activations_bytes=activations)

    def close(self) -> None:
        self.closed = True


class FileTier(Raised):
    """A tier that reads the file, and raises the planner's activations by its size."""

    def __init__(self) -> None:
        super().__init__("file")
        self.seen: list[Path] = []

    def report(self, graph: Int8Graph, model_file: Callable[[], Path]) -> FeasibilityReport:
        path = model_file()
        assert path == model_file()
        self.seen.append(path)
        assert read_tflite(path.read_bytes()) == graph
        self.more_bytes = path.stat().st_size
        return super().report(graph, model_file)


class Failing(Raised):
    """A tier that never answers."""

    def __init__(self, failure: Exception) -> None:
        super().__init__("failing")
        self.failure = failure

    def report(self, graph: Int8Graph, model_file: Callable[[], Path]) -> FeasibilityReport:
        raise self.failure


def width(channels: int) -> Architecture:
    return Architecture("widths", str(channels))


def need(channels: int) -> FeasibilityReport:
    return PlannerTier().report(lower(Widths().build(width(channels))), lambda: Path())


def test_the_budget_decides_to_the_byte() -> None:
    report = need(8)
    exact = Budget(report.ram_bytes, report.flash_bytes, report.macs)
    assert Gate(Widths(), exact, [PlannerTier()]).check(width(8)).fits
    for tight in (
        replace(exact, ram_bytes=exact.ram_bytes - 1),
        replace(exact, flash_bytes=exact.flash_bytes - 1),
        replace(exact, macs=report.macs - 1),
    ):
        (violation,) = Gate(Widths(), tight, [PlannerTier()]).check(width(8)).violations
        assert violation.value - violation.limit == 1


def test_a_cheaper_tier_that_rejects_ends_it() -> None:
    tier = FileTier()
    gate = Gate(Widths(), Budget(need(8).ram_bytes - 1, 10**6, None), [PlannerTier()], tier)
    assert gate.check(width(8)).report.tier == "planner"
    assert not tier.seen


def test_the_vendor_has_the_last_word() -> None:
    gate = Gate(Widths(), Budget(need(8).ram_bytes, 10**6, None), [PlannerTier()], FileTier())
    verdict = gate.check(width(8))
    assert verdict.report.tier == "file"
    assert [violation.resource for violation in verdict.violations] == ["ram"]


def test_a_screen_can_reject_but_not_admit() -> None:
    tight = Budget(need(8).ram_bytes, 10**6, None)
    vendor = Raised("vendor")
    rejecting = Gate(Widths(), tight, [], vendor, Raised("screen", more_bytes=1))
    assert rejecting.check(width(8)).report.tier == "screen" and not vendor.reports
    passing = Gate(Widths(), tight, [], vendor, Raised("screen", more_bytes=-100))
    assert passing.screen(width(8)) is None
    assert passing.check(width(8)).report.tier == "vendor"
    refused = Gate(Widths(), tight, [], Raised("vendor", more_bytes=1), Raised("screen", more_bytes=-100))
    assert not refused.check(width(8)).fits


def test_screening_says_what_checking_would_where_no_vendor_is_needed() -> None:
    gate = Gate(Widths(), Budget(need(8).ram_bytes, 10**6, None), [PlannerTier()])
    for channels in (8, 9):
        assert gate.screen(width(channels)) == gate.check(width(channels))
    vendor = Raised("vendor")
    gate = Gate(Widths(), Budget(need(8).ram_bytes, 10**6, None), [PlannerTier()], vendor)
    assert gate.screen(width(8)) is None
    assert gate.screen(width(9)) == gate.check(width(9))
    assert not vendor.reports


def test_one_graph_is_reported_on_once_and_its_file_is_gone() -> None:
    tier = FileTier()
    gate = Gate(Widths(), LARGE, [PlannerTier()], tier)
    verdict = gate.check(width(8))
    assert gate.check(Architecture("widths", " 8")) == verdict  # another text, the same graph
    assert gate.check(width(9)) != verdict
    assert tier.reports == 2
    assert not any(path.parent.exists() for path in tier.seen)


def test_gates_for_many_boards_share_their_reports() -> None:
    reports, vendor = ReportCache(), Raised("vendor")
    exact = Budget(need(8).ram_bytes, 10**6, None)
    gates = [
        Gate(Widths(), budget, [], vendor, reports=reports)
        for budget in (exact, replace(exact, ram_bytes=exact.ram_bytes - 1))
    ]
    assert [gate.check(width(8)).fits for gate in gates] == [True, False]
    assert vendor.reports == 1
    vendor.target = "another"
    assert gates[0].check(width(8)).fits
    assert vendor.reports == 2
    vendor.version = "2"
    assert gates[0].check(width(8)).fits
    assert vendor.reports == 3


def test_a_report_is_judged_for_each_board_by_what_the_board_has() -> None:
    def board(ram_bytes: int) -> Board:
        regions = (MemoryRegion("flash", "flash", 0, 10**6), MemoryRegion("ram", "ram", 0, ram_bytes))
        return builders.board(regions=regions, clock_hz=1, reserved_ram_bytes=100)

    report = need(8)
    assert judge(report, LARGE, board(report.ram_bytes + 100)).fits
    (violation,) = judge(report, LARGE, board(report.ram_bytes + 99)).violations
    assert (violation.resource, violation.over) == ("ram", 1)


def test_a_cached_report_names_the_layers_of_the_network_at_hand() -> None:
    class Named(Widths):
        def build(self, architecture: Architecture) -> Network:
            name = f"conv_{architecture.text}"
            return Network((8, 8, 3), (Conv(name, INPUT, 8, 3, 1, "relu"), Dense("logits", name, 3, "none")))

    gate = Gate(Named(), LARGE, [PlannerTier()])
    for _ in range(2):
        for text in ("a", "b"):
            report = gate.check(Architecture("named", text)).report
            assert report.busiest_layer.startswith(f"conv_{text} ")


def test_the_cache_forgets_what_was_used_longest_ago() -> None:
    reports, tier = ReportCache(limit=2), Raised()
    gate = Gate(Widths(), LARGE, [tier], reports=reports)
    for channels in (1, 2, 1, 3, 1):
        gate.check(width(channels))
    assert tier.reports == 3
    gate.check(width(2))
    assert tier.reports == 4


def test_a_failure_is_not_remembered() -> None:
    class Flaky(Raised):
        def report(self, graph: Int8Graph, model_file: Callable[[], Path]) -> FeasibilityReport:
            self.reports += 1
            if self.reports == 1:
                raise InfraFailure("the tool hangs; try again")
            return PlannerTier().report(graph, model_file)

    gate = Gate(Widths(), LARGE, [], Flaky())
    with pytest.raises(InfraFailure):
        gate.check(width(8))
    assert gate.check(width(8)).fits


def test_a_tier_that_needs_a_file_is_no_tier_for_graphs() -> None:
    with pytest.raises(ConfigError, match="as vendor"):
        Gate(Widths(), LARGE, [FileTier()]).check(width(8))
    with pytest.raises(ConfigError, match="no tier"):
        Gate(Widths(), LARGE, [])


def test_close_closes_every_tier() -> None:
    tiers = [Raised(), Raised(), Raised()]
    Gate(Widths(), LARGE, tiers[:1], tiers[1], tiers[2]).close()
    assert all(tier.closed for tier in tiers)


def test_a_file_is_judged_anew_by_every_tier_whose_word_counts() -> None:
    data = shared("mlperf_tiny_models/pretrainedResnet_quant.tflite").read_bytes()
    vendor = FileTier()
    gate = Gate(Widths(), Budget(80_000, 10**6, None), [PlannerTier()], vendor, Raised("screen"))
    first, last = gate.judge_file(data)
    assert first.fits and first.report.tier == "planner" and first.report.activations_bytes == 49_152
    assert last.report.tier == "file" and last.report.activations_bytes == 49_152 + len(data)
    assert [violation.resource for violation in last.violations] == ["ram"]
    assert gate.judge_file(data) == (first, last) and vendor.reports == 2
    with pytest.raises(UnsupportedModel):
        gate.judge_file(data[:1000])


def test_too_small_a_budget_names_what_would_do() -> None:
    report = need(2)
    Gate(Widths(), Budget(report.ram_bytes, report.flash_bytes, None), [PlannerTier()]).require_feasible(width(2))
    with pytest.raises(BudgetTooSmall) as caught:
        Gate(Widths(), Budget(500, 10**6, None), [PlannerTier()]).require_feasible(width(2))
    message = str(caught.value)
    assert f"{report.ram_bytes:,} B (0.8 KB) of RAM, over the 500 B allowed" in message
    assert "raise budget.ram_kb to at least 1" in message
    assert "budget.flash_kb" not in message
    slow = Budget(10**6, 10**6, None, latency_ms=0.001, clock_hz=1_000_000)
    with pytest.raises(BudgetTooSmall, match=r"budget\.latency_ms to at least [1-9]"):
        Gate(Widths(), slow, [Timed(PlannerTier(), "cortex-m0+")]).require_feasible(width(2))
    with pytest.raises(ConfigError, match="has no latency estimate for any Cortex-M"):
        Gate(Widths(), slow, [PlannerTier()]).require_feasible(width(2))
    with pytest.raises(BudgetTooSmall, match=r"budget\.ram_kb .* and budget\.flash_kb .* and budget\.macs"):
        Gate(Widths(), Budget(500, 1_000, 1), [PlannerTier()]).require_feasible(width(2))


def test_a_budget_may_be_too_small_by_the_vendors_figures_alone() -> None:
    report = need(2)
    budget = Budget(report.ram_bytes, report.flash_bytes, None)
    with pytest.raises(BudgetTooSmall, match=r"needs, by tier file, .* of RAM, over the [0-9,]+ B allowed"):
        Gate(Widths(), budget, [PlannerTier()], FileTier()).require_feasible(width(2))


@pytest.mark.parametrize("failure", [InfraFailure("offline; wait"), CandidateFailure("layer unknown; change it")])
def test_a_vendor_that_does_not_answer_is_left_to_the_search(failure: Exception) -> None:
    report = need(2)
    budget = Budget(report.ram_bytes, report.flash_bytes, None)
    Gate(Widths(), budget, [PlannerTier()], Failing(failure)).require_feasible(width(2))
    with pytest.raises(type(failure)):
        Gate(Widths(), budget, [Failing(failure)]).require_feasible(width(2))


def test_a_budget_of_nothing_is_too_small() -> None:
    with pytest.raises(BudgetTooSmall):
        Gate(Widths(), Budget(0, 0, None), [PlannerTier()]).require_feasible(width(1))
