"""The attributes of operators, as the tables of options that a .tflite file keeps them in."""

from collections.abc import Mapping

import flatbuffers
import numpy as np
import tflite

from automcu.graph.int8 import Int8Graph, Operator, Window
from automcu.graph.int8_model import Attributes

_PADDINGS = {"SAME": tflite.Padding.SAME, "VALID": tflite.Padding.VALID}
_ACTIVATIONS = {
    "NONE": tflite.ActivationFunctionType.NONE,
    "RELU": tflite.ActivationFunctionType.RELU,
    "RELU6": tflite.ActivationFunctionType.RELU6,
}
_TABLES = {
    "ADD": "AddOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "CONCATENATION": "ConcatenationOptions",
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "LEAKY_RELU": "LeakyReluOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "MUL": "MulOptions",
    "PAD": "PadOptions",
    "REDUCE_MAX": "ReducerOptions",
    "RESIZE_BILINEAR": "ResizeBilinearOptions",
    "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions",
    "SOFTMAX": "SoftmaxOptions",
    "SQUEEZE": "SqueezeOptions",
    "SUB": "SubOptions",
}
"""The schema's table of each kind that has one in the converter's files."""


def write_options(
    builder: flatbuffers.Builder, graph: Int8Graph, operator: Operator, attributes: Attributes
) -> tuple[int, int] | None:
    """Type and offset of the operator's table of options, None for a kind without."""
    table = _TABLES.get(operator.kind)
    if table is None:
        return None
    fields = dict(_fields(graph, operator, attributes))
    if operator.kind == "SQUEEZE":
        dropped = _dropped(graph.tensors[operator.inputs[0]].shape, graph.tensors[operator.output].shape)
        fields["SqueezeDims"] = builder.CreateNumpyVector(np.array(dropped, np.int32))
    getattr(tflite, f"{table}Start")(builder)
    for name, value in fields.items():
        getattr(tflite, f"{table}Add{name}")(builder, value)
    return getattr(tflite.BuiltinOptions, table), getattr(tflite, f"{table}End")(builder)


def _fields(graph: Int8Graph, operator: Operator, attributes: Attributes) -> Mapping[str, float]:
    """The fields of the table, by the schema's names."""
    source, output = graph.tensors[operator.inputs[0]].shape, graph.tensors[operator.output].shape
    activation = {"FusedActivationFunction": _ACTIVATIONS[operator.activation]}
    match operator.kind, operator.window:
        case "CONV_2D", Window() as window:
            return {**_sliding(window), **activation}
        case "DEPTHWISE_CONV_2D", Window() as window:
            return {**_sliding(window), "DepthMultiplier": operator.weights[3] // source[3], **activation}
        case (("AVERAGE_POOL_2D" | "MAX_POOL_2D"), Window() as window):
            kernel = {"FilterHeight": window.kernel[0], "FilterWidth": window.kernel[1]}
            return {**_sliding(window), **kernel, **activation}
        case "FULLY_CONNECTED", _:
            return {**activation, "KeepNumDims": len(output) > 2}
        case (("ADD" | "SUB" | "MUL"), _):
            return activation
        case "CONCATENATION", _:
            return {"Axis": attributes.axis, **activation}
        case (("MEAN" | "REDUCE_MAX"), _):
            return {"KeepDims": len(output) == len(source)}
        case "SOFTMAX", _:
            return {"Beta": attributes.beta}
        case "LEAKY_RELU", _:
            return {"Alpha": attributes.alpha}
        case (("RESIZE_BILINEAR" | "RESIZE_NEAREST_NEIGHBOR"), _):
            return {
                "AlignCorners": attributes.sampling == "align_corners",
                "HalfPixelCenters": attributes.sampling == "half_pixel_centers",
            }
    return {}


def _sliding(window: Window) -> Mapping[str, float]:
    return {"Padding": _PADDINGS[window.padding], "StrideH": window.stride[0], "StrideW": window.stride[1]}


def _dropped(source: tuple[int, ...], output: tuple[int, ...]) -> list[int]:
    """The axes of `source` that are not in `output`."""
    dropped = []
    kept = 0
    for axis, extent in enumerate(source):
        if kept < len(output) and extent == output[kept]:
            kept += 1
        else:
            dropped.append(axis)
    return dropped
