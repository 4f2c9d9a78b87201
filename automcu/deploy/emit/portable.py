"""The portable kernels: plain C99 for any core, every operator that AutoMCU deploys."""

from collections.abc import Callable

from automcu.deploy.emit import convolutions, elementwise, reductions
from automcu.deploy.emit.kernel_set import Call, Layer

_CALLS: dict[str, Callable[[Layer], Call]] = {
    "ADD": elementwise.add,
    "AVERAGE_POOL_2D": reductions.average_pool,
    "CONCATENATION": reductions.concatenation,
    "CONV_2D": convolutions.conv,
    "DEPTHWISE_CONV_2D": convolutions.depthwise_conv,
    "DEQUANTIZE": elementwise.dequantize,
    "EXPAND_DIMS": reductions.reshape,
    "FULLY_CONNECTED": convolutions.fully_connected,
    "HARD_SWISH": elementwise.table,
    "LEAKY_RELU": elementwise.table,
    "LOGISTIC": elementwise.table,
    "MAXIMUM": elementwise.extremum,
    "MAX_POOL_2D": reductions.max_pool,
    "MEAN": reductions.mean,
    "MINIMUM": elementwise.extremum,
    "MUL": elementwise.multiply,
    "PAD": reductions.pad,
    "PRELU": elementwise.prelu,
    "QUANTIZE": elementwise.quantize,
    "REDUCE_MAX": reductions.reduce_max,
    "RELU": elementwise.relu,
    "RELU6": elementwise.relu6,
    "RESHAPE": reductions.reshape,
    "SOFTMAX": reductions.softmax,
    "SQUEEZE": reductions.reshape,
    "SUB": elementwise.add,
    "TANH": elementwise.table,
    "TRANSPOSE": reductions.transpose,
}


class Portable:
    """The kernels of `kernels/portable`."""

    supported = frozenset(_CALLS)

    def call(self, layer: Layer) -> Call:
        """As `KernelCalls.call`."""
        return _CALLS[layer.operator.kind](layer)
