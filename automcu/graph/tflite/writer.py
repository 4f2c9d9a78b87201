"""An int8 .tflite file, written: of a model with its constants, or of a graph alone with random ones.

The file has what the TensorFlow converter's file of the same network has: operators, their versions and order, shapes,
int8 weights with a scale for each output channel (or one), int32 biases, aligned constants. Tensors bear shorter names
than the converter's and there is no metadata, so that the file is a few kilobytes smaller (up to 1 kB and 320 bytes an
operator).
"""

from collections.abc import Sequence
from math import prod

import flatbuffers
import numpy as np
import tflite

from automcu.errors import CandidateFailure
from automcu.graph.int8 import Int8Graph, Operator
from automcu.graph.int8_model import Attributes, Constants, Int8Model, Quantization
from automcu.graph.tflite.options import write_options

_SCHEMA_VERSION = 3
_ALIGNMENT = 16
_LEFT_OUT = -1
"""In place of the number of a tensor."""
_UNTRAINED = Quantization(1 / 128, 0)
_LARGEST_WEIGHT = 127
_VERSIONS = {
    "ADD": 2,
    "AVERAGE_POOL_2D": 2,
    "CONCATENATION": 2,
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "DEQUANTIZE": 2,
    "EXPAND_DIMS": 1,
    "FULLY_CONNECTED": 4,
    "HARD_SWISH": 1,
    "LEAKY_RELU": 1,
    "LOGISTIC": 2,
    "MAXIMUM": 2,
    "MAX_POOL_2D": 2,
    "MEAN": 2,
    "MINIMUM": 2,
    "MUL": 2,
    "PAD": 2,
    "PRELU": 1,
    "QUANTIZE": 1,
    "REDUCE_MAX": 2,
    "RELU": 2,
    "RELU6": 2,
    "RESHAPE": 1,
    "RESIZE_BILINEAR": 3,
    "RESIZE_NEAREST_NEIGHBOR": 3,
    "SOFTMAX": 2,
    "SQUEEZE": 1,
    "SUB": 2,
    "TANH": 2,
    "TRANSPOSE": 2,
}
"""Operator versions of int8 files, by kind."""
_LOWERED = frozenset(
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
"""The kinds that `lower` makes."""
_CHANNEL_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}
_TYPES = {
    "int8": tflite.TensorType.INT8,
    "uint8": tflite.TensorType.UINT8,
    "int32": tflite.TensorType.INT32,
    "float32": tflite.TensorType.FLOAT32,
}


def write_model(model: Int8Model) -> bytes:
    """The .tflite file of `model`, which `read_model` reads as an equal one.

    Raises `CandidateFailure` for a kind of operator that `read_model` does not know.
    """
    if others := {operator.kind for operator in model.graph.operators} - _VERSIONS.keys():
        raise CandidateFailure(f"{', '.join(sorted(others))} cannot be written; give a model that was read from a file")
    return _Writer(model).write()


def write_tflite(graph: Int8Graph, seed: int) -> bytes:
    """An int8 .tflite file that `read_tflite` reads as `graph`, for tools that judge files before any training.

    Written in milliseconds. Weights and biases are drawn with `seed`, and every activation has the scale 1/128 and the
    zero point 0: the file costs what the trained one costs and runs, but computes nothing of use. Takes graphs as
    `automcu.graph.lowering.lower` makes them; raises `CandidateFailure` for other operators or types.
    """
    others = {tensor.dtype for tensor in graph.tensors} - {"int8"}
    for operator in graph.operators:
        if operator.kind not in _LOWERED or (operator.weights and operator.kind not in _CHANNEL_AXIS):
            others.add(operator.kind)  # among them an ADD of a constant
    if others:
        raise CandidateFailure(f"{', '.join(sorted(others))} cannot be written; give an int8 graph that lowering made")
    random = np.random.default_rng(seed)
    model = Int8Model(
        graph=graph,
        quantization=(_UNTRAINED,) * len(graph.tensors),
        constants=tuple(_random_constants(operator, random) for operator in graph.operators),
        attributes=tuple(
            Attributes(axis=len(graph.tensors[operator.output].shape) - 1)  # joined along the channels
            if operator.kind == "CONCATENATION"
            else Attributes()
            for operator in graph.operators
        ),
    )
    return write_model(model)


