"""Integer requantization exactly as TensorFlow Lite Micro computes it: fixed point, rounded twice (gemmlowp's scheme).

It decides outputs bit for bit, so code is emitted for it, and exact graph optimisation reasons with it.

Factors between scales are taken in double precision throughout, as the PyPI build of tflite-micro does, the oracle. Its
sources say single precision in some places (per-tensor FULLY_CONNECTED, SUB, LEAKY_RELU, HARD_SWISH, RELU), but the
build does not round there: scales whose quotients lie next to a tie show it (`tests/deploy/corner_models.py`).
"""

import math

import numpy as np

from automcu.errors import CandidateFailure
from automcu.graph.int8 import Activation
from automcu.graph.int8_model import Quantization

INT8_RANGE = (-128, 127)
_FRACTION_BITS = 31
_LARGEST_SHIFT = 30


def quantize_multiplier(real: float) -> tuple[int, int]:
    """Multiplier (0, or 2^30 <= |multiplier| < 2^31) and shift for which real = multiplier * 2^(shift - 31).

    What is below 2^-32 becomes (0, 0); shifts run to 30, and `CandidateFailure` is raised for what would need a larger
    one, or is no number.
    """
    if math.isfinite(real):
        fraction, shift = math.frexp(abs(real))
        multiplier = math.floor(fraction * 2**_FRACTION_BITS + 0.5)
        if multiplier == 2**_FRACTION_BITS:
            multiplier, shift = multiplier // 2, shift + 1
        if shift < -_FRACTION_BITS:
            multiplier, shift = 0, 0
        if shift <= _LARGEST_SHIFT:
            return multiplier if real >= 0 else -multiplier, shift
    raise CandidateFailure(
        f"scales of a layer's tensors differ by the factor {real}; convert the network to int8 again"
    )


def multiply_by_quantized_multiplier(
    values: np.ndarray, multiplier: np.ndarray | int, shift: np.ndarray | int
) -> np.ndarray:
    """`values` (int32) times the real number of `multiplier` and `shift`, int32; the arguments are broadcast.

    Monotonic in the values, unless a left shift overflows, which wraps around.
    """
    shift = np.asarray(shift, np.int64)
    shifted = (np.asarray(values, np.int64) << np.maximum(shift, 0)).astype(np.int32).astype(np.int64)
    high = (shifted * np.asarray(multiplier, np.int64) + (1 << 30)) >> _FRACTION_BITS  # rounded, halves up
    right = np.maximum(-shift, 0)
    mask = (np.int64(1) << right) - 1
    rounded = (high >> right) + ((high & mask) > (mask >> 1) + (high < 0))  # rounded, halves away from zero
    return np.asarray(rounded, np.int32)


def channel_scales(source: Quantization, scales: np.ndarray, output: Quantization) -> list[float]:
    """The real factors from accumulator to output of a CONV_2D, DEPTHWISE_CONV_2D or FULLY_CONNECTED, one for each
    weight scale in `scales` (float32)."""
    return [source.scale * float(scale) / output.scale for scale in scales]


def activation_range(activation: Activation, output: Quantization) -> tuple[int, int]:
    """The lowest and the highest int8 value that a fused activation lets through."""
    lowest, highest = INT8_RANGE
    if activation != "NONE":
        lowest = max(lowest, output.zero_point)
    if activation == "RELU6":
        # Single precision, rounded halves away from zero, as TensorFlow Lite Micro does.
        six = float(np.float32(6) / np.float32(output.scale))
        highest = int(min(highest, output.zero_point + math.floor(min(six, 2.0**9) + 0.5)))
    return lowest, highest
