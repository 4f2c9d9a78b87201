"""Calls of the portable kernels of convolutions and dense layers, and what any other set of kernels shares of them."""

from math import prod

import numpy as np

from automcu.deploy.emit.kernel_set import Call, Fields, Layer, portable_files
from automcu.graph.requantize import activation_range, channel_scales


def conv(layer: Layer) -> Call:
    """CONV_2D; one with a 1x1 kernel and stride 1 is a dense layer of every pixel."""
    window = layer.operator.window
    assert window is not None
    if window.kernel == window.stride == (1, 1):
        _, height, width, depth = layer.inputs[0].shape
        return _dense(layer, height * width, depth)
    return _convolution(layer, "automcu_conv", "automcu_dot")


def depthwise_conv(layer: Layer) -> Call:
    """DEPTHWISE_CONV_2D."""
    return _convolution(layer, "automcu_depthwise_conv")


def fully_connected(layer: Layer) -> Call:
    """FULLY_CONNECTED."""
    units, depth = layer.operator.weights
    return _dense(layer, prod(layer.output.shape) // units, depth)


def folded_bias(layer: Layer) -> np.ndarray | None:
    """The bias of each channel less the input's zero point times the sum of the channel's weights, in wrapping int32;
    None when that is zero throughout and the layer has no bias."""
    constants, zero_point = layer.constants, layer.source.zero_point
    if constants.bias is None and zero_point == 0:
        return None
    axes = tuple(range(constants.weights.ndim))
    others = axes[:-1] if layer.operator.kind == "DEPTHWISE_CONV_2D" else axes[1:]
    sums: np.ndarray = constants.weights.sum(others, dtype=np.int64)
    bias = 0 if constants.bias is None else constants.bias.astype(np.int64)
    return (bias - zero_point * sums).astype(np.int32)


def accumulator_scales(layer: Layer) -> list[tuple[int, int]]:
    """Multiplier and shift of each output channel, or one pair for all, of a convolution or fully connected layer."""
    scales = channel_scales(layer.source, layer.constants.scales, layer.target)
    return [layer.factor(scale) for scale in scales]


def scaling_arrays(scales: list[tuple[int, int]]) -> dict[str, np.ndarray]:
    """The arrays `multiplier` and `shift` of `automcu_scaling`."""
    multipliers, shifts = zip(*scales, strict=True)
    return {"multiplier": np.array(multipliers, np.int32), "shift": np.array(shifts, np.int8)}


def scaling_field(layer: Layer, scales: list[tuple[int, int]]) -> str:
    """C initializer of an `automcu_scaling`."""
    lowest, highest = activation_range(layer.operator.activation, layer.target)
    return (
        f"{{{layer.array('multiplier')}, {layer.array('shift')}, {int(len(scales) > 1)}, "
        f"{layer.target.zero_point}, {lowest}, {highest}}}"
    )


def _dense(layer: Layer, rows: int, depth: int) -> Call:
    sizes = {"rows": rows, "depth": depth, "units": layer.operator.weights[0]}
    return _weighted(layer, ("automcu_dense", "automcu_dot"), "automcu_dense_parameters", sizes)


def _convolution(layer: Layer, *kernels: str) -> Call:
    return _weighted(layer, kernels, "automcu_convolution_parameters", convolution_sizes(layer))


def _weighted(layer: Layer, kernels: tuple[str, ...], struct: str, sizes: dict[str, int]) -> Call:
    bias, scales = folded_bias(layer), accumulator_scales(layer)
    arrays = {"weights": layer.constants.weights, **scaling_arrays(scales)}
    if bias is not None:
        arrays["bias"] = bias
    fields: Fields = {
        **sizes,
        "weights": layer.array("weights"),
        "bias": "0" if bias is None else layer.array("bias"),
        "scaling": scaling_field(layer, scales),
    }
    statement = f"{kernels[0]}(&{layer.parameters}, {layer.input_pointer()}, {layer.output_pointer});"
    return Call((statement,), portable_files(*kernels), arrays, struct, fields)


def convolution_sizes(layer: Layer) -> dict[str, int]:
    """The fields of `automcu_convolution_parameters` up to `input_zero_point`."""
    window = layer.operator.window
    assert window is not None
    sizes: dict[str, int] = {}
    for side, shape in (("input", layer.inputs[0].shape), ("output", layer.output.shape)):
        sizes |= dict(zip((f"{side}_height", f"{side}_width", f"{side}_depth"), shape[1:], strict=True))
    sizes |= dict(zip(("kernel_height", "kernel_width"), window.kernel, strict=True))
    sizes |= dict(zip(("stride_height", "stride_width"), window.stride, strict=True))
    sizes |= dict(zip(("top", "left"), layer.padding, strict=True))
    return sizes | {"input_zero_point": layer.source.zero_point}
