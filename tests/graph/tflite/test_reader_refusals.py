"""What is refused, by which name and with which remedy."""

from pathlib import Path

import pytest

from automcu.errors import CandidateFailure
from automcu.feasibility.planner_tier import PlannerTier
from automcu.graph.tflite.file import MAX_ALIVE
from automcu.graph.tflite.reader import UnsupportedModel, read_tflite
from tests.graph.tflite.build import O, T, build

CONVERTED = Path(__file__).parents[1] / "converted"
MAP = T((1, 8, 8, 4), name="map")
OUT = T((1, 8, 8, 4), name="block/out;more")
RELU = O("RELU", (0,), (1,))


def int32(*values: int, shape: tuple[int, ...] | None = None) -> T:
    data = b"".join(value.to_bytes(4, "little", signed=True) for value in values)
    return T((len(values),) if shape is None else shape, "INT32", data)


def one(op: O, *others: T, source: T = MAP, output: T = OUT) -> bytes:
    """A model of one operator; tensors 2 and so on are `others`."""
    return build([source, output, *others], [op], [0], [1])


def add(left: int, right: int, output: int) -> O:
    return O("ADD", (left, right), (output,), "AddOptions")


@pytest.mark.parametrize(
    "name, reason",
    [
        ("float", r"CONV_2D \(layer .*Relu\) works on float32"),
        ("float16", r"DEQUANTIZE \(layer .*\) unpacks float16 weights"),
        ("dynamic", r"CONV_2D \(layer .*Relu\) has int8 weights but works on float32 .*dynamic range"),
        ("int16", r"QUANTIZE \(layer .*\) works on int16"),
    ],
)
def test_other_precisions(name: str, reason: str) -> None:
    with pytest.raises(UnsupportedModel, match=f"^{reason}.*; quantize the whole network to int8"):
        read_tflite((CONVERTED / f"plain_{name}.tflite").read_bytes())


