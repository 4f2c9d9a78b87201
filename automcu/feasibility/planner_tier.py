"""The tier that states what a network costs on AutoMCU's own runtime: emitted C code, no interpreter."""

from collections.abc import Callable
from pathlib import Path

from automcu import __version__
from automcu.feasibility.code_size import code_bytes
from automcu.feasibility.tier import binding_layer, busiest_layer, heaviest_layer, require_supported
from automcu.graph.costs import costs
from automcu.graph.int8 import Int8Graph
from automcu.graph.kernel_sets import KernelSet
from automcu.graph.planner import plan_memory
from automcu.results import FeasibilityReport

RUNTIME_RAM_BYTES = 512
"""Stack and variables: firmware has 12 B of variables, and its deepest stack measured on virtual boards is 416 B (the
Cortex-M0+ with portable kernels). What the board's reserve holds beyond that is the application's."""
SUPPORTED = frozenset(
    {
        "ADD",
        "AVERAGE_POOL_2D",
        "CONCATENATION",
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "DEQUANTIZE",
        "EXPAND_DIMS",
        "FULLY_CONNECTED",
        "HARD_SWISH",
        "LEAKY_RELU",
        "LOGISTIC",
        "MAXIMUM",
        "MAX_POOL_2D",
        "MEAN",
        "MINIMUM",
        "MUL",
        "PAD",
        "PRELU",
        "QUANTIZE",
        "REDUCE_MAX",
        "RELU",
        "RELU6",
        "RESHAPE",
        "SOFTMAX",
        "SQUEEZE",
        "SUB",
        "TANH",
        "TRANSPOSE",
    }
)
"""Kinds of operators that AutoMCU's own runtime has kernels for: those of `automcu.deploy.emit.emitter.SUPPORTED`."""


class PlannerTier:
    """Exact activations and weights, measured upper bounds for the code; needs no file and no tool."""

    name = "planner"
    version = __version__

    def __init__(self, kernels: KernelSet = "portable") -> None:
        """`kernels` are those that will run the network: their scratch buffers count, see `kernel_set_for`."""
        self._kernels = kernels
        self.target = f"any Cortex-M with {kernels} kernels"

    def report(self, graph: Int8Graph, model_file: Callable[[], Path]) -> FeasibilityReport:
        """What the network of `graph` costs; `model_file` is not used.

        Raises `CandidateFailure` for an operator that AutoMCU's own runtime has no kernel for.
        """
        require_supported(graph, SUPPORTED, "AutoMCU's own runtime")
        plan, cost = plan_memory(graph, kernels=self._kernels), costs(graph)
        # The linker puts a layer's constants on multiples of 4 bytes.
        padding = sum([-size % 4 for size in cost.weights_bytes])
        return FeasibilityReport(
            graph_fingerprint=graph.fingerprint,
            macs=cost.total_macs,
            weights_bytes=cost.total_weights_bytes,
            code_bytes=code_bytes(graph, self._kernels) + padding,
            activations_bytes=plan.arena_bytes,
            runtime_ram_bytes=RUNTIME_RAM_BYTES,
            binding_layer=binding_layer(graph, plan),
            heaviest_layer=heaviest_layer(graph, cost),
            busiest_layer=busiest_layer(graph, cost),
            tier=self.name,
            tool="automcu",
            tool_version=self.version,
            target=self.target,
            margin=0.0,
        )

    def close(self) -> None:
        """Nothing to free."""
