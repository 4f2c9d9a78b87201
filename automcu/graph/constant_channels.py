"""Exact graph optimisation: channels that can only ever hold one value, or that nobody needs, are taken out.

Interval arithmetic on the quantized weights and biases says which values a channel can take at all, whatever the input
is: an accumulator lies between two sums, and requantization, computed as the kernels compute it, never decreases. A
channel whose two ends are equal is constant. It can go where all its readers can do without it: a dense layer, or a
convolution that never looks beyond the border, takes what the channel contributed into its biases; with padding that
would be wrong at the border, unless the constant is the zero point, which contributes nothing. Depthwise convolutions,
pooling and reshaping lose the same channel. Channels that are read only for the sake of such channels go too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from automcu.graph.int8 import Int8Graph, Operator, Tensor, Window
from automcu.graph.int8_model import Constants, Int8Model, Quantization
from automcu.graph.requantize import (
    INT8_RANGE,
    activation_range,
    channel_scales,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
)

_MIXING = frozenset({"CONV_2D", "FULLY_CONNECTED"})
"""Kinds that make each channel of all channels."""
_SLIDING = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D"})
_CHANNELWISE = frozenset({"AVERAGE_POOL_2D", "MAX_POOL_2D", "MEAN", "REDUCE_MAX"})
"""Kinds that make each channel of the same channel, the last axis."""
_RESHAPING = frozenset({"EXPAND_DIMS", "RESHAPE", "SQUEEZE"})
_INT32_MAX = 2**31 - 1


def remove_constant_channels(model: Int8Model) -> Int8Model:
    """`model` without the channels that can be taken out: for every input it gives the same outputs.

    The graph's inputs and outputs keep their shapes, tensors and operators their order. It is `model` itself where
    nothing can go. Raises `CandidateFailure` for scales that no requantization can bridge.
    """
    ranges = _ranges(model)
    removed = _removed(model, ranges)
    return _without(model, ranges, removed) if any(gone.any() for gone in removed) else model


@dataclass(frozen=True, slots=True)
class _Range:
    """The lowest and the highest stored value of each channel (last axis), int64."""

    low: np.ndarray
    high: np.ndarray

    def at(self, channels: np.ndarray) -> "_Range":
        """The ranges of `channels`, in their order."""
        return _Range(self.low[channels], self.high[channels])

    def clipped(self, bounds: tuple[int, int]) -> "_Range":
        """What a fused activation leaves."""
        return _Range(self.low.clip(*bounds), self.high.clip(*bounds))

    def with_value(self, value: int) -> "_Range":
        """The same where `value` may stand too."""
        return _Range(np.minimum(self.low, value), np.maximum(self.high, value))


def _anything(channels: int) -> _Range:
    return _Range(np.full(channels, INT8_RANGE[0], np.int64), np.full(channels, INT8_RANGE[1], np.int64))


def _ranges(model: Int8Model) -> list[_Range]:
    """The ranges of every tensor, of which only those of int8 tensors mean anything."""
    ranges = [_anything(tensor.shape[-1]) for tensor in model.graph.tensors]
    for operator, constants in zip(model.graph.operators, model.constants, strict=True):
        ties = _ties(model, operator)
        if constants is not None and operator.kind in _MIXING | _SLIDING:
            ranges[operator.output] = _weighted_range(model, operator, constants, ranges[operator.inputs[0]])
        elif operator.kind in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
            bounds = activation_range(operator.activation, _quantization(model, operator.output))
            ranges[operator.output] = ranges[operator.inputs[0]].clipped(bounds)
        elif ties is not None and operator.kind != "MEAN":  # which may requantize
            parts = [ranges[tie.tensor].at(tie.read) for tie in ties]
            joined = _Range(np.concatenate([p.low for p in parts]), np.concatenate([p.high for p in parts]))
            if operator.kind == "PAD":
                joined = joined.with_value(_quantization(model, operator.output).zero_point)
            ranges[operator.output] = joined
    return ranges


def _quantization(model: Int8Model, tensor: int) -> Quantization:
    quantization = model.quantization[tensor]
    assert quantization is not None  # only float32 tensors have none
    return quantization


def _weighted_range(model: Int8Model, operator: Operator, constants: Constants, source: _Range) -> _Range:
    """The output of a convolution or a dense layer."""
    given, output = (_quantization(model, tensor) for tensor in (operator.inputs[0], operator.output))
    low, high = source.low - given.zero_point, source.high - given.zero_point
    weights = constants.weights.astype(np.int64)
    if operator.kind == "DEPTHWISE_CONV_2D":
        read = np.arange(weights.shape[3]) // (weights.shape[3] // len(low))
        low, high = low[read], high[read]
        weights = weights[0]
    elif operator.kind == "FULLY_CONNECTED":
        if weights.shape[1] % len(low):  # it reads across the channels
            low, high = low.min(keepdims=True), high.max(keepdims=True)
        weights = weights.reshape(len(weights), 1, -1, len(low))
    rising, falling = weights.clip(min=0), weights.clip(max=0)
    least, most = rising * low + falling * high, rising * high + falling * low
    if operator.kind == "DEPTHWISE_CONV_2D":
        least, most = np.moveaxis(least, 2, 0), np.moveaxis(most, 2, 0)
    else:
        least, most = least.sum(3), most.sum(3)
    rows, columns = _seen(model.graph, operator, least.shape[1:])
    bias = 0 if constants.bias is None else constants.bias.astype(np.int64)
    lowest, highest = (
        np.einsum("okl,rk,cl->rco", part, rows, columns).reshape(-1, len(least)) + bias for part in (least, most)
    )
    scales = channel_scales(given, constants.scales, output)
    multiplier, shift = np.array([quantize_multiplier(scale) for scale in scales], np.int64).T
    # Where 32 bits might not hold the numbers, nothing is said: the zero point comes on top at the end.
    room = (_INT32_MAX >> np.maximum(shift, 0)) - 2 * INT8_RANGE[1] - 2
    exact = (lowest.min(0) >= -room) & (highest.max(0) <= room)
    bounds = activation_range(operator.activation, output)
    ends = [
        multiply_by_quantized_multiplier(np.where(exact, end, 0), multiplier, shift).astype(np.int64)
        + output.zero_point
        for end in (lowest, highest)
    ]
    found = _Range(ends[0].min(0), ends[1].max(0)).clipped(bounds)
    return _Range(np.where(exact, found.low, bounds[0]), np.where(exact, found.high, bounds[1]))


def _seen(graph: Int8Graph, operator: Operator, kernel: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Which rows of the kernel lie on the map together at some place, a line for each such set, and which columns."""
    if operator.window is None:
        return np.ones((1, kernel[0]), np.int64), np.ones((1, kernel[1]), np.int64)
    extents = graph.tensors[operator.inputs[0]].shape[1:3]
    found = []
    for axis, (extent, size) in enumerate(zip(extents, kernel, strict=True)):
        stride, count = operator.window.stride[axis], graph.tensors[operator.output].shape[1 + axis]
        first = stride * np.arange(count) - _padding(operator.window, axis, extent) // 2
        places = first[:, None] + np.arange(size)
        found.append(np.unique((places >= 0) & (places < extent), axis=0).astype(np.int64))
    return found[0], found[1]


