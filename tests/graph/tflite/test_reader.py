import struct
from collections import Counter
from pathlib import Path

import pytest
import tflite

from automcu.graph.costs import costs
from automcu.graph.planner import plan_memory
from automcu.graph.tflite.reader import UnsupportedModel, read_tflite
from tests.graph.shared_models import shared, tflm_heads

MLPERF = {  # MACs and weight bytes as counted from the flatbuffers in the README of the shared models
    "ad01_int8": (264_192, 264_192),
    "kws_ref_model": (2_656_768, 22_016),
    "pretrainedResnet_quant": (12_501_632, 77_360),
    "str_ww_ref_model": (826_368, 46_040),
    "vww_96_int8": (7_489_664, 208_112),
}
FOLDED = {  # operators whose only work is the shape of a RESHAPE
    "fdmobilenet_0.25_224_tfs_int8": 6,
    "st_efficientnet_lc_v1_128_tfs_int8": 48,
    "st_fdmobilenet_v1_128_tfs_int8": 6,
    "finger_int8": 3,
}
MODELS = {  # path and operators of every shared model
    "mlperf_tiny_models/ad01_int8": 10,
    "mlperf_tiny_models/kws_ref_model": 13,
    "mlperf_tiny_models/pretrainedResnet_quant": 16,
    "mlperf_tiny_models/str_ww_ref_model": 11,
    "mlperf_tiny_models/vww_96_int8": 31,
    "st_models/fdmobilenet_0.25_224_tfs_int8": 30,
    "st_models/mobilenet_v1_0.25_224_fft_int8": 36,
    "st_models/mobilenet_v1_0.25_96_fft_int8": 36,
    "st_models/mobilenet_v1_0.5_224_fft_int8": 36,
    "st_models/mobilenet_v2_0.35_128_fft_int8": 71,
    "st_models/resnet_v1_8_32_tfs_int8": 18,
    "st_models/st_efficientnet_lc_v1_128_tfs_int8": 191,
    "st_models/st_fdmobilenet_v1_128_tfs_int8": 30,
    "st_models/st_mnist_v1_28_tfs_int8": 10,
    "stedgeai_reports/stedgeai-1.0.0_yamnet-stm32-h7default/yamnet_256_64x96_tl_int8.esc10": 16,
    "stedgeai_reports/stedgeai-2.2.0_blazeface-stm32n6/blazeface_front_128_quant_pc_ff_od_wider_face": 76,
    "stedgeai_reports/stedgeai-2.2.0_finger-int8-stm32h7/finger_int8": 10,
    "stedgeai_reports/xcubeai-7.1.0_mobilenetv2-u8-stm32f4/model": 73,
}
ST_WEIGHTS = {  # bytes of "weights (ro)" in ST's reports on these very files
    "stedgeai_reports/stedgeai-1.0.0_yamnet-stm32-h7default/yamnet_256_64x96_tl_int8.esc10": 139_176,
    "stedgeai_reports/stedgeai-2.2.0_finger-int8-stm32h7/finger_int8": 433_896,
}
CONVERTED = Path(__file__).parents[1] / "converted"
RICH = (CONVERTED / "rich_int8.tflite").read_bytes()


def model(name: str = "kws_ref_model") -> bytes:
    return shared(f"mlperf_tiny_models/{name}.tflite").read_bytes()


@pytest.mark.parametrize("name", MLPERF)
def test_costs_of_the_mlperf_tiny_models(name: str) -> None:
    graph = read_tflite(model(name))
    found = costs(graph)
    biases = 4 * sum(operator.bias for operator in graph.operators)
    assert (found.total_macs, found.total_weights_bytes - biases) == MLPERF[name]


@pytest.mark.parametrize("path", MODELS)
def test_every_shared_model_is_read(path: str) -> None:
    data = shared(f"{path}.tflite").read_bytes()
    file = tflite.Model.GetRootAs(data, 0).Subgraphs(0)
    graph = read_tflite(data)
    assert len(graph.operators) == MODELS[path]
    assert file.OperatorsLength() == MODELS[path] + FOLDED.get(Path(path).name, 0)
    assert costs(graph).total_weights_bytes == data_bytes(data)
    if path in ST_WEIGHTS:
        assert costs(graph).total_weights_bytes == ST_WEIGHTS[path]