def _random_constants(operator: Operator, random: np.random.Generator) -> Constants | None:
    """Weights and biases such that outputs vary about as much as inputs."""
    if not operator.weights:
        return None
    channels = operator.weights[_CHANNEL_AXIS[operator.kind]]
    count = prod(operator.weights)
    values = np.frombuffer(random.bytes(count), np.int8).reshape(operator.weights)
    scales = random.uniform(0.5, 1.0, channels) * (channels / count) ** 0.5 / (_LARGEST_WEIGHT / 2)
    bias = None
    if operator.bias:
        bias = np.rint(random.normal(0, 0.1, channels) / (_UNTRAINED.scale * scales)).astype(np.int32)
    return Constants(np.maximum(values, -_LARGEST_WEIGHT), scales.astype(np.float32), 0, bias)


class _Writer:
    def __init__(self, model: Int8Model) -> None:
        self.model = model
        self.graph = graph = model.graph
        constant_bytes = sum(prod(operator.weights) + 4 * operator.bias for operator in graph.operators)
        tables = len(graph.tensors) + len(graph.operators)
        self.builder = flatbuffers.Builder(constant_bytes + 1024 * tables)
        self.buffers: list[int] = []
        self.tensors: list[int] = []  # offsets of tables; activations first, numbered as in the graph
        self.codes: dict[tuple[str, int], int] = {}  # numbers of operator codes, by kind and version

    def write(self) -> bytes:
        """The whole file."""
        builder = self.builder
        no_data = self._buffer(None)
        shared: dict[Quantization, int] = {}
        for tensor, quantization in zip(self.graph.tensors, self.model.quantization, strict=True):
            if quantization is not None and quantization not in shared:
                shared[quantization] = self._quantization(np.array([quantization.scale]), quantization.zero_point)
            table = None if quantization is None else shared[quantization]
            self._tensor(tensor.name, tensor.shape, _TYPES[tensor.dtype], no_data, table)
        operators = [
            self._operator(*parts)
            for parts in zip(self.graph.operators, self.model.constants, self.model.attributes, strict=True)
        ]
        codes = [self._code(kind, version) for kind, version in self.codes]
        tensors = self._tables(self.tensors)
        inputs, outputs = self._numbers(self.graph.inputs), self._numbers(self.graph.outputs)
        operator_vector = self._tables(operators)
        name = builder.CreateString("main")
        tflite.SubGraphStart(builder)
        tflite.SubGraphAddTensors(builder, tensors)
        tflite.SubGraphAddInputs(builder, inputs)
        tflite.SubGraphAddOutputs(builder, outputs)
        tflite.SubGraphAddOperators(builder, operator_vector)
        tflite.SubGraphAddName(builder, name)
        subgraphs = self._tables([tflite.SubGraphEnd(builder)])
        code_vector, buffers = self._tables(codes), self._tables(self.buffers)
        description = builder.CreateString("AutoMCU")
        tflite.ModelStart(builder)
        tflite.ModelAddVersion(builder, _SCHEMA_VERSION)
        tflite.ModelAddOperatorCodes(builder, code_vector)
        tflite.ModelAddSubgraphs(builder, subgraphs)
        tflite.ModelAddDescription(builder, description)
        tflite.ModelAddBuffers(builder, buffers)
        builder.Finish(tflite.ModelEnd(builder), b"TFL3")
        return bytes(builder.Output())

    def _operator(self, operator: Operator, constants: Constants | None, attributes: Attributes) -> int:
        builder = self.builder
        inputs = list(operator.inputs)
        if constants is not None:
            operands = self._constants(operator, constants)
            inputs = [*operands, *inputs] if constants.first else [*inputs, *operands]
        elif (name_and_values := self._whole_numbers(operator, attributes)) is not None:
            name, values = name_and_values
            numbers = np.array(values, np.int32)
            inputs.append(self._constant(f"{operator.name}/{name}", numbers, tflite.TensorType.INT32, None))
        options = write_options(builder, self.graph, operator, attributes)
        code = self.codes.setdefault((operator.kind, self._version(operator)), len(self.codes))
        input_vector, output_vector = self._numbers(inputs), self._numbers((operator.output,))
        tflite.OperatorStart(builder)
        tflite.OperatorAddOpcodeIndex(builder, code)
        tflite.OperatorAddInputs(builder, input_vector)
        tflite.OperatorAddOutputs(builder, output_vector)
        if options is not None:
            tflite.OperatorAddBuiltinOptionsType(builder, options[0])
            tflite.OperatorAddBuiltinOptions(builder, options[1])
        return int(tflite.OperatorEnd(builder))

    def _version(self, operator: Operator) -> int:
        """The lowest version of the operator that has what it uses."""
        if operator.kind == "FULLY_CONNECTED" and len(self.graph.tensors[operator.output].shape) > 2:
            return 5  # keeps the dimensions
        return _VERSIONS[operator.kind]

    def _constants(self, operator: Operator, constants: Constants) -> list[int]:
        """Numbers of the tensors of the operator's weights and biases, or of its constant operand."""
        axis = _CHANNEL_AXIS.get(operator.kind, 0)
        quantization = self._quantization(constants.scales, constants.zero_point, axis)
        numbers = [self._constant(f"{operator.name}/weights", constants.weights, tflite.TensorType.INT8, quantization)]
        if constants.bias is not None:
            source = self.model.quantization[operator.inputs[0]]
            assert source is not None  # it is int8
            quantization = self._quantization(np.float32(source.scale) * constants.scales, 0)
            numbers.append(
                self._constant(f"{operator.name}/bias", constants.bias, tflite.TensorType.INT32, quantization)
            )
        elif operator.kind == "FULLY_CONNECTED":  # only later versions of it have two inputs
            numbers.append(_LEFT_OUT)
        return numbers

    def _whole_numbers(self, operator: Operator, attributes: Attributes) -> tuple[str, Sequence[int]] | None:
        """Name and values of an operand that is not data: axes, extents or paddings."""
        source, output = self.graph.tensors[operator.inputs[0]].shape, self.graph.tensors[operator.output].shape
        match operator.kind:
            case "RESHAPE":
                return "shape", output
            case "MEAN" | "REDUCE_MAX":
                return "axes", range(1, len(source) - 1)
            case "PAD":
                return "pads", operator.pads
            case "TRANSPOSE":
                return "order", attributes.order
            case "RESIZE_BILINEAR" | "RESIZE_NEAREST_NEIGHBOR":
                return "size", output[1:3]
            case "EXPAND_DIMS":
                return "axis", [next((i for i, extent in enumerate(source) if extent != output[i]), len(source))]
        return None

    def _constant(self, name: str, values: np.ndarray, kind: int, quantization: int | None) -> int:
        """Number of a new tensor that holds `values`."""
        return self._tensor(name, values.shape, kind, self._buffer(values), quantization)

    def _tensor(self, name: str, shape: Sequence[int], kind: int, buffer: int, quantization: int | None) -> int:
        builder = self.builder
        name_offset, shape_vector = builder.CreateString(name), self._numbers(shape)
        tflite.TensorStart(builder)
        tflite.TensorAddShape(builder, shape_vector)
        tflite.TensorAddType(builder, kind)
        tflite.TensorAddBuffer(builder, buffer)
        tflite.TensorAddName(builder, name_offset)
        tflite.TensorAddHasRank(builder, True)
        if quantization is not None:
            tflite.TensorAddQuantization(builder, quantization)
        self.tensors.append(tflite.TensorEnd(builder))
        return len(self.tensors) - 1

    def _quantization(self, scales: np.ndarray, zero_point: int, axis: int = 0) -> int:
        """Table of quantization, with one scale or one for each index of `axis`."""
        builder = self.builder
        scale_vector = builder.CreateNumpyVector(scales.astype(np.float32))
        zero_vector = builder.CreateNumpyVector(np.full(len(scales), zero_point, np.int64))
        tflite.QuantizationParametersStart(builder)
        tflite.QuantizationParametersAddScale(builder, scale_vector)
        tflite.QuantizationParametersAddZeroPoint(builder, zero_vector)
        tflite.QuantizationParametersAddQuantizedDimension(builder, axis)
        return int(tflite.QuantizationParametersEnd(builder))

    def _buffer(self, values: np.ndarray | None) -> int:
        """Number of a new buffer."""
        builder = self.builder
        if values is not None:
            content = values.tobytes()
            builder.Prep(_ALIGNMENT, len(content))
            data = builder.CreateByteVector(content)
        tflite.BufferStart(builder)
        if values is not None:
            tflite.BufferAddData(builder, data)
        self.buffers.append(tflite.BufferEnd(builder))
        return len(self.buffers) - 1

    def _code(self, kind: str, version: int) -> int:
        builder = self.builder
        number = getattr(tflite.BuiltinOperator, kind)
        tflite.OperatorCodeStart(builder)
        tflite.OperatorCodeAddDeprecatedBuiltinCode(builder, number)
        tflite.OperatorCodeAddBuiltinCode(builder, number)
        tflite.OperatorCodeAddVersion(builder, version)
        return int(tflite.OperatorCodeEnd(builder))

    def _numbers(self, values: Sequence[int]) -> int:
        return int(self.builder.CreateNumpyVector(np.array(values, np.int32)))

    def _tables(self, offsets: Sequence[int]) -> int:
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return int(self.builder.EndVector())
