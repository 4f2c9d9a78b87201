"""What the DSP kernels' tricks rest on, in exact integers."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from automcu.deploy.emit.dsp import paired_weights
from automcu.graph.requantize import multiply_by_quantized_multiplier


@given(
    st.integers(-(2**30), 2**30 - 1) | st.integers(-300, 300),
    st.integers(2**30, 2**31 - 1),
    st.integers(1, 22),
    st.integers(-128, 127),
)
def test_output_rule(accumulator: int, multiplier: int, right: int, zero_point: int) -> None:
    """`automcu_dsp_output`, step by step, is TensorFlow Lite Micro's requantization, and nothing overflows."""
    doubled = 2 * accumulator
    high = ((doubled * multiplier + (1 << 31)) >> 32) + ((2 * zero_point + 1) << (right - 1))
    high += doubled >> 31
    assert -(2**31) <= doubled < 2**31
    assert -(2**31) <= high < 2**31
    expected = multiply_by_quantized_multiplier(np.array(accumulator), multiplier, -right) + zero_point
    assert high >> (right - 1) >> 1 == int(expected)


@given(
    st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 13)).flatmap(
        lambda shape: st.tuples(
            arrays(np.int8, shape, elements=st.integers(-127, 127)), arrays(np.int8, shape[1:]), st.booleans()
        )
    )
)
def test_paired_weights(drawn: tuple[np.ndarray, np.ndarray, bool]) -> None:
    """Words of weights against pairs of activations give the dot products of two units."""
    weights, window, wide = drawn
    units, rows, _ = weights.shape
    flat = weights.reshape(units, -1)
    packed = paired_weights(flat, rows, wide)
    assert packed.nbytes == flat.nbytes
    pairs = expand(window)
    expected = flat.astype(np.int64) @ window.ravel().astype(np.int64)
    skipped, at = flat.shape[1] & 1, 0
    for unit in range(0, units - 1, 2):
        words = np.concatenate([np.zeros(2 * skipped, np.int8), packed[at : at + 2 * flat.shape[1]]]).reshape(-1, 2, 2)
        at += 2 * flat.shape[1]
        halves = np.ascontiguousarray(words).view("<i2")[..., 0].astype(np.int64)
        even = int((words[..., 0].astype(np.int64) * pairs).sum())
        odd = int((words[..., 1].astype(np.int64) * pairs).sum())
        if not wide:
            odd, remainder = divmod(int((halves * pairs).sum()) - even, 256)
            assert remainder == 0
        assert (even, odd) == (expected[unit], expected[unit + 1])
    if units & 1:
        last = np.concatenate([np.zeros(skipped, np.int8), packed[at:]]).reshape(-1, 2)
        assert (last.astype(np.int64) * pairs).sum() == expected[-1]


def expand(window: np.ndarray) -> np.ndarray:
    """Pairs as `automcu_dsp_expand4` makes them."""
    rows, run = window.shape
    whole = run & ~3
    pairs = [(0, window[-1, -1])] if rows * run & 1 else []
    for row in window:
        for first in range(0, whole, 4):
            pairs += [(row[first], row[first + 2]), (row[first + 1], row[first + 3])]
    if run & 2:
        pairs += [(row[whole], row[whole + 1]) for row in window]
    if run & 1:
        pairs += [(window[row, -1], window[row + 1, -1]) for row in range(0, rows - 1, 2)]
    return np.array(pairs, np.int64).reshape(-1, 2)
