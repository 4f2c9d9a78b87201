"""The kinds of operators that are read from a .tflite file, each checked against its own rules."""

from collections.abc import Callable
from math import prod

import tflite

from automcu.graph.int8 import Operator
from automcu.graph.tflite.file import RECONVERT, UnsupportedModel
from automcu.graph.tflite.raw_operator import RawOperator
from automcu.graph.tflite.shapes import shape_values


def _conv(op: RawOperator) -> Operator:
    options = op.options(tflite.Conv2DOptions())
    weights = op.weights(rank=4)
    window = op.window((weights[1], weights[2]), options)
    if weights[3] != op.map_shape()[3]:
        raise UnsupportedModel(f"{op} is grouped; use ordinary or depthwise convolutions")
    op.expect_slid(window, weights[0])
    return op.operator(weights, op.bias(weights[0]), window, op.activation(options))


def _depthwise(op: RawOperator) -> Operator:
    options = op.options(tflite.DepthwiseConv2DOptions())
    weights = op.weights(rank=4)
    window = op.window((weights[1], weights[2]), options)
    if weights[0] != 1 or weights[3] % op.map_shape()[3]:
        raise UnsupportedModel(f"{op} has weights of shape {weights}; {RECONVERT}")
    op.expect_slid(window, weights[3])
    return op.operator(weights, op.bias(weights[3]), window, op.activation(options))


def _fully_connected(op: RawOperator) -> Operator:
    options = op.options(tflite.FullyConnectedOptions())
    units, inputs = op.weights(rank=2)
    if options.WeightsFormat() != 0:
        raise UnsupportedModel(f"{op} has shuffled weights; {RECONVERT}")
    read, made = prod(op.source().shape), op.output.shape
    if read % inputs or prod(made) != read // inputs * units or made[-1] != units:
        raise UnsupportedModel(f"{op} does not match its weights; {RECONVERT}")
    return op.operator((units, inputs), op.bias(units), None, op.activation(options))


def _pool(op: RawOperator) -> Operator:
    options = op.options(tflite.Pool2DOptions())
    window = op.window((options.FilterHeight(), options.FilterWidth()), options)
    op.expect_slid(window, op.map_shape()[3])
    return op.operator(window=window, activation=op.activation(options))


def _pairwise(op: RawOperator) -> Operator:
    """ADD, SUB, MUL, MINIMUM, MAXIMUM of two activations, or of one and a constant, whose shape the operator keeps.

    One activation has the shape of the output, and the other operand is repeated over it. That repeating stays within
    ADD of a constant, gating (MUL of a map with one value a channel) and clamping.
    """
    if len(op.inputs) != 2:
        raise UnsupportedModel(f"{op} has {len(op.inputs)} operands; {RECONVERT}")
    constant: tuple[int, ...] = ()
    reads = []
    for position in range(2):
        if op.is_constant(position):
            constant = op.file.constant(op.inputs[position], str(op), "int8") or (1,)
        else:
            reads.append(position)
    whole = op.output.shape
    shapes = [op.source(position).shape for position in reads]
    operands = [*shapes, constant] if constant else shapes
    if whole not in shapes or not all(_repeats(shape, whole) for shape in operands):
        raise UnsupportedModel(f"{op} combines {operands} into {whole}; let one operand have the shape of the output")
    if op.kind in ("ADD", "SUB") and any(prod(shape) != prod(whole) for shape in shapes):
        raise UnsupportedModel(f"{op} takes {operands}; add and subtract feature maps of one shape")
    options = {"ADD": tflite.AddOptions, "SUB": tflite.SubOptions, "MUL": tflite.MulOptions}.get(op.kind)
    activation = op.activation(op.options(options())) if options else "NONE"
    return op.operator(constant, activation=activation, reads=tuple(reads))


