"""A .tflite file read whole: the int8 graph with weights, biases, quantization and attributes, all checked."""

import math
from dataclasses import replace

import numpy as np
import tflite

from automcu.graph.int8 import Operator
from automcu.graph.int8_model import Attributes, Constants, Int8Model, Quantization
from automcu.graph.tflite.file import RECONVERT, TfliteFile, UnsupportedModel
from automcu.graph.tflite.raw_operator import RawOperator
from automcu.graph.tflite.reader import GraphReader, damaged, require_tflite

_CHANNEL_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}
"""The axis of the weights along which scales may differ."""
_FIXED = {
    "LOGISTIC": Quantization(1 / 256, -128),
    "SOFTMAX": Quantization(1 / 256, -128),
    "TANH": Quantization(1 / 128, 0),
}
"""Quantization of the outputs of kinds whose range is known."""
_ZERO_POINTS = {"int8": (-128, 127), "uint8": (0, 255), "int32": (0, 0)}


def read_model(data: bytes) -> Int8Model:
    """The network in the .tflite file `data`; its graph is `read_tflite(data)`.

    Raises `UnsupportedModel` as `read_tflite` does, and for quantization that is missing, not finite, or not that of
    TensorFlow's int8 scheme: symmetric weights with one scale for each output channel or one in all, int32 biases,
    and outputs of SOFTMAX, LOGISTIC and TANH that hold their whole range.
    """
    require_tflite(data)
    try:
        reader = GraphReader(TfliteFile(data))
        graph = reader.read()
        file = reader.file
        quantization = tuple(
            None if file.dtype(number) == "float32" else _quantization(file, number)
            for number in sorted(reader.tensors)
        )
        for raw, operator in zip(reader.raw_operators, graph.operators, strict=True):
            found, fixed = quantization[operator.output], _FIXED.get(operator.kind)
            if found is not None and fixed is not None and found != fixed:
                raise UnsupportedModel(
                    f"{raw} has the output scale {found.scale} and zero point {found.zero_point} where {fixed.scale} "
                    f"and {fixed.zero_point} hold its range; {RECONVERT}"
                )
        return Int8Model(
            graph=graph,
            quantization=quantization,
            constants=tuple(map(_constants, reader.raw_operators, graph.operators)),
            attributes=tuple(map(_attributes, reader.raw_operators, graph.operators)),
        )
    except TfliteFile.DAMAGE as error:
        raise damaged() from error


def _quantization(file: TfliteFile, number: int) -> Quantization:
    """One scale and one zero point for a whole tensor."""
    scales, zero_points = file.quantization(number)
    if len(scales) != 1 or len(zero_points) != 1:
        raise UnsupportedModel(
            f"tensor {file.label(number)} has {len(scales)} scales and {len(zero_points)} zero points; {RECONVERT}"
        )
    scale, zero_point = float(scales[0]), int(zero_points[0])
    lowest, highest = _ZERO_POINTS[file.dtype(number)]
    if not (math.isfinite(scale) and scale > 0 and lowest <= zero_point <= highest):
        raise UnsupportedModel(
            f"tensor {file.label(number)} has scale {scale} and zero point {zero_point}; {RECONVERT}"
        )
    return Quantization(scale, zero_point)


def _constants(raw: RawOperator, operator: Operator) -> Constants | None:
    if not operator.weights:
        return None
    first = operator.kind not in _CHANNEL_AXIS and raw.is_constant(0)
    number = raw.inputs[0 if first else 1]
    file = raw.file
    weights = file.values(number, np.int8).reshape(operator.weights)
    if operator.kind not in _CHANNEL_AXIS:
        quantization = _quantization(file, number)
        return Constants(weights, np.array([quantization.scale], np.float32), quantization.zero_point, first=first)
    channels = operator.weights[_CHANNEL_AXIS[operator.kind]]
    scales, zero_points = file.quantization(number)
    if len(scales) not in (1, channels) or not (np.isfinite(scales).all() and (scales > 0).all()):
        raise UnsupportedModel(
            f"{raw} has {len(scales)} weight scales for {channels} channels, or bad ones; {RECONVERT}"
        )
    if len(scales) > 1 and file.quantized_axis(number) != _CHANNEL_AXIS[operator.kind]:
        raise UnsupportedModel(f"{raw} has weight scales along axis {file.quantized_axis(number)}; {RECONVERT}")
    if len(zero_points) not in (1, len(scales)) or zero_points.any():
        raise UnsupportedModel(f"{raw} has weights with zero points other than 0; {RECONVERT}")
    bias = file.values(raw.inputs[2], np.int32) if operator.bias else None
    return Constants(weights, scales, 0, bias)


def _attributes(raw: RawOperator, operator: Operator) -> Attributes:
    match operator.kind:
        case "SOFTMAX":
            beta = _finite(raw, raw.options(tflite.SoftmaxOptions()).Beta())
            if beta <= 0:
                raise UnsupportedModel(f"{raw} has beta {beta}; {RECONVERT}")
            return Attributes(beta=beta)
        case "LEAKY_RELU":
            return Attributes(alpha=_finite(raw, raw.options(tflite.LeakyReluOptions()).Alpha()))
        case "CONCATENATION":
            return Attributes(axis=raw.options(tflite.ConcatenationOptions()).Axis() % len(raw.output.shape))
        case "TRANSPOSE":
            return Attributes(order=raw.int32_constants())
        case "RESIZE_BILINEAR" | "RESIZE_NEAREST_NEIGHBOR":
            bilinear = operator.kind == "RESIZE_BILINEAR"
            options = raw.options(tflite.ResizeBilinearOptions() if bilinear else tflite.ResizeNearestNeighborOptions())
            attributes = Attributes()
            if options.AlignCorners():
                attributes = replace(attributes, sampling="align_corners")
            elif options.HalfPixelCenters():
                attributes = replace(attributes, sampling="half_pixel_centers")
            return attributes
    return Attributes()


def _finite(raw: RawOperator, value: float) -> float:
    if not math.isfinite(value):
        raise UnsupportedModel(f"{raw} has the attribute {value}; {RECONVERT}")
    return value
