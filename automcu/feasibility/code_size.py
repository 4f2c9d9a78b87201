"""What AutoMCU's runtime takes of Flash beside weights and biases, at most, before anything is linked.

The figures are those that `python -m benchmarks.code_size` prints: sizes of linked functions, the largest of
several cores and of many operators of each kind, so that a network's image is smaller, not larger. Firmware is
start-up, serial protocol and set-up of the part.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass

from automcu.graph.int8 import Int8Graph
from automcu.graph.kernel_sets import KernelSet


@dataclass(frozen=True, slots=True)
class CodeSize:
    """Bytes of one kernel set: the firmware with a network that computes nothing, with 128 B more than measured for
    boards whose set-up is longer; each operator, for its call and its parameters; each output channel of an operator
    with weights, for its scale; and the kernels' functions, by the kinds of operators (separated by spaces) any of
    which needs them."""

    firmware: int
    operator: int
    channel: int
    kernels: Mapping[str, int]

    def of(self, kinds: Set[str]) -> int:
        """All kernels that a network of these kinds needs."""
        return sum(size for users, size in self.kernels.items() if not kinds.isdisjoint(users.split()))


PORTABLE = CodeSize(
    firmware=2_432,
    operator=84,
    channel=5,
    kernels={
        "ADD SUB": 428,
        "AVERAGE_POOL_2D": 332,
        "AVERAGE_POOL_2D DEPTHWISE_CONV_2D": 456,
        "AVERAGE_POOL_2D DEPTHWISE_CONV_2D DEQUANTIZE QUANTIZE": 136,
        "CONCATENATION": 48,
        "CONV_2D": 1_132,
        "CONV_2D FULLY_CONNECTED": 744,
        "DEPTHWISE_CONV_2D": 900,
        "DEQUANTIZE": 880,
        "DEQUANTIZE QUANTIZE": 448,
        "HARD_SWISH LEAKY_RELU LOGISTIC TANH": 140,
        "MAXIMUM MINIMUM": 108,
        "MAX_POOL_2D REDUCE_MAX": 300,
        "MEAN": 204,
        "MUL": 240,
        "PAD": 304,
        "PRELU": 388,
        "QUANTIZE": 2_060,
        "QUANTIZE RELU": 192,
        "RELU6": 52,
        "SOFTMAX": 1_112,
        "TRANSPOSE": 144,
    },
)
DSP = CodeSize(
    firmware=2_688,
    operator=100,
    channel=8,
    kernels={
        "ADD": 484,
        "ADD AVERAGE_POOL_2D CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED MUL": 464,
        "ADD SUB": 368,
        "AVERAGE_POOL_2D": 660,
        "AVERAGE_POOL_2D MEAN": 672,
        "CONCATENATION": 48,
        "CONV_2D": 1_520,
        "CONV_2D DEPTHWISE_CONV_2D": 492,
        "CONV_2D DEPTHWISE_CONV_2D PAD": 36,
        "CONV_2D FULLY_CONNECTED": 4_752,
        "DEPTHWISE_CONV_2D": 3_880,
        "DEQUANTIZE": 72,
        "HARD_SWISH LEAKY_RELU LOGISTIC TANH": 144,
        "MAXIMUM MINIMUM": 104,
        "MAX_POOL_2D REDUCE_MAX": 320,
        "MEAN": 332,
        "MUL": 244,
        "PAD": 268,
        "PRELU": 268,
        "QUANTIZE": 184,
        "QUANTIZE RELU": 164,
        "RELU6": 56,
        "SOFTMAX": 800,
        "TRANSPOSE": 152,
    },
)
_TABLE_BYTES = {"HARD_SWISH": 256, "LEAKY_RELU": 256, "LOGISTIC": 256, "TANH": 256}
"""Each operator of these kinds looks its outputs up in a table of all inputs."""
_SCALED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})
"""Kinds with a scale for each output channel."""
_BIAS_BYTES = 4
"""Kernels take input zero points out by the biases: a layer without has one for each channel all the same."""
_SIZES: Mapping[KernelSet, CodeSize] = {"portable": PORTABLE, "dsp": DSP}


def code_bytes(graph: Int8Graph, kernels: KernelSet) -> int:
    """Flash that `graph` takes at most beside its weights and biases, by AutoMCU's own `kernels`.

    Kinds of operators without a kernel count nothing.
    """
    size = _SIZES[kernels]
    layers = [(graph.tensors[op.output].shape[-1], op.bias) for op in graph.operators if op.kind in _SCALED]
    kinds = {operator.kind for operator in graph.operators}
    return (
        size.firmware
        + size.of(kinds)
        + size.operator * len(graph.operators)
        + sum(size.channel * channels + (0 if bias else _BIAS_BYTES * channels) for channels, bias in layers)
        + sum(_TABLE_BYTES.get(op.kind, 0) for op in graph.operators)
    )