def _padding(window: Window, axis: int, extent: int) -> int:
    """Rows or columns beyond the map that a window sees on both sides together, by TensorFlow's rule."""
    if window.padding == "VALID":
        return 0
    stride, kernel = window.stride[axis], window.kernel[axis]
    return max((ceil(extent / stride) - 1) * stride + kernel - extent, 0)


@dataclass(frozen=True, slots=True)
class _Tie:
    """Channel `made[i]` of an operator's output is made of channel `read[i]` of its input `tensor` and nothing else."""

    tensor: int
    read: np.ndarray
    made: np.ndarray


def _ties(model: Int8Model, operator: Operator) -> list[_Tie] | None:
    """How channels are passed on, the output's in ascending order; None for an operator that mixes them, or whose
    channels are left alone."""
    source, output = model.graph.tensors[operator.inputs[0]].shape, model.graph.tensors[operator.output].shape
    made = np.arange(output[-1])
    if operator.kind == "DEPTHWISE_CONV_2D":
        return [_Tie(operator.inputs[0], made // (output[-1] // source[-1]), made)]
    if operator.kind in _RESHAPING and output[-1] % source[-1] == 0:
        return [_Tie(operator.inputs[0], made % source[-1], made)]
    if operator.kind in _CHANNELWISE or (operator.kind == "PAD" and not any(operator.pads[-2:])):
        return [_Tie(operator.inputs[0], made, made)]
    if operator.kind == "CONCATENATION" and output[-1] != source[-1]:  # along the channels
        ties, begin = [], 0
        for tensor in operator.inputs:
            read = np.arange(model.graph.tensors[tensor].shape[-1])
            ties.append(_Tie(tensor, read, begin + read))
            begin += len(read)
        return ties
    return None


def _removed(model: Int8Model, ranges: Sequence[_Range]) -> list[np.ndarray]:
    """For every tensor, which of its channels go (bool): as many as can go together."""
    graph = model.graph
    removed = [np.ones(tensor.shape[-1], np.bool_) for tensor in graph.tensors]
    for tensor in (*graph.inputs, *graph.outputs):
        removed[tensor][:] = False
    ties = [None if operator.kind in _MIXING else _ties(model, operator) for operator in graph.operators]
    left = -1
    while left != (left := sum(int(gone.sum()) for gone in removed)):
        for index in reversed(range(len(graph.operators))):
            operator, tied = graph.operators[index], ties[index]
            gone = removed[operator.output]
            if operator.kind in _MIXING:
                removed[operator.inputs[0]] &= _dispensable(model, index, ranges, ~gone)
                continue
            if tied is None:
                gone[:] = False
                for tensor in operator.inputs:
                    removed[tensor][:] = False
            for tie in tied or ():
                removed[tie.tensor][tie.read[~gone[tie.made]]] = False
                gone[tie.made[~removed[tie.tensor][tie.read]]] = False
        _keep_some(model, removed)
    return removed


def _keep_some(model: Int8Model, removed: Sequence[np.ndarray]) -> None:
    """Every tensor keeps a channel; two, where a dense layer with a scale for each is not to look as one with one scale
    in all, which is requantized otherwise."""
    for gone in removed:
        if gone.all():
            gone[0] = False
    for operator, constants in zip(model.graph.operators, model.constants, strict=True):
        if constants is not None and operator.kind == "FULLY_CONNECTED" and len(constants.scales) > 1:
            gone = removed[operator.output]
            if np.count_nonzero(~gone) == 1:
                gone[np.flatnonzero(gone)[:1]] = False


def _dispensable(model: Int8Model, index: int, ranges: Sequence[_Range], kept: np.ndarray) -> np.ndarray:
    """The channels that a CONV_2D or FULLY_CONNECTED can do without, to make the channels `kept` of its output."""
    operator, constants = model.graph.operators[index], model.constants[index]
    assert constants is not None
    source = ranges[operator.inputs[0]]
    channels = len(source.low)
    taps, rest = divmod(constants.weights.size // len(constants.weights), channels)
    if rest:  # a dense layer that reads across the channels
        return np.zeros(channels, np.bool_)
    weights = np.abs(constants.weights.astype(np.int64))[kept].reshape(-1, taps, channels).sum(1)
    offset = np.abs(source.low - _quantization(model, operator.inputs[0]).zero_point)
    constant = source.low == source.high
    silent = constant & (offset == 0)
    if constants.bias is not None and not _sees_border(model.graph, operator):
        largest = np.abs(constants.bias.astype(np.int64))[kept] + (weights * (offset * constant)).sum(1)
        if (largest <= _INT32_MAX).all():
            silent = constant
    return np.asarray(silent | ~weights.any(0), np.bool_)


def _sees_border(graph: Int8Graph, operator: Operator) -> bool:
    window, shape = operator.window, graph.tensors[operator.inputs[0]].shape
    return window is not None and any(_padding(window, axis, shape[1 + axis]) for axis in range(2))


def _without(model: Int8Model, ranges: Sequence[_Range], removed: Sequence[np.ndarray]) -> Int8Model:
    """The model without the channels `removed`."""
    graph = model.graph
    tensors = tuple(
        Tensor(tensor.name, (*tensor.shape[:-1], int(np.count_nonzero(~gone))), tensor.dtype)
        for tensor, gone in zip(graph.tensors, removed, strict=True)
    )
    operators, constants = [], []
    for operator, given in zip(graph.operators, model.constants, strict=True):
        found = given
        if given is not None and operator.kind in _MIXING | _SLIDING:
            found = _narrowed(model, operator, given, ranges, removed)
            bias = 0 if found.bias is None else len(found.bias)
            operator = replace(operator, weights=found.weights.shape, bias=bias)
        operators.append(operator)
        constants.append(found)
    narrowed = Int8Graph(tensors, tuple(operators), graph.inputs, graph.outputs)
    return Int8Model(narrowed, model.quantization, tuple(constants), model.attributes)


def _narrowed(
    model: Int8Model,
    operator: Operator,
    constants: Constants,
    ranges: Sequence[_Range],
    removed: Sequence[np.ndarray],
) -> Constants:
    """Weights, scales and biases for the channels that stay; what constant ones contributed is in the biases."""
    source = operator.inputs[0]
    gone, kept = removed[source], ~removed[operator.output]
    scales = constants.scales if len(constants.scales) == 1 else constants.scales[kept]
    bias = None if constants.bias is None else constants.bias[kept]
    if operator.kind == "DEPTHWISE_CONV_2D":
        return replace(constants, weights=constants.weights[..., kept], scales=scales, bias=bias)
    weights = constants.weights[kept]
    if gone.any():
        by_channel = weights.reshape(*weights.shape[:-1], -1, len(gone))  # of a dense layer: place, channel
        if bias is not None:
            offset = (ranges[source].low - _quantization(model, source).zero_point)[gone]
            contributed = (by_channel[..., gone].astype(np.int64) * offset).reshape(len(bias), -1).sum(1)
            # Of a channel that may hold anything, or that the border is seen beside, all weights or the offset are 0.
            bias = (bias + contributed).astype(np.int32)
        weights = by_channel[..., ~gone].reshape(*weights.shape[:-1], -1)
    return replace(constants, weights=weights, scales=scales, bias=bias)
