"""The tier that states what a network costs on AutoMCU's own runtime: emitted C code, no interpreter."""

from collections.abc import Callable
from pathlib import Path

from automcu import __version__
from automcu.feasibility.tier import binding_layer, busiest_layer, heaviest_layer, require_supported
from automcu.graph.costs import costs
from automcu.graph.int8 import Int8Graph
from automcu.graph.kernel_sets import KernelSet
from automcu.graph.planner import plan_memory
from automcu.results import FeasibilityReport

CODE_BYTES = 10_240
"""Kernels, start-up code and driver. Two whole images were linked for a Cortex-M4 (-O2, GCC 12): all but weights and
biases came to 9,760 B and 8,432 B, tables of requantization included; those are counted apart here, which makes the
figure conservative until each network's code is linked and measured."""
TABLE_BYTES_PER_CHANNEL = 8
"""An int32 multiplier and an int32 shift for each output channel of a layer with weights."""
RUNTIME_RAM_BYTES = 1_024
"""8 B of static data and the UART driver's state beside the arena were measured, and at most 248 B of stack; the
board's reserve covers the stack, so that this is conservative."""
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
    """Exact activations and weights, stated constants for the runtime; needs no file and no tool."""

    name = "planner"
    version = __version__

    def __init__(self, kernels: KernelSet = "portable") -> None:
        """`kernels` are those that will run the network: their scratch buffers count, see `kernel_set_for`."""
        self._kernels = kernels
        self.target = "any Cortex-M" if kernels == "portable" else f"Cortex-M with {kernels} kernels"

    def report(self, graph: Int8Graph, model_file: Callable[[], Path]) -> FeasibilityReport:
        """What the network of `graph` costs; `model_file` is not used.

        Raises `CandidateFailure` for an operator that AutoMCU's own runtime has no kernel for.
        """
        require_supported(graph, SUPPORTED, "AutoMCU's own runtime")
        plan, cost = plan_memory(graph, kernels=self._kernels), costs(graph)
        # The linker puts a layer's constants on multiples of 4 bytes.
        padding = sum([-size % 4 for size in cost.weights_bytes])
        channels = sum(graph.tensors[op.output].shape[-1] for op in graph.operators if op.weights)
        return FeasibilityReport(
            graph_fingerprint=graph.fingerprint,
            macs=cost.total_macs,
            weights_bytes=cost.total_weights_bytes,
            code_bytes=CODE_BYTES + TABLE_BYTES_PER_CHANNEL * channels + padding,
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
