"""Fixed-point scales as TensorFlow Lite Micro computes them, so that the emitted code gives the same bytes.

The rules are those of tflite-micro's `kernels/internal/quantization_util.cc` and `kernels/kernel_util.cc`.
"""

import math

import numpy as np

from automcu.graph.int8 import Activation
from automcu.graph.int8_model import Quantization

INT8 = (-128, 127)
"""The lowest and highest int8."""


def quantize_multiplier(real: float) -> tuple[int, int]:
    """`real` as (multiplier, shift): real = multiplier * 2^(shift - 31), with 2^30 <= |multiplier| < 2^31.

    Rounds half away from zero; what is below 2^-32 becomes (0, 0).
    """
    if real == 0:
        return 0, 0
    fraction, shift = math.frexp(real)
    multiplier = _round(fraction * 2.0**31)
    if abs(multiplier) == 1 << 31:
        multiplier //= 2
        shift += 1
    if shift < -31:
        return 0, 0
    return multiplier, shift


def multiply(value: int, multiplier: int, shift: int) -> int:
    """`value` times the scale (multiplier, shift), as `automcu_requantize` in `kernels.h` computes it: rounded twice,
    in 32 bits that wrap, first half up to a whole number of 31 fractional bits, then half away from zero."""
    high = (wrap(value << max(shift, 0)) * multiplier + (1 << 30)) >> 31
    return divide_by_power(high, max(-shift, 0))


def divide_by_power(value: int, exponent: int) -> int:
    """`value` / 2^exponent, rounded half away from zero."""
    half = (1 << exponent) >> 1
    return (value + half) >> exponent if value >= 0 else -((-value + half) >> exponent)


def wrap(value: int) -> int:
    """The int32 with the same lowest 32 bits."""
    return (value + (1 << 31)) % (1 << 32) - (1 << 31)


def ratio(source: Quantization, target: Quantization) -> tuple[int, int]:
    """The scale that takes values on the scale of `source` to that of `target`."""
    return quantize_multiplier(source.scale / target.scale)


def channel_scales(source: Quantization, weights: np.ndarray, target: Quantization) -> list[tuple[int, int]]:
    """The scale of each accumulator (one, or one for each channel), from the float32 scales of the weights."""
    return [quantize_multiplier(source.scale * float(scale) / target.scale) for scale in weights]


def single_scale(source: Quantization, weights: np.ndarray, target: Quantization) -> list[tuple[int, int]]:
    """The scale of FULLY_CONNECTED whose weights have one: its product of scales is rounded to float32."""
    product = np.float32(source.scale) * np.float32(weights[0])
    return [quantize_multiplier(float(product) / target.scale)]


def activation_range(activation: Activation, target: Quantization) -> tuple[int, int]:
    """The lowest and highest int8 output under a fused activation."""
    lowest, highest = INT8
    if activation != "NONE":
        lowest = max(lowest, target.zero_point)
    if activation == "RELU6":
        highest = min(highest, target.zero_point + _round(float(np.float32(6) / np.float32(target.scale))))
    return lowest, highest


def _round(value: float) -> int:
    """Half away from zero, as C's `round`."""
    return math.floor(value + 0.5) if value >= 0 else -math.floor(0.5 - value)
