"""The latency experiment: graphs as they were run, and a fit that does not see what it predicts."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import numpy as np
import pyarrow.parquet as pq
import pytest

from automcu.graph.int8 import Int8Graph
from automcu.graph.latency import WORK
from automcu.graph.lowering import lower
from automcu.graph.network import INPUT, Add, Conv, Dense, DepthwiseConv, GlobalAveragePool, Network
from automcu.graph.tflite.constants import read_model
from automcu.graph.tflite.writer import write_tflite
from experiments.latency import own
from experiments.latency.energy import picojoules_per_cycle
from experiments.latency.fit import EXPECTED, fit
from experiments.latency.judge import READINGS, on_board, predict, shipped
from experiments.latency.measurements import Measurement, load_measurements
from experiments.latency.nasbench import graph_of, parameters
from experiments.latency.profile import layer_profiles
from tests.graph.shared_models import DATA, shared


def test_networks_of_the_nrf5340_sample_have_the_operators_that_were_run() -> None:
    sample = pq.read_table(shared("nats_mcu_nrf5340_sample.parquet")).to_pylist()
    graphs = {row["index"]: graph_of(row["arch_str"]) for row in sample}
    computing = [row for row in sample if graphs[row["index"]] is not None]
    assert len(computing) == 69
    for row in computing:
        graph = graphs[row["index"]]
        assert graph is not None and len(graph.operators) == row["operators"], row["arch_str"]


def test_networks_without_dead_convolutions_have_the_parameters_of_the_benchmark() -> None:
    table = pq.read_table(shared("nasbench201.parquet"), columns=["arch_str", "cifar10_params_m"])
    judged = 0
    for row in table.slice(0, 300).to_pylist():
        graph = graph_of(row["arch_str"])
        if graph is not None and "none" not in row["arch_str"]:
            assert parameters(graph) == round(row["cifar10_params_m"] * 1e6)
            judged += 1
    assert judged > 50


def test_a_cell_that_computes_nothing_has_no_graph() -> None:
    zero = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|none~0|none~1|none~2|"
    assert graph_of(zero) is None


def _rows(costs: Sequence[float], count: int = 40) -> list[Measurement]:
    """Made-up measurements of random work with these `costs`, on four boards that differ by a factor."""
    rng = Random(0)
    nothing = Int8Graph((), (), (), ())
    rows = []
    for number in range(count):
        work = tuple(rng.uniform(0, 1e6) / cost for cost in costs)
        board = number % 4
        cycles = (1 + board) * sum(cost * amount for cost, amount in zip(costs, work, strict=True))
        name = f"net{number}"
        rows.append(
            Measurement("mlperf_tiny", name, name, f"board{board}", "cortex-m4f", "r", "k", cycles, nothing, work)
        )
    return rows


def test_a_fit_finds_the_constants_of_boards_and_costs_near_the_true_ones() -> None:
    costs = EXPECTED * np.exp(np.random.default_rng(0).normal(0, 0.2, len(WORK)))
    costs[0] = 1.0
    fitted = fit(_rows(list(costs), 1000), on_board)
    missed, expected = np.log(fitted.costs / costs), np.log(EXPECTED / costs)
    assert np.linalg.norm(missed) < 0.5 * np.linalg.norm(expected)
    assert [fitted.constants["r", f"board{board}"] for board in range(4)] == pytest.approx([1, 2, 3, 4], rel=0.05)


def test_nothing_of_a_board_left_out_but_its_constant_is_used() -> None:
    rows = _rows(list(EXPECTED))
    slower = [replace(row, cycles=3 * row.cycles) if row.board == "board1" else row for row in rows]
    mine = np.array([row.board == "board1" for row in rows])
    for name, factor in (("board", 3), ("kernels", 3), ("core", 1)):
        before, after = predict(rows, READINGS[name]), predict(slower, READINGS[name])
        assert after[mine] == pytest.approx(factor * before[mine], rel=1e-9)


def test_real_measurements_reach_the_goal_with_whole_boards_left_out() -> None:
    shared("mlperf_tiny.csv")
    rows = load_measurements(DATA)
    measured = np.array([row.cycles for row in rows])
    assert len(rows) > 300 and len({row.board for row in rows}) >= 10
    errors = np.abs(predict(rows, READINGS["kernels"]) / measured - 1)
    assert np.median(errors) < 0.15
    assert set(shipped(rows, "CMSIS-NN")) == {"cortex-m4f", "cortex-m33f"}


def test_energy_belongs_with_its_own_throughput() -> None:
    shared("mlperf_tiny.csv")
    figures = picojoules_per_cycle(DATA)
    # 1.8 V against 3.0 V at the same clock: between the ratio of the voltages and its square.
    low = np.median(figures["NUCLEO-L4R5ZI", "1.8 V, internal regulator"])
    high = np.median(figures["NUCLEO-L4R5ZI", "3.0 V, internal regulator"])
    assert 3.0 / 1.8 < high / low < (3.0 / 1.8) ** 2


def test_layers_of_the_own_runtime_add_up_to_the_inference() -> None:
    layers = (
        Conv("stem", INPUT, 8, 3, 2, "relu"),
        DepthwiseConv("depth", "stem", 3, 1, "relu"),
        Conv("point", "depth", 8, 1, 1, "none"),
        Add("sum", "stem", "point", "none"),
        GlobalAveragePool("pool", "sum"),
        Dense("logits", "pool", 3, "none"),
    )
    model = read_model(write_tflite(lower(Network((12, 12, 1), layers)), seed=1))
    found = layer_profiles(model, 0, "cortex-m4f", "portable", seed=1)
    assert [layer.operator for layer in found] == list(range(len(model.graph.operators)))
    assert all(layer.estimate.cycles > layer.estimate.instructions > 0 for layer in found)
    again = layer_profiles(model, 0, "cortex-m4f", "portable", seed=1)
    assert [layer.estimate for layer in again] == [layer.estimate for layer in found]


def test_costs_of_layers_are_found_again() -> None:
    rng = np.random.default_rng(1)
    costs = rng.uniform(1, 100, len(WORK))
    rows = []
    for number in range(60):
        work = rng.uniform(0, 1000, len(WORK))
        row = dict(zip(WORK, map(float, work), strict=True))
        rows.append({**row, "cycles": float(work @ costs), "network": number // 3})
    layers = own.Layers(rows)
    assert own.fit(layers) == pytest.approx(costs)
    measured, estimated = own.judge(layers)
    assert len(measured) == 20 and estimated == pytest.approx(measured)
