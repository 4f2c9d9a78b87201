"""Numbers of the DSP kernels' output rule (`kernels/dsp/automcu_dsp.h`), channel by channel, and proof that they serve.

The rule equals TensorFlow Lite Micro's requantization where nothing overflows and the scale shifts right. Both follow
from the interval that a channel's accumulator can take. Channels that can give but one output become constants.
"""

from dataclasses import dataclass

import numpy as np

from automcu.deploy.emit.convolutions import accumulator_scales, folded_bias
from automcu.deploy.emit.kernel_set import Layer
from automcu.graph.requantize import INT8_RANGE, multiply_by_quantized_multiplier

_HALF = 1 << 30
LARGEST_SHIFT = 22
"""So far right may a scale shift that the rounding term, with a zero point in it, stays far from overflow."""
_UNSATURATED = 1 << 10
"""No accumulator of a larger magnitude is scaled by 1/2 or more to an output that is not saturated."""


@dataclass(frozen=True, slots=True, eq=False)
class Channels:
    """`bias`, `multiplier`, `right` (the shift less 1) and `left` (a shift of the accumulator before all else) of each
    channel; `constant` marks those whose weights must be taken as zeros."""

    bias: np.ndarray
    multiplier: np.ndarray
    right: np.ndarray
    left: np.ndarray
    constant: np.ndarray


def channels_of(layer: Layer, sums: np.ndarray, *, left_shifts: bool) -> Channels | None:
    """The channels of a convolution or fully connected layer; `sums` has the lowest and highest sum of products of
    weights and stored inputs, shape (2, channels); `left_shifts` says whether the kernel has shifts to the left. None
    where the rule cannot give TensorFlow Lite Micro's outputs."""
    bias = folded_bias(layer)
    bounds = sums + (0 if bias is None else bias.astype(np.int64))
    count = bounds.shape[1]
    scales = accumulator_scales(layer)
    rows = []
    for channel, (multiplier, shift) in enumerate(scales if len(scales) > 1 else scales * count):
        low, high = (int(bound) for bound in bounds[:, channel])
        zero_point = layer.target.zero_point
        first, last = _exact(np.array([low, high]), multiplier, shift, zero_point)
        if low >= -(1 << 31) and high < 1 << 31 and first == last and shift <= 0:
            rows.append((4 * (int(first) - zero_point), _HALF, 0, 0, True))
            continue
        shifts = _shifts(low, high, multiplier, shift, zero_point, left_shifts)
        if shifts is None:
            return None
        right, left = shifts
        rows.append((0 if bias is None else int(bias[channel]), multiplier, right - 1, left, False))
    biases, multipliers, rights, lefts, constants = (np.array(column) for column in zip(*rows, strict=True))
    return Channels(
        biases.astype(np.int32),
        multipliers.astype(np.int32),
        rights.astype(np.int32),
        lefts.astype(np.int32),
        constants,
    )


def _shifts(
    low: int, high: int, multiplier: int, shift: int, zero_point: int, left_shifts: bool
) -> tuple[int, int] | None:
    """Right and left shift by which accumulators from `low` to `high` are scaled exactly; None if there are none."""
    largest = max(-low, high)
    if multiplier <= 0:
        return None
    if shift < 0:
        return (-shift, 0) if largest < _HALF and -shift <= LARGEST_SHIFT else None
    if left_shifts:
        values = np.arange(max(low, -_UNSATURATED), min(high, _UNSATURATED) + 1)
        expected = _exact(values, multiplier, shift, zero_point)
        for right in range(1, LARGEST_SHIFT):
            left = shift + right
            if largest << left >= _HALF:
                break
            if np.array_equal(_exact(values << left, multiplier, -right, zero_point), expected):
                return right, left
    return None


def _exact(accumulators: np.ndarray, multiplier: int, shift: int, zero_point: int) -> np.ndarray:
    """TensorFlow Lite Micro's outputs without an activation."""
    scaled = multiply_by_quantized_multiplier(accumulators, multiplier, shift).astype(np.int64)
    return np.clip(scaled + zero_point, *INT8_RANGE)
