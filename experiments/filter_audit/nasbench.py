"""What the filter costs in accuracy, on networks whose accuracy is known: NAS-Bench-201 (Dong and Yang 2020).

Its 15,625 networks for CIFAR-10 were all trained, by others, for 200 epochs. They are rebuilt here as networks of
AutoMCU's own layers, without training: stem, three stages of five cells of 16, 32 and 64 channels, a residual block
between stages, global average pooling and a dense layer. Where the benchmark applies ReLU before a convolution and
batch normalisation after, here both come after, which a converter can fold; weights and maps are the same, and
operators fewer than in a file of the benchmark's own network.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from automcu.deploy.toolchain.toolchain import Toolchain
from automcu.feasibility.planner_tier import PlannerTier
from automcu.feasibility.st.estimate import StEstimate
from automcu.feasibility.tflm import TflmTier
from automcu.graph.kernel_sets import KernelSet
from automcu.graph.lowering import lower
from automcu.graph.network import INPUT, Add, Conv, Dense, GlobalAveragePool, Layer, Network, Pool
from automcu.graph.planner import plan_memory
from automcu.graph.tflite.writer import write_tflite
from automcu.results import FeasibilityReport
from experiments.filter_audit.linking import link, may_fit
from experiments.filter_audit.targets import KERNELS, Target

_CELLS = 5
_CHANNELS = (16, 32, 64)
_KB = 1024


@dataclass(frozen=True, slots=True)
class Benchmarked:
    """A network of the benchmark: its cell, its mean test accuracy (share) after 200 epochs on CIFAR-10, and what it
    costs; `planner` and `in_place_bytes` as in `Judged`."""

    index: int
    cell: str
    accuracy: float
    planner: Mapping[KernelSet, FeasibilityReport]
    in_place_bytes: Mapping[KernelSet, int]
    st_estimate: FeasibilityReport


@dataclass(frozen=True, slots=True)
class Lost:
    """Of the networks that the planner rejects for one target although they are more accurate than all that it admits:
    how many might fit (`in_doubt`), how many of these were linked, the most accurate first, until one fits, and its
    accuracy (None where none does)."""

    in_doubt: int
    linked: int
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class Measured:
    """A network that was run on a microcontroller by TensorFlow Lite Micro: the arena it used there and its file, and
    what the tflm tier (head and tail), the planner (arena) and our file's size say of the rebuilt one. In bytes."""

    measured_arena_bytes: float
    measured_file_bytes: float
    tflm_arena_bytes: int
    planner_arena_bytes: int
    file_bytes: int


def network_of(description: str) -> Network | None:
    """The network of a cell such as `|skip_connect~0|+|none~0|nor_conv_3x3~1|+|...|`; None where no path leads from
    the cell's input to its output, so that the network computes a constant."""
    nodes = [[edge.split("~") for edge in node.strip("|").split("|")] for node in description.split("+")]
    layers: list[Layer] = [Conv("stem", INPUT, _CHANNELS[0], 3, 1, "none")]
    source = "stem"
    for stage, channels in enumerate(_CHANNELS):
        if stage:
            source = _reduction(layers, f"reduce{stage}", channels, source)
        for cell in range(_CELLS):
            output = _cell(layers, f"cell{stage}_{cell}", channels, nodes, source)
            if output is None:
                return None
            source = output
    layers += [GlobalAveragePool("pool", source), Dense("logits", "pool", 10, "none")]
    return Network((32, 32, 3), tuple(layers))


def _reduction(layers: list[Layer], name: str, channels: int, source: str) -> str:
    """Append a residual block that halves the map; returns the name of its output."""
    layers += [
        Conv(f"{name}_a", source, channels, 3, 2, "relu"),
        Conv(f"{name}_b", f"{name}_a", channels, 3, 1, "none"),
        Pool(f"{name}_pool", source, "average", 2, 2),
        Conv(f"{name}_skip", f"{name}_pool", channels, 1, 1, "none"),
        Add(f"{name}_sum", f"{name}_b", f"{name}_skip", "none"),
    ]
    return f"{name}_sum"


def _cell(layers: list[Layer], name: str, channels: int, nodes: list[list[list[str]]], source: str) -> str | None:
    """Append one cell; returns the name of its output, None where that is zero."""
    outputs: list[str | None] = [source]
    for number, edges in enumerate(nodes, 1):
        total: str | None = None
        for place, (operation, origin) in enumerate(edges):
            read, made = outputs[int(origin)], f"{name}_{number}_{place}"
            if read is None or operation == "none":
                continue
            if operation == "skip_connect":
                made = read
            elif operation == "avg_pool_3x3":
                layers.append(Pool(made, read, "average", 3, 1))
            else:
                layers.append(Conv(made, read, channels, int(operation[-1]), 1, "relu"))
            if total is not None:
                layers.append(Add(f"{name}_{number}_{place}_sum", total, made, "none"))
                made = layers[-1].name
            total = made
        outputs.append(total)
    return outputs[-1]


def benchmarked(data: Path, every: int) -> Iterator[Benchmarked]:
    """Every `every`-th network of the file `nasbench201.parquet` in `data` that computes something."""
    table = pq.read_table(data / "nasbench201.parquet", columns=["index", "arch_str", "cifar10_test_acc_200"])
    planners, estimate = {kernels: PlannerTier(kernels) for kernels in KERNELS}, StEstimate("4.0")
    for row in table.to_pylist()[::every]:
        network = network_of(row["arch_str"])
        if network is not None:
            graph = lower(network)
            yield Benchmarked(
                row["index"],
                row["arch_str"],
                row["cifar10_test_acc_200"] / 100,
                {kernels: planner.report(graph, Path) for kernels, planner in planners.items()},
                {kernels: plan_memory(graph, in_place_add=True, kernels=kernels).arena_bytes for kernels in KERNELS},
                estimate.report(graph, Path),
            )


def lost(known: Sequence[Benchmarked], target: Target, toolchain: Toolchain, most: int) -> Lost:
    """What the planner's caution costs in accuracy on `target`, with at most `most` images linked."""
    kernels = target.kernels
    best = max((item.accuracy for item in known if target.fits(item.planner[kernels])), default=0.0)
    in_doubt = sorted(
        (
            item
            for item in known
            if item.accuracy > best and may_fit(item.planner[kernels], item.in_place_bytes[kernels], target)
        ),
        key=lambda item: (-item.accuracy, item.index),
    )
    for linked, item in enumerate(in_doubt[:most], 1):
        network = network_of(item.cell)
        assert network is not None  # so are all of `known`
        if link(write_tflite(lower(network), seed=0), target, toolchain).fits:
            return Lost(len(in_doubt), linked, item.accuracy)
    return Lost(len(in_doubt), min(most, len(in_doubt)), None)


def measured(data: Path) -> list[Measured]:
    """The networks of the file `nats_mcu_nrf5340_sample.parquet` in `data` that compute something."""
    found = []
    allocator = TflmTier()
    try:
        for row in pq.read_table(data / "nats_mcu_nrf5340_sample.parquet").to_pylist():
            network = network_of(row["arch_str"])
            if network is not None:
                graph = lower(network)
                file = write_tflite(graph, seed=0)
                used = allocator.allocations(file)
                found.append(
                    Measured(
                        _KB * row["arena_used_kb"],
                        _KB * row["int8_kb"],
                        used.head + used.tail,
                        plan_memory(graph).arena_bytes,
                        len(file),
                    )
                )
    finally:
        allocator.close()
    return found
