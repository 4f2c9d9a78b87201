"""Calls of the portable kernels of convolutions and dense layers, and what any other set of kernels shares of them."""

from math import prod

import numpy as np

from automcu.deploy.emit.kernel_set import Call, Layer, portable_files
from automcu.deploy.emit.requantize import activation_range, channel_scales, single_scale


def conv(layer: Layer) -> Call:
    """CONV_2D; one with a 1x1 kernel and stride 1 is a dense layer of every pixel."""
    window = layer.operator.window
    assert window is not None
    if window.kernel == window.stride == (1, 1):
        _, height, width, depth = layer.inputs[0].shape
        return _dense(layer, height * width, depth, convolution_scaling(layer))
    return _convolution(layer, "automcu_conv", folded_bias(layer, (1, 2, 3)))


def depthwise_conv(layer: Layer) -> Call:
    """DEPTHWISE_CONV_2D."""
    return _convolution(layer, "automcu_depthwise_conv", folded_bias(layer, (0, 1, 2)))


def fully_connected(layer: Layer) -> Call:
    """FULLY_CONNECTED."""
    units, depth = layer.operator.weights
    return _dense(layer, prod(layer.output.shape) // units, depth, dense_scaling(layer))


def folded_bias(layer: Layer, axes: tuple[int, ...]) -> np.ndarray | None:
    """The bias less the input's zero point times each channel's sum of weights (over `axes`), in wrapping int32; None
    when that is zero throughout and the layer has no bias."""
    constants, zero_point = layer.constants, layer.source.zero_point
    if constants.bias is None and zero_point == 0:
        return None
    folded: np.ndarray = -zero_point * constants.weights.sum(axes, dtype=np.int64)
    if constants.bias is not None:
        folded = folded + constants.bias
    return folded.astype(np.int32)


def convolution_scaling(layer: Layer) -> list[tuple[int, int]]:
    """Multiplier and shift of a convolution's channels, or one pair for all."""
    return channel_scales(layer.source, layer.constants.scales, layer.target)


def dense_scaling(layer: Layer) -> list[tuple[int, int]]:
    """Multiplier and shift of a fully connected layer's units, or one pair for all."""
    rule = channel_scales if len(layer.constants.scales) > 1 else single_scale
    return rule(layer.source, layer.constants.scales, layer.target)


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


def _weighted(
    layer: Layer,
    function: str,
    struct: str,
    sizes: dict[str, int],
    bias: np.ndarray | None,
    scales: list[tuple[int, int]],
) -> Call:
    arrays = {"weights": layer.constants.weights}
    if bias is not None:
        arrays["bias"] = bias
    return Call(
        statements=(f"{function}(&{layer.parameters}, {layer.input_pointer()}, {layer.output_pointer});",),
        files=portable_files(function),
        arrays=arrays | scaling_arrays(scales),
        struct=struct,
        fields={
            **sizes,
            "weights": layer.array("weights"),
            "bias": "0" if bias is None else layer.array("bias"),
            "scaling": scaling_field(layer, scales),
        },
    )


def _dense(layer: Layer, rows: int, depth: int, scales: list[tuple[int, int]]) -> Call:
    units = layer.operator.weights[0]
    sizes = {"rows": rows, "depth": depth, "units": units}
    axes = tuple(range(1, len(layer.operator.weights)))
    return _weighted(layer, "automcu_dense", "automcu_dense_parameters", sizes, folded_bias(layer, axes), scales)


def _convolution(layer: Layer, function: str, bias: np.ndarray | None) -> Call:
    return _weighted(
        layer, function, "automcu_convolution_parameters", convolution_sizes(layer), bias, convolution_scaling(layer)
    )


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
