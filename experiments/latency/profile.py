"""Profiles AutoMCU's own runtime on virtual boards: random networks, every layer of every network, every core.

    python -m experiments.latency.profile [--networks 60]

Writes `own.parquet` beside this file, a row for each layer: what it has to do (`WORK`), instructions executed (exact)
and cycles estimated from them by the timing tables of `automcu/deploy/latency`. Weights and inputs are random.
"""

import argparse
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice, pairwise
from pathlib import Path
from random import Random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from automcu.board import Board
from automcu.board_table import load_board
from automcu.deploy.boards.functions import ENTRY
from automcu.deploy.boards.virtual import VirtualBoard
from automcu.deploy.emit.emitter import emit_network
from automcu.deploy.firmware.project import firmware_project
from automcu.deploy.latency.estimate import CycleEstimate, ExecutedBlock, estimate_cycles
from automcu.deploy.toolchain.zig import ZigToolchain
from automcu.graph.costs import costs
from automcu.graph.int8 import Int8Graph, Operator
from automcu.graph.int8_model import Attributes, Int8Model, Quantization
from automcu.graph.kernel_sets import KernelSet, kernel_set_for
from automcu.graph.latency import WORK, work
from automcu.graph.lowering import lower
from automcu.graph.network import INPUT, Dense, Network
from automcu.graph.planner import plan_memory
from automcu.graph.tflite.constants import read_model
from automcu.graph.tflite.writer import write_tflite
from benchmarks.random_graphs import random_graphs

HERE = Path(__file__).parent
BOARDS = {
    "cortex-m0": "nucleo_f072rb",
    "cortex-m0+": "nucleo_g071rb",
    "cortex-m3": "stm32l151",
    "cortex-m4f": "nucleo_l4r5zi",
    "cortex-m7f": "nucleo_h7a3zi_q",
    "cortex-m33f": "nucleo_u575zi_q",
}
"""A board for each core."""
LARGEST_MACS = 4_000_000
SMALLEST_MACS = 20_000
ROOMY_BYTES = {"flash": 4 << 20, "ram": 1 << 20}
_COPYING = ("memcpy", "__aeabi_memcpy", "__aeabi_memcpy4", "__aeabi_memcpy8")
_TOOLCHAIN = ZigToolchain()


@dataclass(frozen=True, slots=True)
class LayerProfile:
    """One layer of `network`, the number of `operator` in it, on `core` by `kernels`. Estimated cycles."""

    network: int
    operator: int
    kind: str
    core: str
    kernels: KernelSet
    work: tuple[float, ...]
    estimate: CycleEstimate


def roomy(board: Board) -> Board:
    """`board` with memory for any network: time does not depend on how much there is."""
    regions = (replace(region, size_bytes=ROOMY_BYTES[region.kind]) for region in board.regions)
    return replace(board, regions=tuple({region.kind: region for region in regions}.values()))


def layer_profiles(model: Int8Model, network: int, core: str, kernels: KernelSet, seed: int) -> list[LayerProfile]:
    """What each layer of `model` takes on `core`; layers that need no call are left out."""
    plan = plan_memory(model.graph, kernels=kernels)
    emitted = emit_network(model, plan, kernels, f"{network:064x}")
    board = roomy(load_board(BOARDS[core]))
    image = _TOOLCHAIN.build(firmware_project(board, emitted))
    with VirtualBoard(board).open(image) as session:
        profile = session.profile(Random(seed).randbytes(emitted.input_bytes))
    # The entry's own code is a few instructions; a reshape that is not done in place is a memcpy.
    calls = [call.blocks for call in profile.calls if call.function not in (ENTRY, *_COPYING)]
    owners = list(_owners(emitted.sources["network.c"]))
    if len(calls) != len(owners):
        raise AssertionError(f"network {network} has {len(calls)} calls for {len(owners)} expected")
    amounts = [work(model.graph, operator) for operator in model.graph.operators]
    blocks: dict[int, list[ExecutedBlock]] = {}
    for owner, executed in zip(owners, calls, strict=True):
        blocks.setdefault(owner, []).extend(executed)
    weights = costs(model.graph).weights_bytes
    return [
        LayerProfile(
            network,
            operator,
            model.graph.operators[operator].kind,
            core,
            kernels,
            amounts[operator],
            estimate_cycles(executed, core, weights[operator]),
        )
        for operator, executed in blocks.items()
    ]


