"""Shapes that a .tflite file computes at run time although they are fixed.

A network converted with a dynamic batch takes the target of a RESHAPE from the shape of its input: SHAPE gives it,
STRIDED_SLICE takes the batch out, PACK joins it with constants. With batch 1 the result is known. Such operators move
no activations, and only their values are kept.
"""

from collections.abc import Callable

import tflite

from automcu.graph.tflite.file import RECONVERT, UnsupportedModel
from automcu.graph.tflite.raw_operator import RawOperator, Values

FIX_BATCH = "convert with the batch size fixed at 1"


def fold(op: RawOperator) -> Values:
    """What the SHAPE, STRIDED_SLICE or PACK `op` computes.

    Raises `UnsupportedModel` when that depends on activations.
    """
    found = _FOLDS[op.kind](op)
    shape = () if isinstance(found, int) else (len(found),)
    output = op.outputs[0]
    if op.file.dtype(output) != "int32" or op.file.shape(output) != shape:
        raise UnsupportedModel(
            f"{op} should make int32 values of shape {shape}, not {op.file.dtype(output)} of shape "
            f"{op.file.shape(output)}; {RECONVERT}"
        )
    return found


def shape_values(op: RawOperator, position: int) -> Values:
    """The int32 values that `op` reads at `position`: computed from fixed shapes, or constant."""
    index = op.inputs[position] if position < len(op.inputs) else -1
    if index in op.values:
        return op.values[index]
    if index in op.tensors:
        raise UnsupportedModel(
            f"{op} takes apart or joins activations, which is not supported; leave cropping, slicing and stacking out"
        )
    if index < 0 or not op.file.constant_bytes(index):
        raise UnsupportedModel(f"{op} takes a shape that is known at run time only; {FIX_BATCH}")
    values = op.file.int32_values(index, str(op))
    return values if op.file.shape(index) else values[0]


def _shape(op: RawOperator) -> Values:
    return op.source().shape


def _strided_slice(op: RawOperator) -> Values:
    options = op.options(tflite.StridedSliceOptions())
    vector, begin, end, stride = (shape_values(op, position) for position in range(4))
    if (
        not isinstance(vector, tuple)
        or not (isinstance(begin, tuple) and isinstance(end, tuple) and isinstance(stride, tuple))
        or not len(begin) == len(end) == len(stride) == 1
        or stride[0] == 0
        or options.EllipsisMask()
        or options.NewAxisMask()
        or options.Offset()
    ):
        raise UnsupportedModel(f"{op} slices a shape in an unusual way; {FIX_BATCH}")
    if options.ShrinkAxisMask() & 1:
        if not -len(vector) <= begin[0] < len(vector):
            raise UnsupportedModel(f"{op} takes extent {begin[0]} of the shape {vector}; {RECONVERT}")
        return vector[begin[0]]
    first = None if options.BeginMask() & 1 else begin[0]
    last = None if options.EndMask() & 1 else end[0]
    return vector[first : last : stride[0]]


def _pack(op: RawOperator) -> Values:
    values = [shape_values(op, position) for position in range(len(op.inputs))]
    scalars = tuple(scalar for scalar in values if isinstance(scalar, int))
    if len(scalars) != len(values) or op.options(tflite.PackOptions()).Axis() not in (0, -1):
        raise UnsupportedModel(f"{op} joins more than the extents of a shape; {FIX_BATCH}")
    return scalars


_FOLDS: dict[str, Callable[[RawOperator], Values]] = {"SHAPE": _shape, "STRIDED_SLICE": _strided_slice, "PACK": _pack}
SHAPE_ARITHMETIC = frozenset(_FOLDS)
"""The kinds that `fold` takes."""
