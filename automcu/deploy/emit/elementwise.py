"""Calls of the portable kernels that compute every element by itself: sums, products, activations, (de)quantization."""

from dataclasses import dataclass
from math import prod

import numpy as np

from automcu.deploy.emit import tables
from automcu.deploy.emit.kernel_set import Call, Fields, Layer, portable_files
from automcu.graph.int8_model import Quantization
from automcu.graph.requantize import INT8_RANGE, activation_range

_SAME_SCALE = (1 << 30, 1)
_SUM_BITS = 20
"""Fractional bits that ADD and SUB compute with."""


@dataclass(frozen=True, slots=True)
class Operand:
    """One side of a pairwise operator: the C expression of its address, and how it spreads over the output."""

    address: str
    quantization: Quantization
    shape: tuple[int, ...]


def add(layer: Layer) -> Call:
    """ADD and SUB, of two activations or of one and a constant."""
    operands, whole = operands_of(layer)
    subtract = layer.operator.kind == "SUB"
    scales, output = sum_scales(layer, [operand.quantization.scale for operand in operands])
    sides = [
        f"{{{operand.quantization.zero_point}, {multiplier}, {shift}, {-1 if subtract and position else 1}}}"
        for position, (operand, (multiplier, shift)) in enumerate(zip(operands, scales, strict=True))
    ]
    fields = {"whole": sides[whole], "other": sides[1 - whole], "rescaling": _rescaling(layer, output)}
    return _pairwise(layer, "automcu_add", operands, whole, fields)


def multiply(layer: Layer) -> Call:
    """MUL, of two activations or of one and a constant."""
    operands, whole = operands_of(layer)
    first, second = (operand.quantization for operand in operands)
    scale = layer.factor(first.scale * second.scale / layer.target.scale)
    fields: Fields = {
        "whole_zero_point": operands[whole].quantization.zero_point,
        "other_zero_point": operands[1 - whole].quantization.zero_point,
        "rescaling": _rescaling(layer, scale),
    }
    return _pairwise(layer, "automcu_mul", operands, whole, fields)


def extremum(layer: Layer) -> Call:
    """MINIMUM and MAXIMUM: stored values are compared, whatever their scales."""
    operands, whole = operands_of(layer)
    return _pairwise(layer, "automcu_extremum", operands, whole, {"maximum": int(layer.operator.kind == "MAXIMUM")})


def prelu(layer: Layer) -> Call:
    """PRELU with its slopes."""
    constants = layer.constants
    slopes = Quantization(float(constants.scales[0]), constants.zero_point)
    source, target = layer.source, layer.target
    operands = (
        Operand(layer.input_pointer(), source, layer.inputs[0].shape),
        Operand(layer.array("constant"), slopes, layer.operator.weights),
    )
    negative = layer.factor(source.scale * slopes.scale / target.scale)
    fields: Fields = {
        "input_zero_point": source.zero_point,
        "slope_zero_point": slopes.zero_point,
        "positive": _rescaling(layer, layer.factor(source.scale / target.scale)),
        "negative": _rescaling(layer, negative),
    }
    return _pairwise(layer, "automcu_prelu", operands, 0, fields)


def table(layer: Layer) -> Call:
    """LOGISTIC, TANH, HARD_SWISH and LEAKY_RELU: a table of all 256 inputs."""
    source, target = layer.source, layer.target
    match layer.operator.kind:
        case "LOGISTIC":
            if target.zero_point != INT8_RANGE[0]:
                raise layer.refuse(
                    f"has the output zero point {target.zero_point}, not -128", "convert the network again"
                )
            values = [tables.logistic(value, source) for value in _ALL]
        case "TANH":
            values = [tables.tanh(value, source) for value in _ALL]
        case "HARD_SWISH":
            if source.scale / 128 / target.scale >= 1:
                raise layer.refuse("has an output scale below 1/128 of the input's", "convert the network again")
            values = [tables.hard_swish(value, source, target) for value in _ALL]
        case _:
            values = [tables.leaky_relu(value, source, target, layer.attributes.alpha) for value in _ALL]
    # Ordered by the byte that is stored: 0..127, then -128..-1.
    ordered = np.array(values[128:] + values[:128], np.int8)
    arguments = f"{layer.array('table')}, {layer.input_pointer()}, {layer.output_pointer}, {prod(layer.output.shape)}"
    return Call((f"automcu_table({arguments});",), portable_files("automcu_table"), {"table": ordered})


def relu(layer: Layer) -> Call:
    """RELU on its own."""
    lowest, highest = activation_range("RELU", layer.target)
    return _rescale(layer, lowest, highest)


def relu6(layer: Layer) -> Call:
    """RELU6 on its own: the input's stored values are clamped, whatever the output's scale."""
    lowest, highest = activation_range("RELU6", layer.source)
    arguments = f"{layer.input_pointer()}, {layer.output_pointer}, {prod(layer.output.shape)}, {lowest}, {highest}"
    return Call((f"automcu_clip({arguments});",), portable_files("automcu_rescale"))


def quantize(layer: Layer) -> Call:
    """QUANTIZE: float32 to int8, or from one 8-bit type, scale and zero point to another."""
    source, target = layer.inputs[0].dtype, layer.output.dtype
    count = prod(layer.output.shape)
    if source == "float32":
        if target != "int8":
            raise layer.refuse(f"makes {target} of float32", "let it make int8")
        arguments = f"{count}, {_float(layer.target.scale)}, {layer.target.zero_point}"
        statement = f"automcu_quantize({layer.input_pointer()}, {layer.output_pointer}, {arguments});"
        return Call((statement,), portable_files("automcu_float"))
    if target == "float32":
        raise layer.refuse("makes float32", "use DEQUANTIZE for that")
    lowest, highest = INT8_RANGE
    return _rescale(layer, lowest, highest)


