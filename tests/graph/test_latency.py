"""The fast latency estimate: what it counts, and how it must behave whatever the figures are."""

import csv
import random
import time
from dataclasses import replace

import pytest

from automcu.errors import ConfigError
from automcu.graph.costs import costs
from automcu.graph.int8 import Int8Graph, Operator, Tensor, Window
from automcu.graph.latency import CYCLES, WORK, estimate_cycles, graph_work, operator_cycles, work
from automcu.graph.lowering import lower
from automcu.graph.tflite.reader import read_tflite
from automcu.spaces import make_space
from tests.graph.shared_models import shared

SPACE = make_space("mcu_cnn", (32, 32, 3), 10)
BENCHMARKS = {"ic": "pretrainedResnet_quant", "kws": "kws_ref_model", "ad": "ad01_int8"}


def _random_graph(seed: int) -> Int8Graph:
    return lower(SPACE.build(SPACE.random(random.Random(seed))))


def _one(kind: str, shape: tuple[int, ...], made: tuple[int, ...], **rest: object) -> tuple[Int8Graph, Operator]:
    operator = replace(Operator("op", kind, (0,), 1), **rest)  # type: ignore[arg-type]
    return Int8Graph((Tensor("a", shape, "int8"), Tensor("b", made, "int8")), (operator,), (0,), (1,)), operator


def _worked(kind: str, shape: tuple[int, ...], made: tuple[int, ...], **rest: object) -> dict[str, float]:
    amounts = zip(WORK, work(*_one(kind, shape, made, **rest)), strict=True)
    return {name: amount for name, amount in amounts if amount}


def test_work_of_an_operator_is_counted_by_kind() -> None:
    window = Window((3, 3), (1, 1), "SAME")
    assert _worked("CONV_2D", (1, 8, 8, 4), (1, 8, 8, 16), weights=(16, 3, 3, 4), window=window) == {
        "conv_macs": 64 * 16 * 36,
        "gathered": 64 * 36,
        "taps": 64 * 16 * 9,
        "outputs": 64 * 16,
        "operators": 1,
    }
    assert _worked("CONV_2D", (1, 8, 8, 4), (1, 8, 8, 16), weights=(16, 1, 1, 4), window=window) == {
        "pointwise_macs": 64 * 16 * 4,
        "gathered": 64 * 4,
        "outputs": 64 * 16,
        "operators": 1,
    }
    assert _worked("DEPTHWISE_CONV_2D", (1, 8, 8, 4), (1, 8, 8, 4), weights=(1, 3, 3, 4), window=window) == {
        "depthwise_3x3_macs": 64 * 4 * 9,
        "operators": 1,
    }
    assert _worked("DEPTHWISE_CONV_2D", (1, 8, 8, 4), (1, 8, 8, 4), weights=(1, 5, 3, 4), window=window) == {
        "depthwise_macs": 64 * 4 * 15,
        "depthwise_outputs": 64 * 4,
        "operators": 1,
    }
    assert _worked("DEPTHWISE_CONV_2D", (1, 8, 8, 1), (1, 8, 8, 1), weights=(1, 3, 3, 1), window=window) == {
        "narrow_depthwise_macs": 64 * 9,
        "depthwise_outputs": 64,
        "operators": 1,
    }
    assert _worked("FULLY_CONNECTED", (1, 64), (1, 10), weights=(10, 64)) == {
        "dense_macs": 640,
        "outputs": 10,
        "operators": 1,
    }
    pooled = Window((4, 4), (4, 4), "VALID")
    assert _worked("MAX_POOL_2D", (1, 8, 8, 4), (1, 2, 2, 4), window=pooled) == {
        "pooled": 16 * 16,
        "pool_outputs": 16,
        "operators": 1,
    }
    assert _worked("MEAN", (1, 8, 8, 4), (1, 4)) == {
        "pooled": 256,
        "pool_outputs": 4,
        "operators": 1,
    }
    assert _worked("PAD", (1, 8, 8, 4), (1, 9, 9, 4)) == {"moved": 324, "operators": 1}
    assert _worked("SOFTMAX", (1, 10), (1, 10)) == {"exponentials": 10, "operators": 1}
    assert _worked("RELU6", (1, 10), (1, 10)) == {"elements": 10, "operators": 1}
    assert _worked("RESHAPE", (1, 2, 5), (1, 10)) == {}


@pytest.mark.parametrize("seed", range(5))
def test_macs_are_those_of_the_costs_and_the_whole_is_the_sum_of_its_layers(seed: int) -> None:
    graph = _random_graph(seed)
    whole = dict(zip(WORK, graph_work(graph), strict=True))
    assert sum(amount for kind, amount in whole.items() if kind.endswith("_macs")) == costs(graph).total_macs
    for runtime, cores in CYCLES.items():
        for core in cores:
            layers = operator_cycles(graph, core, runtime)
            assert len(layers) == len(graph.operators) and min(layers) >= 0
            assert estimate_cycles(graph, core, runtime) == round(sum(layers)) > 0


def test_a_core_without_figures_is_told_with_those_that_have_them() -> None:
    with pytest.raises(ConfigError, match=r"cortex-m85 .* st; use one of: cortex-m4f"):
        estimate_cycles(_random_graph(0), "cortex-m85", "st")


def test_every_table_has_a_positive_figure_for_every_kind_of_work() -> None:
    for cores in CYCLES.values():
        for figures in cores.values():
            assert len(figures) == len(WORK) and min(figures) >= 0


def test_reference_networks_are_estimated_within_a_quarter_of_what_st_measured() -> None:
    """X-CUBE-AI 9.0 on three boards; keyword and image recognition, anomaly detection. They are in the fit."""
    clocks = {"NUCLEO-L4R5ZI": "cortex-m4f", "NUCLEO-U575ZI-Q": "cortex-m33f", "NUCLEO-H7A3ZI-Q": "cortex-m7f"}
    judged = 0
    with shared("mlperf_tiny.csv").open() as file:
        for line in csv.DictReader(file):
            version_9 = line["runtime"].startswith("X-CUBE-AI v9") and line["board"] in clocks
            if version_9 and line["benchmark"] in BENCHMARKS:
                path = shared(f"mlperf_tiny_models/{BENCHMARKS[line['benchmark']]}.tflite")
                estimate = estimate_cycles(read_tflite(path.read_bytes()), clocks[line["board"]], "st")
                measured = float(line["clock_mhz"]) * 1e6 / float(line["inf_per_s"])
                assert 0.75 < estimate / measured < 1.25, line
                judged += 1
    assert judged == 9


def test_an_estimate_takes_microseconds_for_a_layer() -> None:
    graph = _random_graph(1)
    start = time.perf_counter()
    for _ in range(100):
        estimate_cycles(graph, "cortex-m4f", "st")
    assert (time.perf_counter() - start) / 100 / len(graph.operators) < 100e-6
