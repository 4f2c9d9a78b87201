"""The seam between the gate and whatever can tell what an int8 network costs on a target."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from automcu.errors import CandidateFailure
from automcu.graph.costs import Costs
from automcu.graph.int8 import Int8Graph
from automcu.graph.planner import MemoryPlan
from automcu.results import FeasibilityReport


class FeasibilityTier(Protocol):
    """States facts; the gate draws the verdict. Contract suite: `tests/contracts/feasibility_tier.py`."""

    @property
    def name(self) -> str:
        """What `FeasibilityReport.tier` holds."""
        ...

    @property
    def version(self) -> str:
        """The version of the tool that makes the figures. Raises `InfraFailure` when the tool does not answer."""
        ...

    @property
    def target(self) -> str:
        """What the figures hold for, see `FeasibilityReport.target`."""
        ...

    def report(self, graph: Int8Graph, model_file: Callable[[], Path]) -> FeasibilityReport:
        """What the network of `graph` costs. `model_file` makes an int8 .tflite of it, for tiers that need a file; it
        is slow, and the file lives no longer than this call.

        Raises `CandidateFailure` when this tier can never judge the network, `InfraFailure` when it could not now."""
        ...

    def close(self) -> None:
        """Free what the tier holds, such as a process; a later `report` may take it again."""
        ...


def binding_layer(graph: Int8Graph, plan: MemoryPlan) -> str:
    """Which operator makes the RAM peak, with the bytes alive there, for a proposer to read.

    For example `stage2_conv1 (in 32,768 B + out 16,384 B + 8,192 B of stem kept for stage2_add)`.
    """
    operator = graph.operators[plan.binding_operator]
    parts = [f"in {graph.tensors[index].bytes:,} B" for index in dict.fromkeys(operator.inputs)]
    parts.append(f"out {graph.tensors[operator.output].bytes:,} B")
    kept: dict[int, list[str]] = {index: [] for index in plan.binding_tensors}
    for index in (*operator.inputs, operator.output):
        kept.pop(index, None)
    if kept:
        for later in graph.operators[plan.binding_operator + 1 :]:
            for index in dict.fromkeys(later.inputs):
                if index in kept:
                    kept[index].append(later.name)
    for index, readers in kept.items():
        tensor = graph.tensors[index]
        parts.append(f"{tensor.bytes:,} B of {tensor.name} kept for {', '.join(readers) or 'the output'}")
    if plan.scratch_bytes:
        parts.append(f"scratch {plan.scratch_bytes:,} B")
    if plan.arena_bytes > plan.lower_bound_bytes:
        parts.append(f"{plan.arena_bytes - plan.lower_bound_bytes:,} B lost to gaps between tensors")
    return f"{operator.name} ({' + '.join(parts)})"


def heaviest_layer(graph: Int8Graph, costs: Costs) -> str:
    """Which operator holds most weights, for example `logits (weights 6,440 B of 41,792 B)`."""
    index = max(range(len(costs.weights_bytes)), key=costs.weights_bytes.__getitem__)
    share = f"weights {costs.weights_bytes[index]:,} B of {costs.total_weights_bytes:,} B"
    return f"{graph.operators[index].name} ({share})"


def busiest_layer(graph: Int8Graph, costs: Costs) -> str:
    """Which operator has most multiply-accumulates, for example `stem (442,368 of 1,281,024 MACs)`."""
    index = max(range(len(costs.macs)), key=costs.macs.__getitem__)
    return f"{graph.operators[index].name} ({costs.macs[index]:,} of {costs.total_macs:,} MACs)"


def require_supported(graph: Int8Graph, supported: frozenset[str], runtime: str) -> None:
    """Refuse a network that `runtime` cannot run: whose operators are not all of the kinds `supported`.

    Raises `CandidateFailure` with the first such layer; for example `RESIZE_BILINEAR (layer up1) is not supported by
    AutoMCU's own runtime; use ADD, AVERAGE_POOL_2D, ...`.
    """
    for operator in graph.operators:
        if operator.kind not in supported:
            raise CandidateFailure(
                f"{operator.kind} (layer {operator.name}) is not supported by {runtime}; use "
                f"{', '.join(sorted(supported))}"
            )