def dequantize(layer: Layer) -> Call:
    """DEQUANTIZE: an 8-bit type to float32."""
    if layer.inputs[0].dtype == "float32" or layer.output.dtype != "float32":
        raise layer.refuse(f"makes {layer.output.dtype} of {layer.inputs[0].dtype}", "let it make float32 of int8")
    flip, zero_point = _as_int8(layer.inputs[0].dtype, layer.source)
    arguments = f"{prod(layer.output.shape)}, {_float(layer.source.scale)}, {zero_point}, {flip}"
    statement = f"automcu_dequantize({layer.input_pointer()}, {layer.output_pointer}, {arguments});"
    return Call((statement,), portable_files("automcu_float"))


_ALL = range(INT8_RANGE[0], INT8_RANGE[1] + 1)


def operands_of(layer: Layer) -> tuple[tuple[Operand, Operand], int]:
    """Both operands in order, and the position of the one that has the output's shape."""
    operands = [
        Operand(layer.input_pointer(position), quantization, tensor.shape)
        for position, (tensor, quantization) in enumerate(zip(layer.inputs, layer.sources, strict=True))
    ]
    if layer.operator.weights:
        constants = layer.constants
        constant = Operand(
            layer.array("constant"),
            Quantization(float(constants.scales[0]), constants.zero_point),
            layer.operator.weights,
        )
        operands.insert(0 if constants.first else 1, constant)
    first, second = operands
    activations = [0, 1] if not layer.operator.weights else [int(layer.constants.first)]
    whole = next(position for position in activations if prod(operands[position].shape) == prod(layer.output.shape))
    return (first, second), whole


def _pairwise(layer: Layer, kernel: str, operands: tuple[Operand, Operand], whole: int, fields: Fields) -> Call:
    other = operands[1 - whole]
    period, repeat = spread(layer, other.shape)
    sizes = {"count": prod(layer.output.shape), "period": period, "repeat": repeat}
    arguments = f"&{layer.parameters}, {operands[whole].address}, {other.address}, {layer.output_pointer}"
    return Call(
        statements=(f"{kernel}({arguments});",),
        files=portable_files(kernel),
        arrays={"constant": layer.constants.weights} if layer.operator.weights else {},
        struct=f"{kernel}_parameters",
        fields={**sizes, **fields},
    )


def spread(layer: Layer, shape: tuple[int, ...]) -> tuple[int, int]:
    """How an operand repeats over the output: (period, repeat), element i of the output reading element
    i / repeat % period."""
    whole = layer.output.shape
    if prod(shape) == prod(whole):
        return prod(whole), 1
    shape = (1,) * (len(whole) - len(shape)) + shape
    kept = [axis for axis, extent in enumerate(shape) if extent > 1]
    if not kept:
        return 1, 1
    begin, end = kept[0], kept[-1] + 1
    if shape[begin:end] != whole[begin:end]:
        raise layer.refuse(f"spreads {shape} over {whole}", "let the operand have one value, or one a channel")
    return prod(shape), prod(whole[end:])


def sum_scales(layer: Layer, scales: list[float]) -> tuple[list[tuple[int, int]], tuple[int, int]]:
    """ADD's and SUB's factors of the operands, which have `scales`, and of the result."""
    twice = 2 * max(scales)
    output = twice / ((1 << _SUM_BITS) * layer.target.scale)
    if output >= 1:
        raise layer.refuse("has an output scale that is far below its inputs'", "convert the network again")
    return [layer.factor(scale / twice) for scale in scales], layer.factor(output)


def _rescaling(layer: Layer, scale: tuple[int, int]) -> str:
    """C initializer of an `automcu_rescaling` to the output under the fused activation."""
    lowest, highest = activation_range(layer.operator.activation, layer.target)
    return f"{{{scale[0]}, {scale[1]}, {layer.target.zero_point}, {lowest}, {highest}}}"


def _rescale(layer: Layer, lowest: int, highest: int) -> Call:
    """To another scale, zero point and 8-bit type; uint8 is taken as int8 with all values 128 lower."""
    count = prod(layer.output.shape)
    input_flip, input_zero_point = _as_int8(layer.inputs[0].dtype, layer.source)
    output_flip, output_zero_point = _as_int8(layer.output.dtype, layer.target)
    multiplier, shift = layer.factor(layer.source.scale / layer.target.scale)
    addresses = f"{layer.input_pointer()}, {layer.output_pointer}"
    if (multiplier, shift) == _SAME_SCALE and input_zero_point == output_zero_point and (lowest, highest) == INT8_RANGE:
        if input_flip == output_flip:
            return Call((f"memcpy({layer.output_pointer}, {layer.input_pointer()}, {count});",))
        return Call((f"automcu_flip({addresses}, {count});",), portable_files("automcu_rescale"))
    fields: Fields = {
        "count": count,
        "input_flip": input_flip,
        "output_flip": output_flip,
        "input_zero_point": input_zero_point,
        "rescaling": f"{{{multiplier}, {shift}, {output_zero_point}, {lowest}, {highest}}}",
    }
    return Call(
        (f"automcu_rescale(&{layer.parameters}, {addresses});",),
        portable_files("automcu_rescale"),
        struct="automcu_rescale_parameters",
        fields=fields,
    )


def _as_int8(dtype: str, quantization: Quantization) -> tuple[int, int]:
    """The bits to flip so that a stored value is an int8, and the zero point that it then has."""
    return (128, quantization.zero_point - 128) if dtype == "uint8" else (0, quantization.zero_point)


def _float(value: float) -> str:
    """C literal of a float32, exactly."""
    return f"{value.hex()}f"
