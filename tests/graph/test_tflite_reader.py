import random
import struct
import time

import pytest
import tflite

from automcu.graph.costs import costs
from automcu.graph.planner import plan_memory
from automcu.graph.tflite_reader import UnsupportedModel, read_tflite
from tests.graph.shared_models import shared, tflm_heads

MLPERF = {  # MACs and weight bytes as counted from the flatbuffers in the README of the shared models
    "ad01_int8": (264_192, 264_192),
    "kws_ref_model": (2_656_768, 22_016),
    "pretrainedResnet_quant": (12_501_632, 77_360),
    "str_ww_ref_model": (826_368, 46_040),
    "vww_96_int8": (7_489_664, 208_112),
}
ST = (
    "mobilenet_v1_0.25_224_fft_int8",
    "mobilenet_v1_0.25_96_fft_int8",
    "mobilenet_v1_0.5_224_fft_int8",
    "mobilenet_v2_0.35_128_fft_int8",
    "resnet_v1_8_32_tfs_int8",
    "st_mnist_v1_28_tfs_int8",
)


def model(name: str = "kws_ref_model") -> bytes:
    return shared(f"mlperf_tiny_models/{name}.tflite").read_bytes()


@pytest.mark.parametrize("name", MLPERF)
def test_costs_of_the_mlperf_tiny_models(name: str) -> None:
    graph = read_tflite(model(name))
    found = costs(graph)
    biases = 4 * sum(operator.bias for operator in graph.operators)
    assert (found.total_macs, found.total_weights_bytes - biases) == MLPERF[name]


def test_arena_of_real_models_is_tflms_head() -> None:
    paths = [shared(f"mlperf_tiny_models/{name}.tflite") for name in MLPERF]
    paths += [shared(f"st_models/{name}.tflite") for name in ST]
    arenas = [plan_memory(read_tflite(path.read_bytes())).arena_bytes for path in paths]
    assert arenas == tflm_heads(paths)


@pytest.mark.parametrize(
    "path, reason",
    [
        ("st_models/fdmobilenet_0.25_224_tfs_int8.tflite", "SHAPE"),
        ("st_models/st_efficientnet_lc_v1_128_tfs_int8.tflite", "SHAPE"),
        ("stedgeai_reports/stedgeai-1.0.0_yamnet-stm32-h7default/yamnet_256_64x96_tl_int8.esc10.tflite", "TRANSPOSE"),
    ],
)
def test_other_operators_are_refused_by_name(path: str, reason: str) -> None:
    with pytest.raises(UnsupportedModel, match=f"operator {reason} is not supported; use"):
        read_tflite(shared(path).read_bytes())


def altered(change: str) -> bytes:
    """The keyword-spotting model with one thing wrong."""
    data = bytearray(model())
    graph = tflite.Model.GetRootAs(data, 0).Subgraphs(0)
    operator = graph.Operators(0)
    match change:
        case "float":
            tensor = graph.Tensors(int(operator.Inputs(1)))
            data[tensor._tab.Pos + tensor._tab.Offset(6)] = tflite.TensorType.FLOAT32
        case "dynamic":
            graph.Tensors(int(graph.Inputs(0))).ShapeAsNumpy()[0] = -1
        case "batch":
            graph.Tensors(int(graph.Inputs(0))).ShapeAsNumpy()[0] = 2
        case "missing tensor":
            operator.InputsAsNumpy()[0] = 9999
        case "cycle":
            operator.InputsAsNumpy()[0] = graph.Outputs(0)
        case "false shape":
            graph.Tensors(int(operator.Outputs(0))).ShapeAsNumpy()[1] = 1
        case "huge weights":
            graph.Tensors(int(operator.Inputs(1))).ShapeAsNumpy()[0] = 2**31 - 1
        case "huge count":
            struct.pack_into("<I", data, graph._tab.Vector(graph._tab.Offset(10)) - 4, 2**32 - 1)
        case "no operators":
            struct.pack_into("<I", data, graph._tab.Vector(graph._tab.Offset(10)) - 4, 0)
        case "made twice":
            graph.Operators(1).OutputsAsNumpy()[0] = operator.Outputs(0)
    return bytes(data)


@pytest.mark.parametrize(
    "change, reason",
    [
        ("float", "float32"),
        ("dynamic", "dynamic"),
        ("batch", r"shape \(2, 49"),
        ("missing tensor", "9999|not made yet"),
        ("cycle", "not made yet"),
        ("false shape", "should make"),
        ("huge weights", "bytes of constants"),
        ("huge count", "operators"),
        ("no operators", "0 operators"),
        ("made twice", "made twice"),
    ],
)
def test_a_wrong_file_is_refused_with_reason_and_remedy(change: str, reason: str) -> None:
    with pytest.raises(UnsupportedModel, match=f"({reason}).*; "):
        read_tflite(altered(change))


@pytest.mark.parametrize("data", [b"", b"TFL3", b"\0\0\0\0TFL3", b"\xff" * 4 + b"TFL3" + b"\xff" * 64, b"PK" * 100])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(UnsupportedModel):
        read_tflite(data)


def test_damaged_files_are_read_or_refused_in_no_time() -> None:
    whole = model()
    rng = random.Random(0)
    refused = 0
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 2, 10))):
            at = rng.randrange(400) if rng.random() < 0.2 else len(whole) - 4 - rng.randrange(12_000)
            data[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\0\0\0\x80", rng.randbytes(4)))
        if rng.random() < 0.2:
            del data[rng.randrange(len(data)) :]
        began = time.perf_counter()
        try:
            plan_memory(read_tflite(bytes(data)))
        except UnsupportedModel as error:
            refused += 1
            assert "; " in str(error)
        assert time.perf_counter() - began < 2
    assert refused > 100
