"""How fast architectures are judged by the planner tier, and how the time grows with the number of operators.

    python -m benchmarks.feasibility [--networks 200] [--repeats 9]

The networks are random ones of `mcu_cnn` (32 x 32 x 3, 10 classes) whose int8 graph has 18 to 22 operators. Times are
those of the processor (one core), so that other programs' work does not count; printed are the median of the repeats
and their range. Every repeat starts from objects without cached shapes or fingerprints. "Building" is what comes
before the judging: from JSON to the network; it is in the last line alone.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from math import log
from pathlib import Path
from random import Random
from typing import TypeVar

from automcu.board import Budget
from automcu.feasibility.planner_tier import PlannerTier
from automcu.feasibility.timed import Timed
from automcu.graph.channels import cheaper
from automcu.graph.costs import costs
from automcu.graph.int8 import Int8Graph
from automcu.graph.lowering import lower
from automcu.graph.network import INPUT, Add, Concat, Conv, Dense, GlobalAveragePool, Layer, Network
from automcu.graph.planner import plan_memory
from automcu.spaces.mcu_cnn import McuCnnSpace
from automcu.spaces.mcu_cnn.space import decode
from tests.graph.tflm_greedy import aligned_buffers, tflm_greedy

SPACE = McuCnnSpace((32, 32, 3), 10)
OPERATORS = range(18, 23)
LENGTHS = (20, 50, 100, 200, 500)
BUDGET = Budget(ram_bytes=64_000, flash_bytes=256_000, macs=10_000_000)
TIER = Timed(PlannerTier(), "cortex-m0+")
Item = TypeVar("Item")


def seconds(work: Callable[[Item], object], make: Callable[[], Sequence[Item]], repeats: int) -> list[float]:
    """Processor seconds per item for each repeat, ascending; `make` gives fresh items and is not timed."""
    found = []
    for _ in range(repeats + 1):
        items = make()
        began = time.process_time()
        for item in items:
            work(item)
        found.append((time.process_time() - began) / len(items))
    return sorted(found[1:])  # the first warms up


def no_file() -> Path:
    raise AssertionError("the planner needs no file")


def judge(network: Network) -> None:
    """The whole verdict: lowering, fingerprint, planning, costs, report, limits."""
    BUDGET.violations(TIER.report(lower(network), no_file))


def chain(length: int) -> Network:
    """`length` operators, one after the other."""
    layers: list[Layer] = [Conv("c0", INPUT, 16, 3, 1, "relu")]
    layers += [Conv(f"c{i}", f"c{i - 1}", 16 + 4 * (i % 3), 3, 1, "relu") for i in range(1, length - 2)]
    return _with_head(layers)


def residual(length: int) -> Network:
    """About `length` operators: blocks of two convolutions and a skip."""
    layers: list[Layer] = [Conv("a0", INPUT, 16, 3, 1, "relu")]
    for i in range(1, (length - 3) // 3 + 1):
        layers.append(Conv(f"b{i}", f"a{i - 1}", 16 + 4 * (i % 3), 3, 1, "relu"))
        layers.append(Conv(f"c{i}", f"b{i}", 16, 3, 1, "none"))
        layers.append(Add(f"a{i}", f"c{i}", f"a{i - 1}", "relu"))
    return _with_head(layers)


def wide(length: int) -> Network:
    """`length` operators: one map read by many convolutions of different widths, whose maps are all joined."""
    names = tuple(f"c{i}" for i in range(length - 4))
    layers: list[Layer] = [Conv("stem", INPUT, 16, 3, 2, "relu")]
    layers += [Conv(name, "stem", 4 + 4 * (i % 5), 3, 1, "relu") for i, name in enumerate(names)]
    return _with_head([*layers, Concat("join", names)])


def _with_head(layers: list[Layer]) -> Network:
    head = (GlobalAveragePool("pool", layers[-1].name), Dense("logits", "pool", 10, "none"))
    return Network((32, 32, 3), (*layers, *head))


def exponent(times: Sequence[float]) -> float:
    """The p of time ~ operators ** p, by least squares of the logarithms over `LENGTHS`."""
    return statistics.linear_regression([log(n) for n in LENGTHS], [log(t) for t in times]).slope


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--networks", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=9)
    asked = parser.parse_args()
    rng = Random(0)
    architectures = []
    while len(architectures) < asked.networks:
        architecture = SPACE.random(rng)
        if len(lower(SPACE.build(architecture)).operators) in OPERATORS:
            architectures.append(architecture)
    built = [SPACE.build(architecture) for architecture in architectures]

    def bare() -> list[Network]:
        return [Network(network.input_shape, network.layers) for network in built]

    def graphs() -> list[Int8Graph]:
        return [lower(network) for network in built]

    def forgotten() -> list[object]:
        decode.cache_clear()
        return list(architectures)

    def line(what: str, times: list[float], note: str = "") -> None:
        low, middle, high = 1 / times[-1], 1 / statistics.median(times), 1 / times[0]
        print(f"{what:<36} {middle:>9,.0f}/s ({low:,.0f} to {high:,.0f}){note}")

    repeats = asked.repeats
    print(f"{asked.networks} networks of {OPERATORS[0]} to {OPERATORS[-1]} operators, {repeats} repeats, one core")
    line("lowering, shapes included", seconds(lower, bare, repeats))
    line("fingerprint", seconds(lambda graph: graph.fingerprint, graphs, repeats))
    plan = seconds(plan_memory, graphs, repeats)
    line("planning", plan)
    naive = seconds(tflm_greedy, lambda: [aligned_buffers(graph, plan_memory(graph)) for graph in graphs()], repeats)
    ratio = statistics.median(naive) / statistics.median(plan)
    line("placement in TFLM's own steps, alone", naive, f", planning is {ratio:.1f} times as fast")
    line("costs", seconds(costs, graphs, repeats))
    line("planner tier's report, all of these", seconds(lambda graph: TIER.report(graph, no_file), graphs, repeats))
    line("whole verdict of a network", seconds(judge, bare, repeats), ", to hold: at least 3,000/s")
    line("cheaper networks around the peak", seconds(edits, graphs, repeats), ", plan and costs of each edit included")
    line("building a network from JSON", seconds(SPACE.build, forgotten, repeats))
    line("building and whole verdict", seconds(lambda each: judge(SPACE.build(each)), forgotten, repeats))

    print(f"microseconds a verdict, by number of operators; n log n would grow with exponent {n_log_n():.2f}")
    print(f"{'':<12}" + "".join(f"{length:>9}" for length in LENGTHS) + "   exponent")
    for shape in (chain, residual, wide):
        times = []
        for length in LENGTHS:
            network = shape(length)
            count = max(3, 1000 // length)
            fresh = [(network.input_shape, network.layers)] * count
            again = seconds(judge, lambda fresh=fresh: [Network(*each) for each in fresh], repeats)
            times.append(statistics.median(again))
        print(f"{shape.__name__:<12}" + "".join(f"{1e6 * each:>9,.0f}" for each in times) + f"{exponent(times):>11.2f}")


def edits(graph: Int8Graph) -> None:
    """What a gate does for a network that needs too much RAM."""
    for _, edited in cheaper(graph, [plan_memory(graph).binding_operator]):
        plan_memory(edited)
        costs(edited)


def n_log_n() -> float:
    """The exponent that `exponent` finds for n log n."""
    return exponent([n * log(n) for n in LENGTHS])


if __name__ == "__main__":
    main()