def test_no_shared_model_is_left_out() -> None:
    folders = ("mlperf_tiny_models", "st_models", "stedgeai_reports")
    found = {path for folder in folders for path in shared(folder).rglob("*.tflite")}
    assert found == {shared(f"{path}.tflite") for path in MODELS}


def test_arena_of_real_models_is_tflms_head() -> None:
    """Also where shapes are folded: the few bytes that tflite-micro spends on them are never in the way."""
    paths = [shared(f"{path}.tflite") for path in MODELS]
    assert [plan_memory(read_tflite(path.read_bytes())).arena_bytes for path in paths] == tflm_heads(paths)


def test_squeeze_and_excite_is_read() -> None:
    graph = read_tflite(shared("st_models/st_efficientnet_lc_v1_128_tfs_int8.tflite").read_bytes())
    kinds = Counter(operator.kind for operator in graph.operators)
    assert [kinds[kind] for kind in ("MUL", "LOGISTIC", "MINIMUM", "MAXIMUM", "RESHAPE")] == [16] * 5
    gate = next(operator for operator in graph.operators if operator.kind == "MUL")
    shapes = [graph.tensors[index].shape for index in (*gate.inputs, gate.output)]
    assert shapes == [(1, 64, 64, 16), (1, 1, 1, 16), (1, 64, 64, 16)]
    clamp = next(operator for operator in graph.operators if operator.kind == "MAXIMUM")
    assert (len(clamp.inputs), clamp.weights) == (1, (1,))


def test_constant_operands_count_as_weights() -> None:
    graph = read_tflite(RICH)
    assert [op.kind for op in graph.operators] == [
        *("MUL", "ADD", "CONV_2D", "HARD_SWISH", "MAX_POOL_2D", "MUL", "ADD", "CONV_2D", "MEAN", "CONV_2D", "CONV_2D"),
        *("LOGISTIC", "MUL", "ADD", "CONV_2D", "RELU", "RELU6", "CONCATENATION", "TRANSPOSE", "RESHAPE"),
        *("FULLY_CONNECTED", "SOFTMAX"),
    ]
    constants = [op.weights for op in graph.operators if op.kind in ("MUL", "ADD")]
    assert constants == [(1,), (1,), (8,), (8,), (), ()]
    found = costs(graph)
    assert found.total_weights_bytes == data_bytes(RICH)
    assert [macs > 0 for macs in found.macs] == [op.kind in ("CONV_2D", "FULLY_CONNECTED") for op in graph.operators]


def test_less_common_operators_are_read() -> None:
    data = (CONVERTED / "varied_int8.tflite").read_bytes()
    graph = read_tflite(data)
    assert [op.kind for op in graph.operators] == [
        *("SUB", "MUL", "CONV_2D", "LEAKY_RELU", "CONV_2D", "PRELU", "RESIZE_NEAREST_NEIGHBOR", "CONV_2D", "TANH"),
        *("RESIZE_BILINEAR", "SUB", "REDUCE_MAX", "RESHAPE", "CONV_2D", "RESHAPE", "MEAN", "REDUCE_MAX"),
        *("CONCATENATION", "FULLY_CONNECTED", "SOFTMAX"),
    ]
    assert costs(graph).total_weights_bytes == data_bytes(data)
    slopes = graph.operators[5]
    assert (slopes.weights, slopes.bias, len(slopes.inputs)) == ((1, 1, 8), 0, 1)
    resized = [graph.tensors[op.output].shape for op in graph.operators if op.kind.startswith("RESIZE")]
    assert resized == [(1, 16, 16, 8)] * 2


def data_bytes(data: bytes) -> int:
    """Bytes of all constant tensors with a scale: of all but axes and shapes."""
    model = tflite.Model.GetRootAs(data, 0)
    tensors = [model.Subgraphs(0).Tensors(index) for index in range(model.Subgraphs(0).TensorsLength())]
    scaled = [tensor for tensor in tensors if (scheme := tensor.Quantization()) and scheme.ScaleLength()]
    return sum(model.Buffers(tensor.Buffer()).DataLength() for tensor in scaled)


def test_arena_of_the_converted_models_is_tflms_head() -> None:
    paths = sorted(CONVERTED.glob("*_int8*.tflite"))
    assert len(paths) == 6
    assert [plan_memory(read_tflite(path.read_bytes())).arena_bytes for path in paths] == tflm_heads(paths)


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
