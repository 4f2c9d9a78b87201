import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from automcu.errors import CandidateFailure
from automcu.graph.int8_model import Quantization
from automcu.graph.requantize import (
    activation_range,
    channel_scales,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
)

REALS = st.floats(2.0**-31, 2.0**29)
INT32 = st.integers(-(2**31), 2**31 - 1)


def in_c(value: int, multiplier: int, shift: int) -> int:
    """gemmlowp's scalar code, step by step: SaturatingRoundingDoublingHighMul, then RoundingDivideByPOT."""
    shifted = (value << max(shift, 0)) & 0xFFFFFFFF
    shifted -= (shifted >> 31) << 32
    product = shifted * multiplier
    nudge = (1 << 30) if product >= 0 else 1 - (1 << 30)
    high = abs(product + nudge) >> 31
    high = high if product + nudge >= 0 else -high  # C's division truncates
    exponent = max(-shift, 0)
    mask = (1 << exponent) - 1
    return (high >> exponent) + int((high & mask) > (mask >> 1) + (high < 0))


@given(REALS)
def test_the_multiplier_is_the_nearest(real: float) -> None:
    multiplier, shift = quantize_multiplier(real)
    assert 2**30 <= multiplier < 2**31 and -31 <= shift <= 30
    assert abs(Fraction(multiplier) * Fraction(2) ** (shift - 31) - Fraction(real)) <= Fraction(2) ** (shift - 32)
    assert quantize_multiplier(-real) == (-multiplier, shift)


def test_multipliers_at_the_edges() -> None:
    assert quantize_multiplier(1.0) == (2**30, 1)
    assert quantize_multiplier(math.nextafter(1.0, 0)) == (2**30, 1)  # rounded up to the next power of two
    assert quantize_multiplier(0.0) == quantize_multiplier(2.0**-33) == (0, 0)
    assert quantize_multiplier(2.0**29) == (2**30, 30)
    for real in (2.0**30, math.inf, -math.inf, math.nan):
        with pytest.raises(CandidateFailure, match=r"differ by the factor .*; convert"):
            quantize_multiplier(real)


@given(st.lists(INT32, min_size=1, max_size=20), REALS)
def test_products_are_those_of_the_c_code(values: list[int], real: float) -> None:
    multiplier, shift = quantize_multiplier(real)
    found = multiply_by_quantized_multiplier(np.array(values, np.int32), multiplier, shift)
    assert found.dtype == np.int32
    assert found.tolist() == [in_c(value, multiplier, shift) for value in values]


@given(st.lists(st.integers(-(2**23), 2**23), min_size=2, max_size=20), st.floats(1e-6, 100))
def test_products_never_decrease_and_are_near(values: list[int], real: float) -> None:
    found = multiply_by_quantized_multiplier(np.array(sorted(values), np.int32), *quantize_multiplier(real))
    assert (np.diff(found) >= 0).all()
    assert np.abs(found - np.array(sorted(values)) * real).max() <= 1.5


def test_channels_have_their_own_multipliers() -> None:
    values = np.array([[1000, 1000], [-1000, -1000]], np.int32)
    multipliers, shifts = np.array([quantize_multiplier(real) for real in (0.5, 0.003)]).T
    assert multiply_by_quantized_multiplier(values, multipliers, shifts).tolist() == [[500, 3], [-500, -3]]


def test_scales_are_multiplied_in_double_precision() -> None:
    source, output, scales = Quantization(float(np.float32(0.1)), 0), Quantization(1.0, 0), np.float32([0.3])
    exact = source.scale * float(scales[0])
    assert float(np.float32(exact)) != exact
    assert channel_scales(source, scales, output) == [exact]
    assert channel_scales(source, scales.repeat(2), output) == [exact] * 2


def test_activations_bound_the_output() -> None:
    assert activation_range("NONE", Quantization(0.1, 5)) == (-128, 127)
    assert activation_range("RELU", Quantization(0.1, 5)) == (5, 127)
    assert activation_range("RELU6", Quantization(0.1, 5)) == (5, 65)
    assert activation_range("RELU6", Quantization(1e-30, -128)) == (-128, 127)
    assert activation_range("RELU6", Quantization(4.0, -128)) == (-128, -126)  # 1.5 is rounded away from zero
