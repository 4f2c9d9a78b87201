from collections.abc import Callable
from pathlib import Path

import pytest

from automcu.feasibility.code_size import PORTABLE
from automcu.feasibility.planner_tier import RUNTIME_RAM_BYTES, PlannerTier
from automcu.feasibility.tier import FeasibilityTier, binding_layer
from automcu.graph.lowering import lower
from automcu.graph.network import INPUT, Add, Conv, Dense, Network
from automcu.graph.planner import plan_memory
from automcu.graph.tflite.reader import read_tflite
from tests.contracts.feasibility_tier import RESIDUAL, FeasibilityTierContract
from tests.graph.shared_models import shared


def no_file() -> Path:
    raise AssertionError("the planner needs no file")


class TestPlannerTier(FeasibilityTierContract):
    @pytest.fixture
    def tier(self) -> FeasibilityTier:
        return PlannerTier()

    @pytest.fixture
    def model_file(self) -> Callable[[], Path]:
        return no_file


def test_figures_of_a_small_network() -> None:
    report = PlannerTier().report(lower(RESIDUAL), no_file)
    assert report.activations_bytes == 3 * 16 * 16 * 8
    assert report.runtime_ram_bytes == RUNTIME_RAM_BYTES
    assert report.weights_bytes == (8 * 27 + 32) + (8 * 72 + 32) + (4 * 8 + 16)
    size = PORTABLE
    kernels = size.of({"CONV_2D", "ADD", "AVERAGE_POOL_2D", "FULLY_CONNECTED"})
    code = size.firmware + kernels + 5 * size.operator + 5 * (8 + 8 + 4)
    assert report.code_bytes == code
    assert report.macs == 256 * (8 * 27 + 8 * 72) + 32
    assert report.margin == 0.0


def test_layers_are_named_with_figures() -> None:
    report = PlannerTier().report(lower(RESIDUAL), no_file)
    assert report.binding_layer == "sum (in 2,048 B + in 2,048 B + out 2,048 B)"
    assert report.heaviest_layer == "inner (weights 608 B of 904 B)"
    assert report.busiest_layer == "inner (147,456 of 202,784 MACs)"


def test_binding_layer_tells_what_is_kept_and_lost() -> None:
    layers = (
        Conv("stem", INPUT, 8, 3, 1, "relu"),
        Conv("wide", "stem", 16, 3, 1, "relu"),
        Conv("narrow", "wide", 8, 1, 1, "none"),
        Add("sum", "narrow", "stem", "none"),
        Dense("logits", "sum", 3, "none"),
    )
    report = PlannerTier().report(lower(Network((8, 8, 3), layers)), no_file)
    assert report.binding_layer == "narrow (in 1,024 B + out 512 B + 512 B of stem kept for sum)"
    graph = read_tflite(shared("mlperf_tiny_models/vww_96_int8.tflite").read_bytes())
    assert "18,432 B lost to gaps" in binding_layer(graph, plan_memory(graph))


def test_a_wider_network_costs_more() -> None:
    def ram_and_flash(channels: int) -> tuple[int, int]:
        layers = (Conv("conv", INPUT, channels, 3, 1, "relu"), Dense("logits", "conv", 3, "none"))
        report = PlannerTier().report(lower(Network((8, 8, 3), layers)), no_file)
        return report.ram_bytes, report.flash_bytes

    figures = [ram_and_flash(channels) for channels in (2, 4, 8, 16)]
    assert figures == sorted(figures)
