"""What ST's compiler reports of a network, as the facts that every tier states."""

from automcu.feasibility.st.binding import binding_by_st
from automcu.feasibility.st.reports import StReport
from automcu.feasibility.tier import FeasibilityTier, binding_layer, busiest_layer, heaviest_layer
from automcu.graph.costs import costs
from automcu.graph.int8 import Int8Graph
from automcu.graph.planner import plan_memory
from automcu.results import FeasibilityReport

ASSUMED_CODE_BYTES = 52_285
ASSUMED_RUNTIME_RAM_BYTES = 7_788
"""The runtime's Flash and RAM where the tool does not state them: the larger of the two figures captured for an int8
CNN on a Cortex-M (29,496 B / 3,360 B by Core 2.2.0, 52,285 B / 7,788 B by Core 1.0.0)."""


def facts_by_st(
    tier: FeasibilityTier, tool: str, version: str, graph: Int8Graph, found: StReport, unstated: str
) -> FeasibilityReport:
    """The facts of `tier` on the network of `graph`, of which `version` of `tool` says `found`.

    Activations, weights, MACs and runtime are the tool's own, and so is the binding layer where its report tells the
    placement (`binding_by_st`); otherwise the binding layer is AutoMCU's, as heaviest and busiest layer always are, and
    the MACs where the report counts none. Where the tool does not state the whole runtime, what is missing is assumed,
    and the tool's version ends with "runtime assumed" and `unstated`, the reason. No margin is added.
    """
    cost = costs(graph)
    flash, ram = found.runtime_flash_bytes, found.runtime_ram_bytes
    stated = flash is not None and ram is not None
    return FeasibilityReport(
        graph_fingerprint=graph.fingerprint,
        macs=cost.total_macs if found.macs is None else found.macs,
        weights_bytes=found.weights_bytes,
        code_bytes=ASSUMED_CODE_BYTES if flash is None else flash,
        activations_bytes=found.ram_bytes,
        runtime_ram_bytes=ASSUMED_RUNTIME_RAM_BYTES if ram is None else ram,
        binding_layer=binding_by_st(graph, found) or binding_layer(graph, plan_memory(graph)),
        heaviest_layer=heaviest_layer(graph, cost),
        busiest_layer=busiest_layer(graph, cost),
        tier=tier.name,
        tool=tool,
        tool_version=version if stated else f"{version}, runtime assumed: {unstated}",
        target=tier.target,
        margin=0.0,
    )
