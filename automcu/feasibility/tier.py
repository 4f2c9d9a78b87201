"""The seam between the gate and whatever can tell what an int8 network costs on a target."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

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
    sizes = {index: f"{graph.tensors[index].bytes:,} B" for index in plan.binding_tensors}
    parts = [f"in {sizes[index]}" for index in dict.fromkeys(operator.inputs)]
    parts.append(f"out {sizes[operator.output]}")
    for index in plan.binding_tensors:
        if index not in operator.inputs and index != operator.output:
            readers = [op.name for op in graph.operators[plan.binding_operator + 1 :] if index in op.inputs]
            parts.append(f"{sizes[index]} of {graph.tensors[index].name} kept for {', '.join(readers) or 'the output'}")
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