POOL = {"FilterHeight": 1, "FilterWidth": 1, "StrideH": 65_537, "StrideW": 1}
REFUSED = {
    "uint8": (
        one(RELU, source=T(MAP.shape, "UINT8"), output=T(OUT.shape, "UINT8", name="block/out")),
        "uint8, the sch",
    ),
    "int64": (one(RELU, source=T(MAP.shape, "INT64")), "of type int64"),
    "unsupported": (one(O("DIV", (0,), (1,))), r"DIV \(layer block/out\) is not supported; use CONV_2D, .*ADD"),
    "split": (
        build([MAP, T((1, 8, 8, 2)), T((1, 8, 8, 2))], [O("SPLIT", (0,), (1, 2), "SplitOptions")], [0], [1, 2]),
        "SPLIT .* has 1 inputs and 2 outputs; use operators with one output",
    ),
    "sub of a gate": (
        build([MAP, OUT, T((1, 1, 1, 4))], [O("SUB", (0, 2), (1,), "SubOptions")], [0, 2], [1]),
        "subtract feature maps of one shape",
    ),
    "wrong squeeze": (one(O("SQUEEZE", (0,), (1,)), output=T((1, 4, 16, 4))), r"makes \(1, 4, 16, 4\) of \(1, 8, 8, 4"),
    "wrong size": (one(O("RESIZE_BILINEAR", (0, 2), (1,)), int32(8, 9)), r"should make \(1, 8, 9, 4\)"),
    "three sizes": (one(O("RESIZE_BILINEAR", (0, 2), (1,)), int32(8, 8, 4)), "resizes to"),
    "wide slopes": (one(O("PRELU", (0, 2), (1,)), T((8,), data=bytes(8))), r"slopes of shape \(8,\)"),
    "maximum of channels": (
        one(O("REDUCE_MAX", (0, 2), (1,), "ReducerOptions"), int32(3), output=T((1, 8, 8))),
        r"reduces axes \(3,\) of .*; reduce height and width",
    ),
    "custom": (one(O("CUSTOM", (0,), (1,), custom="Flex\x1b[2JErf")), r"custom operator Flex\?\[2JErf; build"),
    "unnamed custom": (one(O("CUSTOM", (0,), (1,))), "custom operator without a name"),
    "unknown number": (one(O(9999, (0,), (1,))), "layer block/out has the unknown operator number 9999"),
    "operators": (build([MAP, OUT], [], [0], [1]), "0 operators"),
    "tensors": (build([], [RELU], [], []), "0 tensors"),
    "no input": (build([MAP, OUT], [RELU], [], [1]), "no input or no output"),
    "no output": (build([MAP, OUT], [RELU], [0], []), "no input or no output"),
    "subgraphs": (build([MAP, OUT], [RELU], [0], [1], subgraphs=2), "2 subgraphs; convert one without control flow"),
    "no subgraph": (build([MAP, OUT], [RELU], [0], [1], subgraphs=0), "0 subgraphs"),
    "shapes alone": (
        build([MAP, T((4,), "INT32")], [O("SHAPE", (0,), (1,))], [0], [1]),
        "computes nothing but shapes",
    ),
    "shape as output": (
        build([MAP, OUT, T((4,), "INT32", name="s")], [RELU, O("SHAPE", (0,), (2,))], [0], [2]),
        "output s of data",
    ),
    "dynamic height": (
        one(RELU, source=T((1, 1, 8, 4), name="image", signature=(-1, -1, 8, 4))),
        r"tensor image of shape \(-1, -1, 8, 4\) has the dynamic dimension 1; convert with a fixed shape",
    ),
    "no shape": (one(RELU, source=T((), name="image")), "tensor image has no dimensions"),
    "empty": (one(RELU, source=T((1, 0, 8, 4), name="image")), r"tensor image has the dynamic or empty shape \(1, 0"),
    "batch": (one(RELU, source=T((2, 8, 8, 4))), r"input has shape \(2, 8, 8, 4\); use batch size 1"),
    "outer product": (
        build([T((1, 8, 1, 4)), OUT, T((1, 1, 8, 4))], [O("MUL", (0, 2), (1,), "MulOptions")], [0, 2], [1]),
        r"MUL \(layer block/out\) combines .* into .*; let one operand have the shape of the output",
    ),
    "add of a gate": (
        build([MAP, OUT, T((1, 1, 1, 4))], [add(0, 2, 1)], [0, 2], [1]),
        "add and subtract feature maps of one shape",
    ),
    "wide constant": (one(add(0, 2, 1), T((1, 9, 8, 4), data=bytes(288))), "let one operand"),
    "float constant": (one(add(0, 2, 1), T((), "FLOAT32", bytes(4), name="half")), r"float32 constants \(half\)"),
    "short constant": (one(add(0, 2, 1), T((4,), data=bytes(3))), "3 bytes of constants"),
    "two constants": (build([MAP, OUT, T((4,), data=bytes(4))], [add(2, 2, 1)], [0], [1]), "let one operand"),
    "axes": (one(O("TRANSPOSE", (0, 2), (1,)), int32(0, 1, 1, 3)), "orders the axes"),
    "transposed shape": (one(O("TRANSPOSE", (0, 2), (1,)), int32(0, 3, 1, 2)), r"should make \(1, 4, 8, 8\)"),
    "reshape by data": (
        one(O("RESHAPE", (0, 2), (1,)), T((4,), "INT32")),
        "known at run time only; convert with the batch size fixed at 1",
    ),
    "reshape elsewhere": (one(O("RESHAPE", (0, 2), (1,)), int32(1, 8, 4, 8)), "should make"),
    "swish of another shape": (one(O("HARD_SWISH", (0,), (1,)), output=T((1, 8, 8, 5))), "should make"),
    "quantize to float": (one(O("QUANTIZE", (0,), (1,)), output=T(OUT.shape, "FLOAT32")), "makes float32"),
    "scalar units": (
        build(
            [MAP, T(()), T((1, 256), data=bytes(256))],
            [O("FULLY_CONNECTED", (0, 2), (1,), "FullyConnectedOptions")],
            [0],
            [1],
        ),
        "no dimensions",
    ),
    "huge": (
        one(RELU, source=T((1, 2**31 - 1, 2**31 - 1, 4), name="image")),
        "up to tensor image take .* at most 268,4",
    ),
    "huge stride": (one(O("MAX_POOL_2D", (0,), (1,), "Pool2DOptions", POOL)), "use at most 65,536"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_is_one_sentence_that_names_the_cause(case: str) -> None:
    data, reason = REFUSED[case]
    with pytest.raises(UnsupportedModel, match=reason) as caught:
        read_tflite(data)
    assert "; " in str(caught.value) and str(caught.value).isprintable()


def fan(count: int) -> bytes:
    """A model that keeps its input and `count` ReLUs of it, then adds them up."""
    relus = [O("RELU", (0,), (1 + i,)) for i in range(count)]
    sums = [add(1 if i == 0 else count + i, 2 + i, count + 1 + i) for i in range(count - 1)]
    return build([MAP] * (2 * count), relus + sums, [0], [2 * count - 1])


def test_too_much_at_once_is_refused() -> None:
    assert len(read_tflite(fan(MAX_ALIVE - 1)).operators) == 2 * MAX_ALIVE - 3
    with pytest.raises(UnsupportedModel, match=f"while {MAX_ALIVE + 1} activations are kept in memory; give "):
        read_tflite(fan(MAX_ALIVE))


def sliced(vector: T, begin: int, end: int, stride: int, wanted: tuple[int, ...], **masks: int) -> bytes:
    """RESHAPE of a (1, 2, 3, 4) map to what STRIDED_SLICE makes of `vector`, or of the map's shape without data."""
    operators = [
        O("SHAPE", (0,), (5,)),
        O("STRIDED_SLICE", (5 if not vector.data else 6, 2, 3, 4), (7,), "StridedSliceOptions", masks),
        O("RESHAPE", (0, 7), (1,)),
    ]
    constants = [int32(begin), int32(end), int32(stride), T((4,), "INT32"), vector]
    tensors = [T((1, 2, 3, 4)), T(wanted), *constants, T((len(wanted),), "INT32")]
    return build(tensors, operators, [0], [1])


SHAPE = T((1,), "INT32")


@pytest.mark.parametrize(
    "data",
    [
        sliced(SHAPE, 0, 4, 1, (1, 2, 3, 4)),
        sliced(SHAPE, 2, 3, 1, (1, 2, 3, 4), BeginMask=1, EndMask=1),
        sliced(SHAPE, -1, -5, -1, (4, 3, 2, 1)),
        sliced(int32(9, 6, 9, 4), 1, 4, 2, (6, 4)),
        sliced(int32(-1, 12), 0, 2, 1, (2, 12)),
    ],
)
def test_slices_of_shapes_are_folded(data: bytes) -> None:
    graph = read_tflite(data)
    assert [op.kind for op in graph.operators] == ["RESHAPE"]
    assert len(graph.tensors) == 2


@pytest.mark.parametrize(
    "data, reason",
    [
        (sliced(SHAPE, 0, 4, 0, (1, 2, 3, 4)), "unusual"),
        (sliced(SHAPE, 0, 4, 1, (1, 2, 3, 4), EllipsisMask=1), "unusual"),
        (sliced(SHAPE, 0, 3, 1, (1, 2, 3, 4)), "should make int32 values of shape"),
        (sliced(SHAPE, 4, 5, 1, (24,), ShrinkAxisMask=1), "takes extent 4"),
        (sliced(int32(0, 24), 0, 2, 1, (1, 24)), r"should make \(0, 24\)"),
        (
            build([MAP, OUT, int32(0)], [O("STRIDED_SLICE", (0, 2, 2, 2), (1,), "StridedSliceOptions")], [0], [1]),
            "takes apart or joins activations",
        ),
    ],
)
def test_other_slices_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(UnsupportedModel, match=f"{reason}.*; "):
        read_tflite(data)


def test_a_real_model_that_automcus_runtime_cannot_run() -> None:
    graph = read_tflite((CONVERTED / "varied_int8.tflite").read_bytes())  # it resizes
    with pytest.raises(CandidateFailure, match=r"^\w+ \(layer .*\) is not supported by AutoMCU's own runtime; use ADD"):
        PlannerTier().report(graph, lambda: Path())