def _owners(source: str) -> Iterator[int]:
    """The operator of each kernel call in turn, as the emitted C tells: a comment with the number before its calls."""
    number = -1
    for line in source[source.index(f"{ENTRY}(void)") :].splitlines():
        if comment := re.match(r" *\/\* (\d+): ", line):
            number = int(comment[1])
        elif re.match(r" +\w+\(.*\);", line) and not line.lstrip().startswith("memcpy"):
            yield number
        elif line == "}":
            return


def random_models(count: int) -> Iterator[Int8Model]:
    """`count` random networks of the search space, small enough to be emulated in a second, and a tenth as many of
    fully connected layers alone, of which the space has no large ones."""
    graphs = random_graphs("mcu_cnn", 8 * count, seed=0)
    fitting = (graph for graph in graphs if SMALLEST_MACS <= costs(graph).total_macs <= LARGEST_MACS)
    for seed, graph in enumerate(chain(islice(fitting, count), _perceptrons(count // 10))):
        yield _with_softmax(_with_spread_weights(read_model(write_tflite(graph, seed=seed)), seed))


def _perceptrons(count: int) -> Iterator[Int8Graph]:
    rng = Random(0)
    for _ in range(count):
        layers = [Dense(f"dense{place}", INPUT, rng.randint(8, 640), "relu") for place in range(rng.randint(2, 6))]
        chained = [layers[0], *(replace(one, source=before.name) for before, one in pairwise(layers))]
        yield lower(Network((rng.randint(4, 16), rng.randint(4, 16), rng.randint(1, 3)), tuple(chained)))


def _with_spread_weights(model: Int8Model, seed: int) -> Int8Model:
    """Weights that lie as those of trained networks do, normally distributed with few near the ends of int8: kernels
    may compute sums that cannot grow large in a faster way."""
    rng = np.random.default_rng(seed)
    constants = (
        None if old is None else replace(old, weights=_spread(rng, old.weights.shape)) for old in model.constants
    )
    return replace(model, constants=tuple(constants))


def _spread(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.clip(np.rint(rng.normal(0, 127 / 3.5, shape)), -127, 127).astype(np.int8)


def _with_softmax(model: Int8Model) -> Int8Model:
    """The space's networks end in logits; those of others mostly in SOFTMAX."""
    graph = model.graph
    logits = graph.outputs[0]
    end = Operator("softmax", "SOFTMAX", (logits,), len(graph.tensors))
    tensors = (*graph.tensors, replace(graph.tensors[logits], name="softmax"))
    return Int8Model(
        graph=Int8Graph(tensors, (*graph.operators, end), graph.inputs, (end.output,)),
        quantization=(*model.quantization, Quantization(1 / 256, -128)),
        constants=(*model.constants, None),
        attributes=(*model.attributes, Attributes()),
    )


def main() -> None:
    """Profile and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--networks", type=int, default=60)
    found: list[LayerProfile] = []
    for number, model in enumerate(random_models(parser.parse_args().networks)):
        for core in BOARDS:
            found += layer_profiles(model, number, core, kernel_set_for(core), seed=number)
        print(
            f"network {number}: {costs(model.graph).total_macs:,} MACs, {len(model.graph.operators)} operators",
            flush=True,
        )
    pq.write_table(_parquet(found), HERE / "own.parquet", compression="zstd")


def _parquet(found: list[LayerProfile]) -> pa.Table:
    columns: dict[str, list[object]] = {
        name: [getattr(layer, name) for layer in found] for name in ("network", "operator", "kind", "core", "kernels")
    }
    columns |= {kind: [layer.work[place] for layer in found] for place, kind in enumerate(WORK)}
    parts = ("instructions", "execution_cycles", "branch_cycles", "flash_cycles", "cycles")
    columns |= {part: [getattr(layer.estimate, part) for layer in found] for part in parts}
    return pa.table(columns)


if __name__ == "__main__":
    main()