def _repeats(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    """True when `shape` spreads over `whole`, axes counted from the last."""
    return len(shape) <= len(whole) and all(
        extent in (1, whole[len(whole) - len(shape) + axis]) for axis, extent in enumerate(shape)
    )


def _concatenation(op: RawOperator) -> Operator:
    options = op.options(tflite.ConcatenationOptions())
    shapes = [op.source(position).shape for position in range(len(op.inputs))]
    rank = len(shapes[0])
    axis = options.Axis() % rank if -rank <= options.Axis() < rank else -1
    rest = {(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}
    if axis < 1 or len(rest) != 1 or len({len(shape) for shape in shapes}) != 1:
        raise UnsupportedModel(f"{op} joins {shapes} along {axis}; {RECONVERT}")
    op.expect((*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :]))
    return op.operator(activation=op.activation(options), reads=tuple(range(len(shapes))))


def _global_pool(op: RawOperator) -> Operator:
    """MEAN or REDUCE_MAX over a whole map (batch, height, width, channels) or series (batch, steps, channels)."""
    axes, shape = op.int32_constants(), op.source().shape
    rank = len(shape)
    if rank not in (3, 4) or sorted(axis % rank for axis in axes) != list(range(1, rank - 1)):
        raise UnsupportedModel(
            f"{op} reduces axes {axes} of {shape}; reduce height and width, or all steps of a series"
        )
    keep = op.options(tflite.ReducerOptions()).KeepDims()
    op.expect((shape[0], *[1] * (rank - 2), shape[-1]) if keep else (shape[0], shape[-1]))
    return op.operator()


def _reshape(op: RawOperator) -> Operator:
    made, read = op.output.shape, prod(op.source().shape)
    if len(op.inputs) > 1:
        values = shape_values(op, 1)
        target = (values,) if isinstance(values, int) else values
        if len(target) != len(made) or any(
            extent not in (-1, there) for extent, there in zip(target, made, strict=True)
        ):
            raise UnsupportedModel(f"{op} should make {target}, not {made}; {RECONVERT}")
    if prod(made) != read or op.output.dtype != op.source().dtype:
        raise UnsupportedModel(f"{op} changes the number or the type of the elements; {RECONVERT}")
    return op.operator()


def _squeeze_or_expand(op: RawOperator) -> Operator:
    """SQUEEZE and EXPAND_DIMS: axes of extent 1 go or come."""
    read, made = ([extent for extent in tensor.shape if extent != 1] for tensor in (op.source(), op.output))
    if read != made or op.output.dtype != op.source().dtype:
        raise UnsupportedModel(f"{op} makes {op.output.shape} of {op.source().shape}; {RECONVERT}")
    return op.operator()


def _transpose(op: RawOperator) -> Operator:
    order = op.int32_constants()
    shape = op.source().shape
    if sorted(order) != list(range(len(shape))) or op.output.dtype != op.source().dtype:
        raise UnsupportedModel(f"{op} orders the axes of {shape} as {order}; {RECONVERT}")
    op.expect(tuple(shape[axis] for axis in order))
    return op.operator()


def _pad(op: RawOperator) -> Operator:
    pads = op.int32_constants()
    shape = op.source().shape
    if len(pads) != 2 * len(shape) or min(pads) < 0:
        raise UnsupportedModel(f"{op} pads by {pads}; {RECONVERT}")
    op.expect(tuple(extent + pads[2 * i] + pads[2 * i + 1] for i, extent in enumerate(shape)))
    return op.operator(pads=pads)


def _resize(op: RawOperator) -> Operator:
    batch, _, _, channels = op.map_shape()
    size = shape_values(op, 1)
    if isinstance(size, int) or len(size) != 2:
        raise UnsupportedModel(f"{op} resizes to {size}; {RECONVERT}")
    op.expect((batch, *size, channels))
    return op.operator()


def _prelu(op: RawOperator) -> Operator:
    slopes = op.weights()
    if not _repeats(slopes, op.output.shape):
        raise UnsupportedModel(f"{op} has slopes of shape {slopes} for {op.output.shape}; {RECONVERT}")
    op.expect(op.source().shape)
    return op.operator(slopes)


def _elementwise(op: RawOperator) -> Operator:
    op.expect(op.source().shape)
    return op.operator()


def _quantize(op: RawOperator) -> Operator:
    if op.output.dtype == "float32":
        raise UnsupportedModel(f"{op} makes float32; {RECONVERT}")
    return _elementwise(op)


def _dequantize(op: RawOperator) -> Operator:
    if op.output.dtype != "float32" or op.source().dtype == "float32":
        raise UnsupportedModel(f"{op} makes {op.output.dtype} of {op.source().dtype}; {RECONVERT}")
    return _elementwise(op)


OPERATORS: dict[str, Callable[[RawOperator], Operator]] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _fully_connected,
    "ADD": _pairwise,
    "SUB": _pairwise,
    "MUL": _pairwise,
    "MINIMUM": _pairwise,
    "MAXIMUM": _pairwise,
    "CONCATENATION": _concatenation,
    "AVERAGE_POOL_2D": _pool,
    "MAX_POOL_2D": _pool,
    "MEAN": _global_pool,
    "REDUCE_MAX": _global_pool,
    "RESIZE_BILINEAR": _resize,
    "RESIZE_NEAREST_NEIGHBOR": _resize,
    "RESHAPE": _reshape,
    "SQUEEZE": _squeeze_or_expand,
    "EXPAND_DIMS": _squeeze_or_expand,
    "TRANSPOSE": _transpose,
    "PAD": _pad,
    "RELU": _elementwise,  # left alone where the operator before it is read elsewhere without it
    "RELU6": _elementwise,
    "LEAKY_RELU": _elementwise,
    "PRELU": _prelu,
    "HARD_SWISH": _elementwise,
    "LOGISTIC": _elementwise,
    "TANH": _elementwise,
    "SOFTMAX": _elementwise,
    "QUANTIZE": _quantize,
    "DEQUANTIZE": _dequantize,
}
"""What reads each kind of operator. Which of them can be deployed, each feasibility tier says itself."""
ANY_PRECISION = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "QUANTIZE", "DEQUANTIZE"})
"""Kinds that may work on uint8 and float32 too: between the application and the int8 network."""
