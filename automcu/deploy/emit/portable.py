"""The portable kernels: plain C99 for any core, every operator that AutoMCU deploys."""

import numpy as np

from automcu.deploy.emit.kernel_set import KERNELS, Call, Layer
from automcu.deploy.emit.requantize import activation_range, channel_scales, single_scale

FOLDER = KERNELS / "portable"
HEADER = FOLDER / "automcu_kernels.h"


class Portable:
    """The kernels of `kernels/portable`."""

    supported = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})

    def call(self, layer: Layer) -> Call:
        """As `KernelCalls.call`."""
        match layer.operator.kind:
            case "CONV_2D":
                window = layer.operator.window
                assert window is not None
                if window.kernel == window.stride == (1, 1):
                    _, height, width, depth = layer.inputs[0].shape
                    return _dense(layer, height * width, depth, convolution_scaling(layer))
                return _convolution(layer, "automcu_conv", folded_bias(layer, (1, 2, 3)))
            case "DEPTHWISE_CONV_2D":
                return _convolution(layer, "automcu_depthwise_conv", folded_bias(layer, (0, 1, 2)))
            case "FULLY_CONNECTED":
                units, depth = layer.operator.weights
                rows = int(np.prod(layer.output.shape)) // units
                return _dense(layer, rows, depth, dense_scaling(layer))
        raise layer.refuse("has no kernel", f"use {', '.join(sorted(self.supported))}")


def folded_bias(layer: Layer, axes: tuple[int, ...]) -> np.ndarray | None:
    """The bias less the input's zero point times each channel's sum of weights (over `axes`), in wrapping int32; None
    when that is zero throughout and the layer has no bias."""
    constants, zero_point = layer.constants, layer.source.zero_point
    if constants.bias is None and zero_point == 0:
        return None
    folded = -zero_point * constants.weights.sum(axes, dtype=np.int64)
    if constants.bias is not None:
        folded += constants.bias
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
        files=(HEADER, FOLDER / f"{function}.c"),
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
