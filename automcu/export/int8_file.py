"""What an int8 .tflite file says of itself, and the check that it is the plain int8 network the project ships."""

from dataclasses import dataclass

from automcu.errors import CandidateFailure
from automcu.graph.int8_model import Quantization

_OPERATORS = frozenset(
    {
        "ADD",
        "AVERAGE_POOL_2D",
        "CONCATENATION",
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "FULLY_CONNECTED",
        "MAX_POOL_2D",
        "RESHAPE",
    }
)
_TYPES = frozenset({"INT8", "INT32"})
_INPUT_SCALE = 1 / 128


@dataclass(frozen=True, slots=True)
class Int8File:
    """An int8 .tflite file of one input (NHWC, batch 1) and one output. `operators` are in order of execution."""

    input_shape: tuple[int, int, int]
    output_count: int
    input: Quantization
    output: Quantization
    operators: tuple[str, ...]
    tensor_types: frozenset[str]

    @classmethod
    def read(cls, tflite: bytes) -> "Int8File":
        """Raises `CandidateFailure` when `tflite` is no .tflite file of one image input and one output."""
        try:
            return _read(tflite)
        except CandidateFailure:
            raise
        except Exception as error:  # flatbuffers raises whatever a wrong offset leads to
            raise _no_model() from error

    def check(self) -> None:
        """Raises `CandidateFailure` unless the file is int8 throughout, uses only the project's operators, and takes
        pixel - 128 as its input: scale exactly 1/128, zero point 0."""
        if others := sorted(self.tensor_types - _TYPES):
            raise CandidateFailure(
                f"the converted file has {', '.join(others)} tensors; use layers that quantize to int8"
            )
        if others := sorted(set(self.operators) - _OPERATORS):
            raise CandidateFailure(
                f"the converted file uses {', '.join(others)}; use layers that need no such operator"
            )
        if self.input != Quantization(_INPUT_SCALE, 0):
            raise CandidateFailure(
                f"the converted file's input has scale {self.input.scale:.6g} and zero point {self.input.zero_point}, "
                "not 1/128 and 0; do not join the input image with other feature maps"
            )


def _read(tflite: bytes) -> Int8File:
    import tflite as schema

    if not schema.Model.ModelBufferHasIdentifier(tflite, 0):
        raise _no_model()
    model = schema.Model.GetRootAs(tflite, 0)
    graph = model.Subgraphs(0)
    if model.SubgraphsLength() != 1 or graph.InputsLength() != 1 or graph.OutputsLength() != 1:
        raise CandidateFailure("the .tflite file has not one graph with one input and one output; convert one network")
    operator_names = _names(schema.BuiltinOperator)
    type_names = _names(schema.TensorType)
    codes = [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
    operators = [
        operator_names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        for code in (codes[graph.Operators(i).OpcodeIndex()] for i in range(graph.OperatorsLength()))
    ]
    image, outputs = graph.Tensors(graph.Inputs(0)), graph.Tensors(graph.Outputs(0))
    _, height, width, channels = image.ShapeAsNumpy().tolist()
    return Int8File(
        input_shape=(height, width, channels),
        output_count=int(outputs.ShapeAsNumpy().prod()),
        input=_quantization(image),
        output=_quantization(outputs),
        operators=tuple(operators),
        tensor_types=frozenset(type_names[graph.Tensors(i).Type()] for i in range(graph.TensorsLength())),
    )


def _quantization(tensor) -> Quantization:  # type: ignore[no-untyped-def]
    stored = tensor.Quantization()
    return Quantization(float(stored.Scale(0)), int(stored.ZeroPoint(0)))


def _names(enumeration: type) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


def _no_model() -> CandidateFailure:
    return CandidateFailure("the bytes are not a .tflite model of one image input; convert the network again")
