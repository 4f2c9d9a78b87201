"""Activation functions of one int8 as tables of 256 bytes, computed as tflite-micro computes them on the device.

The fixed-point functions are those of gemmlowp's `fixedpoint/fixedpoint.h`; raw int32 values stand for real ones by
their number of integer bits k, real = raw / 2^(31 - k).
"""

import math

import numpy as np

from automcu.graph.int8_model import Quantization
from automcu.graph.requantize import INT8_RANGE, multiply_by_quantized_multiplier, quantize_multiplier

_ONE = (1 << 31) - 1
_INPUT_BITS = 4
_EXPONENTIALS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
"""exp(-2^n) for n from -2 on, with 0 integer bits."""


def logistic(value: int, source: Quantization) -> int:
    """LOGISTIC of one stored value; the output's scale is 1/256 and its zero point -128."""
    raw = _input(value, source)
    if isinstance(raw, bool):
        return INT8_RANGE[raw]
    if raw == 0:
        result = 1 << 30
    else:
        result = _reciprocal(_exponential(-abs(raw), _INPUT_BITS))
        if raw < 0:
            result = _ONE - result
    return _clamp(_divide(result, 23) - 128)


def tanh(value: int, source: Quantization) -> int:
    """TANH of one stored value; the output's scale is 1/128 and its zero point 0."""
    raw = _input(value, source)
    if isinstance(raw, bool):
        return INT8_RANGE[raw]
    if raw == 0:
        return 0
    # tanh(x) = (1 - y) / (1 + y) with y = exp(-2x); doubling adds an integer bit.
    result = _saturate((_newton(_exponential(-abs(raw), _INPUT_BITS + 1)) - (1 << 29)) << 2)
    return _clamp(_divide(result if raw > 0 else -result, 24))


def leaky_relu(value: int, source: Quantization, target: Quantization, alpha: float) -> int:
    """LEAKY_RELU of one stored value."""
    difference = value - source.zero_point
    scale = source.scale * (alpha if difference < 0 else 1) / target.scale
    return _clamp(_multiply(difference, *quantize_multiplier(scale)) + target.zero_point)


def hard_swish(value: int, source: Quantization, target: Quantization) -> int:
    """HARD_SWISH of one stored value, in 16-bit fixed point. The output's scale is no less than the input's / 128."""
    output_multiplier, output_shift = _int16_multiplier(source.scale / 128 / target.scale)
    gate_multiplier, gate_shift = _int16_multiplier(source.scale / 128 / (3 / 32768))
    fine = (value - source.zero_point) << 7
    scaled = _high_product(fine, output_multiplier)
    # The gate is the value on a scale on which 3 is 2^15, in -1..1, then moved to 0..1.
    gate = fine
    if gate_shift > 0:
        gate = _saturate(gate << (gate_shift - 1), 16)
    gate = _high_product(gate, gate_multiplier)
    if gate_shift > 0:
        gate = _saturate(gate << 1, 16)
    elif gate_shift < 0:
        gate = _divide(gate, -gate_shift)
    gate = (gate + (1 << 15)) >> 1
    product = gate * scaled
    high = product >> 15 if product >= 0 else -(-product >> 15)  # towards zero
    return _clamp(_divide(high, -output_shift) + target.zero_point)


def _input(value: int, source: Quantization) -> int | bool:
    """`value` with 4 integer bits; False where it lies below them, True above."""
    fraction, shift = math.frexp(source.scale * 2.0 ** (31 - _INPUT_BITS))
    radius = math.floor(((1 << _INPUT_BITS) - 1) * 2.0 ** (31 - _INPUT_BITS - shift))
    difference = value - source.zero_point
    if abs(difference) >= radius:
        return difference > 0
    return _multiply(difference, math.floor(fraction * 2.0**31 + 0.5), shift)


def _multiply(value: int, multiplier: int, shift: int) -> int:
    return int(multiply_by_quantized_multiplier(np.array(value), multiplier, shift))


def _divide(value: int, exponent: int) -> int:
    """`value` / 2^exponent, rounded half away from zero."""
    half = (1 << exponent) >> 1
    return (value + half) >> exponent if value >= 0 else -((half - value) >> exponent)


def _product(a: int, b: int) -> int:
    return (a * b + (1 << 30)) >> 31


def _exponential(raw: int, integer_bits: int) -> int:
    """exp of a negative value, with 0 integer bits."""
    fraction_bits = 31 - integer_bits
    quarter = 1 << (fraction_bits - 2)
    low = (raw & (quarter - 1)) - quarter
    remainder = low - raw
    # A Taylor series around -1/8.
    center, third = 1895147668, 715827883
    x = (low << integer_bits) + (1 << 28)
    x2 = _product(x, x)
    x3, x4 = _product(x2, x), _product(x2, x2)
    series = _divide(_product(_divide(x4, 2) + x3, third) + x2, 1)
    result = center + _product(center, x + series)
    for power, factor in enumerate(_EXPONENTIALS[: integer_bits + 2]):
        if remainder & (quarter << power):
            result = _product(result, factor)
    return result


def _newton(raw: int) -> int:
    """2 / (1 + x) for x in 0..1, with 2 integer bits: Newton and Raphson's division."""
    half = (raw + _ONE + 1) // 2
    x = 1515870810 + _product(half, -1010580540)
    for _ in range(3):
        x += _saturate(_product(x, (1 << 29) - _product(half, x)) << 2)
    return x


def _reciprocal(raw: int) -> int:
    """1 / (1 + x) for x in 0..1, with 0 integer bits."""
    return _saturate(_newton(raw) << 1)


def _saturate(value: int, bits: int = 32) -> int:
    return max(-(1 << (bits - 1)), min((1 << (bits - 1)) - 1, value))


def _int16_multiplier(real: float) -> tuple[int, int]:
    multiplier, shift = quantize_multiplier(real)
    return min((multiplier + (1 << 15)) >> 16, (1 << 15) - 1), shift


def _high_product(a: int, b: int) -> int:
    return (a * b + (1 << 14)) >> 15


def _clamp(value: int) -> int:
    return max(INT8_RANGE[0], min(INT8_RANGE[1], value))
