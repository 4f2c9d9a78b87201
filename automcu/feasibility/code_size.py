"""What AutoMCU's runtime takes of Flash beside weights and biases, at most, before anything is linked.

The figures are those that `python -m experiments.code_size.measure` prints: sizes of linked functions, the largest of
several cores. Firmware (start-up, serial protocol, set-up of the part) is the same for all networks; code that kinds of
operators share counts for each of them, so that linked images are smaller, not larger.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from automcu.graph.int8 import Int8Graph
from automcu.graph.kernel_sets import KernelSet


@dataclass(frozen=True, slots=True)
class CodeSize:
    """Bytes of one kernel set: the firmware with a network that computes nothing; each operator, for its call and its
    parameters; each output channel of an operator with weights, for its scale; and the kernels of each kind."""

    firmware: int
    operator: int
    channel: int
    kernels: Mapping[str, int]


PORTABLE = CodeSize(
    firmware=2_420,
    operator=64,
    channel=8,
    kernels={
        "ADD": 429,
        "AVERAGE_POOL_2D": 941,
        "CONCATENATION": 51,
        "CONV_2D": 1_881,
        "DEPTHWISE_CONV_2D": 1_485,
        "DEQUANTIZE": 1_483,  # soft floating point on a Cortex-M0+, as in QUANTIZE
        "EXPAND_DIMS": 0,
        "FULLY_CONNECTED": 748,
        "HARD_SWISH": 141,
        "LEAKY_RELU": 141,
        "LOGISTIC": 141,
        "MAXIMUM": 111,
        "MAX_POOL_2D": 301,
        "MEAN": 207,
        "MINIMUM": 111,
        "MUL": 243,
        "PAD": 304,
        "PRELU": 391,
        "QUANTIZE": 2_891,
        "REDUCE_MAX": 301,
        "RELU": 193,
        "RELU6": 55,
        "RESHAPE": 0,
        "SOFTMAX": 1_102,
        "SQUEEZE": 0,
        "SUB": 429,
        "TANH": 141,
        "TRANSPOSE": 145,
    },
)
DSP = PORTABLE
_SIZES: Mapping[KernelSet, CodeSize] = {"portable": PORTABLE, "dsp": DSP}


def code_bytes(graph: Int8Graph, kernels: KernelSet) -> int:
    """Flash that `graph` takes at most beside its weights and biases, by AutoMCU's own `kernels`.

    Kinds of operators without a kernel count nothing.
    """
    size = _SIZES[kernels]
    channels = sum(graph.tensors[op.output].shape[-1] for op in graph.operators if op.weights)
    kinds = {operator.kind for operator in graph.operators}
    return (
        size.firmware
        + sum(size.kernels.get(kind, 0) for kind in kinds)
        + size.operator * len(graph.operators)
        + size.channel * channels
    )
