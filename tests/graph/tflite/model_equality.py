"""When are two int8 models the same?"""

import numpy as np

from automcu.graph.int8_model import Constants, Int8Model


def require_equal(one: Int8Model, other: Int8Model) -> None:
    """Structure, names, quantization to the last bit, constants and attributes."""
    assert one.graph == other.graph
    assert [tensor.name for tensor in one.graph.tensors] == [tensor.name for tensor in other.graph.tensors]
    assert one.quantization == other.quantization
    assert one.attributes == other.attributes
    for left, right in zip(one.constants, other.constants, strict=True):
        assert (left is None) == (right is None)
        if left is not None and right is not None:
            _require_equal_constants(left, right)


def _require_equal_constants(left: Constants, right: Constants) -> None:
    assert (left.zero_point, left.first, left.bias is None) == (right.zero_point, right.first, right.bias is None)
    pairs = [(left.weights, right.weights), (left.scales, right.scales)]
    if left.bias is not None:
        pairs.append((left.bias, right.bias))
    for one, other in pairs:
        assert (one.dtype, one.shape) == (other.dtype, other.shape) and np.array_equal(one, other)
