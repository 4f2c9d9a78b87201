"""Calls of CMSIS-NN 4.0.0, for comparison; what it lacks here (sums, softmax, all that is rare) is portable."""

from collections.abc import Callable
from math import prod

import numpy as np

from automcu.deploy.emit.cmsis_nn_sources import cmsis_nn_sources
from automcu.deploy.emit.convolutions import accumulator_scales
from automcu.deploy.emit.kernel_set import KERNELS, Call, Fields, Layer
from automcu.deploy.emit.portable import Portable
from automcu.graph.requantize import activation_range

_FOLDER = KERNELS / "cmsis_nn"


class CmsisNN:
    """The kernels of CMSIS-NN, and the portable ones for the rest."""

    supported = Portable.supported

    def __init__(self) -> None:
        self._portable = Portable()

    def call(self, layer: Layer) -> Call:
        """As `KernelCalls.call`. Raises `ConfigError` or `InfraFailure` where CMSIS-NN's sources are not installed."""
        kernel = _CALLS.get(layer.operator.kind)
        return self._portable.call(layer) if kernel is None else kernel(layer)


def _conv(layer: Layer) -> Call:
    units, *kernel, _ = layer.operator.weights
    return _per_channel(layer, "conv", _map(layer.inputs[0].shape), (units, *kernel), _map(layer.output.shape))


def _depthwise_conv(layer: Layer) -> Call:
    copies = layer.operator.weights[3] // layer.inputs[0].shape[3]
    shapes = _map(layer.inputs[0].shape), layer.operator.weights[:3], _map(layer.output.shape)
    return _per_channel(layer, "depthwise_conv", *shapes, copies)


def _fully_connected(layer: Layer) -> Call:
    units, depth = layer.operator.weights
    rows = prod(layer.output.shape) // units
    scales = accumulator_scales(layer)
    if len(scales) > 1:
        return _per_channel(layer, "conv", (1, 1, rows, depth), (units, 1, 1), (1, 1, rows, units))
    lowest, highest = activation_range(layer.operator.activation, layer.target)
    fields: Fields = {
        "dense": f"{{{-layer.source.zero_point}, 0, {layer.target.zero_point}, {{{lowest}, {highest}}}}}",
        "scaling": f"{{{scales[0][0]}, {scales[0][1]}}}",
        **_dims(input=(rows, 1, 1, depth), filter=(depth, 1, 1, units), output=(rows, 1, 1, units)),
    }
    return _call(layer, "fully_connected", fields, _weights(layer))


def _per_channel(
    layer: Layer,
    kernel: str,
    source: tuple[int, ...],
    weights: tuple[int, ...],
    output: tuple[int, ...],
    copies: int | None = None,
) -> Call:
    """A convolution; `copies` is the depth multiplier of a depthwise one."""
    window = layer.operator.window
    down, right = (1, 1) if window is None else window.stride
    top, left = (0, 0) if window is None else layer.padding
    scales = np.array(accumulator_scales(layer), np.int32).T * np.ones((1, output[3]), np.int32)
    lowest, highest = activation_range(layer.operator.activation, layer.target)
    offsets = [-layer.source.zero_point, layer.target.zero_point, *([] if copies is None else [copies])]
    tiles = f"{{{right}, {down}}}, {{{left}, {top}}}, {{1, 1}}, {{{lowest}, {highest}}}"
    arrays = _weights(layer) | {"multiplier": scales[0], "shift": scales[1]}
    fields: Fields = {
        "convolution": f"{{{', '.join(map(str, offsets))}, {tiles}}}",
        "scaling": f"{{(int32_t *){layer.array('multiplier')}, (int32_t *){layer.array('shift')}}}",
        **_dims(input=source, filter=(*weights, source[3]), output=output),
        "scratch_bytes": _scratch_bytes(layer),
    }
    return _call(layer, kernel, fields, arrays)


def _pool(layer: Layer) -> Call:
    window = layer.operator.window
    assert window is not None
    (down, right), (top, left) = window.stride, layer.padding
    lowest, highest = activation_range(layer.operator.activation, layer.target)
    fields: Fields = {
        "pool": f"{{{{{right}, {down}}}, {{{left}, {top}}}, {{{lowest}, {highest}}}}}",
        **_dims(input=layer.inputs[0].shape, filter=(1, *window.kernel, 1), output=layer.output.shape),
        "scratch_bytes": _scratch_bytes(layer),
    }
    return _call(layer, "average_pool" if layer.operator.kind == "AVERAGE_POOL_2D" else "max_pool", fields, {})


def _call(layer: Layer, kernel: str, fields: Fields, arrays: dict[str, np.ndarray]) -> Call:
    scratch = layer.scratch_pointers[0] if layer.scratch_pointers else "0"
    pointers = f"{layer.input_pointer()}, {layer.output_pointer}, {scratch}"
    constants = {key: layer.array(key) if key in arrays else "0" for key in ("weights", "bias")} if arrays else {}
    return Call(
        statements=(f"automcu_cmsis_{kernel}(&{layer.parameters}, {pointers});",),
        files=(_FOLDER / "automcu_cmsis_nn.h", _FOLDER / "automcu_cmsis_nn.c"),
        arrays=arrays,
        struct=f"automcu_cmsis_{kernel}_parameters" if arrays else "automcu_cmsis_pool_parameters",
        fields={**fields, **constants},
        texts=cmsis_nn_sources(),
    )


def _weights(layer: Layer) -> dict[str, np.ndarray]:
    bias = layer.constants.bias
    return {"weights": layer.constants.weights} | ({} if bias is None else {"bias": bias})


def _map(shape: tuple[int, ...]) -> tuple[int, ...]:
    return 1, *shape[1:]


def _dims(**shapes: tuple[int, ...]) -> Fields:
    """Initializers of `cmsis_nn_dims`."""
    return {key: f"{{{', '.join(map(str, shape))}}}" for key, shape in shapes.items()}


def _scratch_bytes(layer: Layer) -> int:
    return sum(buffer.bytes for buffer in layer.plan.scratch if buffer.operator == layer.index)


_CALLS: dict[str, Callable[[Layer], Call]] = {
    "AVERAGE_POOL_2D": _pool,
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise_conv,
    "FULLY_CONNECTED": _fully_connected,
    "MAX_POOL_2D": _pool,
}
