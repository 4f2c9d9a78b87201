"""What a file says beside its structure: read as it is, or refused."""

from dataclasses import replace
from math import inf, nan

import numpy as np
import pytest
import tflite

from automcu.graph.int8 import Int8Graph, Operator, Tensor, Window
from automcu.graph.int8_model import Attributes, Constants, Int8Model, Quantization
from automcu.graph.tflite.constants import read_model
from automcu.graph.tflite.file import UnsupportedModel
from automcu.graph.tflite.reader import read_tflite
from automcu.graph.tflite.writer import write_model
from tests.graph.shared_models import shared

QUANTIZATION = Quantization(0.5, 3)
SOFTMAX = Quantization(1 / 256, -128)


def model(
    kind: str = "DEPTHWISE_CONV_2D",
    source: Quantization | None = QUANTIZATION,
    output: Quantization | None = QUANTIZATION,
    scales: tuple[float, ...] = (0.5, 0.25),
    attributes: Attributes | None = None,
    zero_point: int = 0,
) -> Int8Model:
    """One operator on a map of 4 x 4 x 2."""
    tensors = Tensor("image", (1, 4, 4, 2), "int8"), Tensor("out", (1, 4, 4, 2), "int8")
    constants = None
    operator = Operator("out", kind, (0,), 1)
    if kind in ("DEPTHWISE_CONV_2D", "ADD"):
        weights = np.arange(-4, 4, dtype=np.int8).reshape(1, 2, 2, 2)
        bias = None
        operator = replace(operator, weights=weights.shape)
        if kind != "ADD":
            bias = np.array([-(2**31), 2**31 - 1], np.int32)
            operator = replace(operator, bias=2, window=Window((2, 2), (1, 1), "SAME"))
        else:
            weights = weights[:, :1, :1]
            operator = replace(operator, weights=weights.shape)
        constants = Constants(weights, np.array(scales, np.float32), zero_point, bias)
    graph = Int8Graph(tensors, (operator,), (0,), (1,))
    return Int8Model(graph, (source, output), (constants,), (attributes or Attributes(),))


def test_the_keyword_spotting_model_is_read_as_it_is() -> None:
    data = shared("mlperf_tiny_models/kws_ref_model.tflite").read_bytes()
    found = read_model(data)
    assert found.graph == read_tflite(data)
    assert found.quantization[0] == Quantization(float(np.float32(0.5847029)), 83)
    assert found.quantization[-1] == SOFTMAX
    first, last = found.constants[0], found.constants[-2]
    assert first is not None and last is not None and found.constants[-1] is None
    assert first.weights.shape == (64, 10, 4, 1) and first.weights.dtype == np.int8 and len(first.scales) == 64
    assert first.bias is not None and first.bias.dtype == np.int32 and first.bias.shape == (64,)
    assert abs(first.weights.astype(int)).max() == 127
    assert last.weights.shape == (12, 64)
    assert not first.weights.flags.writeable


REFUSED = {
    "scale 0": (model(source=Quantization(0.0, 0)), "scale 0.0 and zero point 0"),
    "negative scale": (model(output=Quantization(-1.0, 0)), "scale -1.0"),
    "infinite scale": (model(source=Quantization(inf, 0)), "scale inf"),
    "no number": (model(source=Quantization(nan, 0)), "scale nan"),
    "zero point": (model(source=Quantization(1.0, 128)), "zero point 128"),
    "huge zero point": (model(source=Quantization(1.0, -(2**62))), "zero point -4611686018427387904"),
    "no quantization": (model(output=None), "has no quantization"),
    "three scales": (model(scales=(1, 1, 1)), "3 weight scales for 2 channels"),
    "weight scale 0": (model(scales=(1, 0)), "or bad ones"),
    "weight scale inf": (model(scales=(1, inf)), "or bad ones"),
    "weight scale nan": (model(scales=(nan,)), "or bad ones"),
    "asymmetric weights": (model(zero_point=1), "zero points other than 0"),
    "two scales of an operand": (model("ADD"), "2 scales"),
    "operand's zero point": (model("ADD", scales=(1,), zero_point=200), "zero point 200"),
    "beta": (model("SOFTMAX", output=SOFTMAX, attributes=Attributes(beta=nan)), "attribute nan"),
    "beta 0": (model("SOFTMAX", output=SOFTMAX, attributes=Attributes(beta=0)), "beta 0"),
    "alpha": (model("LEAKY_RELU", attributes=Attributes(alpha=inf)), "attribute inf"),
    "softmax": (model("SOFTMAX"), "output scale 0.5 and zero point 3 where 0.00390625 and -128"),
    "logistic": (model("LOGISTIC"), r"LOGISTIC \(layer out\) has the output scale 0.5"),
    "tanh": (model("TANH", output=SOFTMAX), "where 0.0078125 and 0 hold"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_quantization_that_is_not_of_the_scheme_is_refused(case: str) -> None:
    given, reason = REFUSED[case]
    with pytest.raises(UnsupportedModel, match=f"{reason}.*; convert the network to int8 again$"):
        read_model(write_model(given))


def test_scales_along_another_axis_are_refused() -> None:
    data = bytearray(write_model(model()))
    file = tflite.Model.GetRootAs(data, 0).Subgraphs(0)
    scheme = file.Tensors(int(file.Operators(0).Inputs(1))).Quantization()
    assert scheme.QuantizedDimension() == 3
    data[scheme._tab.Pos + scheme._tab.Offset(16)] = 2
    with pytest.raises(UnsupportedModel, match="scales along axis 2; convert"):
        read_model(bytes(data))


def test_constants_that_many_operators_share_are_not_copied() -> None:
    data = write_model(model())
    constants = read_model(data).constants[0]
    assert constants is not None and constants.bias is not None
    for array in (constants.weights, constants.scales, constants.bias):
        assert not array.flags.owndata and not array.flags.writeable
