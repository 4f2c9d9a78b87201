"""What the filter costs in accuracy, on networks whose accuracy is known: NAS-Bench-201 (Dong and Yang 2020).

Its 15,625 networks for CIFAR-10 were all trained, by others, for 200 epochs. They are rebuilt without training as
networks of AutoMCU's own layers (`automcu.spaces.nasbench201`), whose files have fewer operators than a file of the
benchmark's own network.
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
from automcu.graph.network import Network
from automcu.graph.planner import plan_memory
from automcu.graph.tflite.writer import write_tflite
from automcu.results import FeasibilityReport
from automcu.spaces.nasbench201 import cell_of, computes
from automcu.spaces.nasbench201 import network_of as cell_network
from experiments.filter_audit.linking import link, may_fit
from experiments.filter_audit.targets import KERNELS, Target

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
    """The network of a cell such as `|skip_connect~0|+|none~0|nor_conv_3x3~1|+|...|`; None where it is a constant."""
    cell = cell_of(description)
    return cell_network(cell, (32, 32, 3), 10) if computes(cell) else None


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
