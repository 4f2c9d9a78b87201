from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from automcu.architecture import Architecture
from automcu.board import Budget
from automcu.errors import BudgetTooSmall, ConfigError
from automcu.feasibility.gate import Gate
from automcu.feasibility.planner_tier import PlannerTier
from automcu.graph.int8 import Int8Graph
from automcu.graph.lowering import lower
from automcu.graph.network import INPUT, Conv, Dense, Network
from automcu.graph.tflite_reader import UnsupportedModel
from automcu.results import FeasibilityReport
from tests.graph.shared_models import shared

LARGE = Budget(1_000_000, 1_000_000, None)


class Widths:
    """A space of one number: the channels of the only convolution."""

    def build(self, architecture: Architecture) -> Network:
        channels = int(architecture.text)
        return Network((8, 8, 3), (Conv("conv", INPUT, channels, 3, 1, "relu"), Dense("logits", "conv", 3, "none")))


class FileTier:
    """A tier that reads the file, and raises the planner's activations by what it finds."""

    name = "file"

    def __init__(self) -> None:
        self.seen: list[Path] = []

    def report(self, graph: Int8Graph, model_file: Callable[[], Path]) -> FeasibilityReport:
        path = model_file()
        assert path == model_file()
        self.seen.append(path)
        report = PlannerTier().report(graph, model_file)
        size = len(path.read_bytes())
        return replace(report, tier=self.name, activations_bytes=report.activations_bytes + size)


class Maker:
    """Stands in for the converter: 5,000 bytes, and a count of its calls."""

    def __init__(self) -> None:
        self.calls = 0
        self.closed = False

    def convert_untrained(self, network: Network, seed: int) -> bytes:
        self.calls += 1
        return bytes(5_000)

    def close(self) -> None:
        self.closed = True


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
    maker, tier = Maker(), FileTier()
    report = need(8)
    gate = Gate(Widths(), Budget(report.ram_bytes - 1, 10**6, None), [PlannerTier(), tier], maker)
    assert gate.check(width(8)).report.tier == "planner"
    assert maker.calls == 0 and not tier.seen


def test_the_last_tier_has_the_last_word() -> None:
    report = need(8)
    gate = Gate(Widths(), Budget(report.ram_bytes, 10**6, None), [PlannerTier(), FileTier()], Maker())
    verdict = gate.check(width(8))
    assert verdict.report.tier == "file"
    assert [violation.resource for violation in verdict.violations] == ["ram"]


def test_one_graph_is_judged_once_and_its_file_is_gone() -> None:
    maker, tier = Maker(), FileTier()
    gate = Gate(Widths(), LARGE, [PlannerTier(), tier], maker)
    verdict = gate.check(width(8))
    assert gate.check(Architecture("widths", " 8")) is verdict  # another text, the same graph
    assert gate.check(width(9)) is not verdict
    assert maker.calls == len(tier.seen) == 2
    assert not any(path.parent.exists() for path in tier.seen)


def test_a_file_tier_without_a_converter_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="converter"):
        Gate(Widths(), LARGE, [PlannerTier(), FileTier()]).check(width(8))
    with pytest.raises(ConfigError, match="tier"):
        Gate(Widths(), LARGE, [])


def test_close_closes_the_converter() -> None:
    maker = Maker()
    Gate(Widths(), LARGE, [PlannerTier()], maker).close()
    assert maker.closed
    Gate(Widths(), LARGE, [PlannerTier()]).close()


def test_a_file_is_judged_by_the_first_tier_and_reported_on_by_the_last() -> None:
    data = shared("mlperf_tiny_models/pretrainedResnet_quant.tflite").read_bytes()
    gate = Gate(Widths(), LARGE, [PlannerTier(), FileTier()])
    verdict = gate.judge_file(data)
    assert verdict.fits and verdict.report.tier == "planner"
    assert verdict.report.activations_bytes == 49_152
    vendor = gate.vendor_report(data)
    assert vendor is not None and vendor.activations_bytes == 49_152 + len(data)
    assert Gate(Widths(), LARGE, [PlannerTier()]).vendor_report(data) is None
    with pytest.raises(UnsupportedModel):
        gate.judge_file(data[:1000])


def test_too_small_a_budget_names_what_would_do() -> None:
    report = need(2)
    Gate(Widths(), Budget(report.ram_bytes, report.flash_bytes, None), [PlannerTier()]).require_feasible(width(2))
    with pytest.raises(BudgetTooSmall) as caught:
        Gate(Widths(), Budget(1_000, 10**6, None), [PlannerTier()]).require_feasible(width(2))
    message = str(caught.value)
    assert f"{report.ram_bytes:,} B (1.3 KB) of RAM, over the 1,000 B allowed" in message
    assert "raise budget.ram_kb to at least 2" in message
    assert "budget.flash_kb" not in message
    with pytest.raises(BudgetTooSmall, match=r"budget\.ram_kb .* and budget\.flash_kb .* and budget\.macs"):
        Gate(Widths(), Budget(1_000, 1_000, 1), [PlannerTier()]).require_feasible(width(2))


def test_a_budget_of_nothing_is_too_small() -> None:
    with pytest.raises(BudgetTooSmall):
        Gate(Widths(), Budget(0, 0, None), [PlannerTier()]).require_feasible(width(1))
