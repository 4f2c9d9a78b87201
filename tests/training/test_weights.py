import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from automcu.errors import OutputError
from automcu.training.weights import check_weights, parameter_count, weights_from_bytes, weights_to_bytes
from tests.contracts.trainer import NETWORK


def _weights():
    rng = np.random.default_rng(0)
    return {name: rng.random(shape, np.float32) for name, shape in NETWORK.parameter_shapes.items()}


def test_round_trip():
    weights = _weights()
    weights["a.kernel"] = weights["a.kernel"].transpose(0, 1, 3, 2)  # not contiguous
    back = weights_from_bytes(weights_to_bytes(weights))
    assert back.keys() == weights.keys()
    for name, array in weights.items():
        np.testing.assert_array_equal(back[name], array)


@given(st.binary(max_size=200))
def test_rubbish_is_a_typed_error(data):
    with pytest.raises(OutputError):
        weights_from_bytes(data)


@given(st.integers(0, 400), st.integers(0, 255))
def test_damage_is_a_typed_error_or_other_numbers(position, value):
    data = bytearray(weights_to_bytes(_weights()))
    data[position] = value
    try:
        found = weights_from_bytes(bytes(data))
    except OutputError:
        return
    assert all(array.dtype == np.float32 for array in found.values())


def test_truncated_file():
    data = weights_to_bytes(_weights())
    for length in (0, 4, 8, 100, len(data) - 1):
        with pytest.raises(OutputError):
            weights_from_bytes(data[:length])


@pytest.mark.parametrize("dtype", ["float64", "int32"])
def test_other_types_are_refused(dtype):
    from safetensors.numpy import save

    with pytest.raises(OutputError, match=dtype):
        weights_from_bytes(save({"a": np.zeros(3, dtype)}))


def test_bfloat16_is_a_typed_error():
    header = b'{"a":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}'
    with pytest.raises(OutputError):
        weights_from_bytes(len(header).to_bytes(8, "little") + header + b"\0\0")


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_check_weights_names_what_is_wrong(change):
    weights = _weights()
    check_weights(NETWORK, weights)
    if change == "missing":
        del weights["d.bias"]
    elif change == "extra":
        weights["d.bias2"] = np.zeros(1, np.float32)
    else:
        weights["d.bias"] = np.zeros(4, np.float32)
    with pytest.raises(OutputError, match=r"d\.bias"):
        check_weights(NETWORK, weights)


def test_parameter_count_leaves_out_statistics():
    assert parameter_count(NETWORK) == 8 * 9 + 2 * 8 + 8 * 3 + 3
