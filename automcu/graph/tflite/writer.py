"""An int8 .tflite file of a graph, without training: what tools that judge files can judge before any training.

The file has what the TensorFlow converter's file of the same network has (operators, their versions and order, shapes,
int8 weights with a scale for each output channel, int32 biases, aligned constants), written in milliseconds instead of
seconds. Weights are random, and every activation has the input's scale of 1/128 and zero point 0: the file costs what
the trained one costs and runs, but computes nothing of use. Tensors bear shorter names than the converter's and there
is no metadata, so that the file is a few kilobytes smaller (up to 1 kB and 320 bytes an operator).
"""

from collections.abc import Sequence
from math import prod

import flatbuffers
import numpy as np
import tflite

from automcu.errors import CandidateFailure
from automcu.graph.int8 import Int8Graph, Operator, Window

_SCHEMA_VERSION = 3
_ALIGNMENT = 16
_ACTIVATION_SCALE = 1 / 128
_LARGEST_WEIGHT = 127
_PADDINGS = {"SAME": tflite.Padding.SAME, "VALID": tflite.Padding.VALID}
_ACTIVATIONS = {
    "NONE": tflite.ActivationFunctionType.NONE,
    "RELU": tflite.ActivationFunctionType.RELU,
    "RELU6": tflite.ActivationFunctionType.RELU6,
}
_VERSIONS = {
    "ADD": 2,
    "AVERAGE_POOL_2D": 2,
    "CONCATENATION": 2,
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "FULLY_CONNECTED": 4,
    "MAX_POOL_2D": 2,
    "RESHAPE": 1,
}
"""Operator versions of int8 files, by the kinds that are written: those that `lower` makes."""

_WEIGHTED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})


def write_tflite(graph: Int8Graph, seed: int) -> bytes:
    """An int8 .tflite file that `read_tflite` reads as `graph`; weights and biases are drawn with `seed`.

    Takes graphs as `automcu.graph.lowering.lower` makes them; raises `CandidateFailure` for other operators or types.
    """
    return _Writer(graph, np.random.default_rng(seed)).write()


class _Writer:
    def __init__(self, graph: Int8Graph, random: np.random.Generator) -> None:
        self.graph = graph
        self.random = random
        constant_bytes = sum(prod(operator.weights) + 4 * operator.bias for operator in graph.operators)
        tables = len(graph.tensors) + len(graph.operators)
        self.builder = flatbuffers.Builder(constant_bytes + 1024 * tables)
        self.buffers: list[int] = []
        self.tensors: list[int] = []  # offsets of tables; activations first, numbered as in the graph
        self.kinds = list(dict.fromkeys(operator.kind for operator in graph.operators))

    def write(self) -> bytes:
        """The whole file."""
        others = {tensor.dtype for tensor in self.graph.tensors} - {"int8"}
        for operator in self.graph.operators:
            if operator.kind not in _VERSIONS or (operator.weights and operator.kind not in _WEIGHTED):
                others.add(operator.kind)  # among them an ADD of a constant
        if others:
            raise CandidateFailure(
                f"{', '.join(sorted(others))} cannot be written; give an int8 graph that lowering made"
            )
        builder = self.builder
        self.no_data = self._buffer(None)
        quantization = self._quantization(np.full(1, _ACTIVATION_SCALE), 0)
        for tensor in self.graph.tensors:
            self._tensor(tensor.name, tensor.shape, tflite.TensorType.INT8, self.no_data, quantization)
        operators = [self._operator(operator) for operator in self.graph.operators]
        codes = [self._code(kind) for kind in self.kinds]
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
        description = builder.CreateString("AutoMCU, untrained")
        tflite.ModelStart(builder)
        tflite.ModelAddVersion(builder, _SCHEMA_VERSION)
        tflite.ModelAddOperatorCodes(builder, code_vector)
        tflite.ModelAddSubgraphs(builder, subgraphs)
        tflite.ModelAddDescription(builder, description)
        tflite.ModelAddBuffers(builder, buffers)
        builder.Finish(tflite.ModelEnd(builder), b"TFL3")
        return bytes(builder.Output())

    def _operator(self, operator: Operator) -> int:
        builder = self.builder
        inputs = list(operator.inputs)
        if operator.weights:
            inputs += self._weights(operator)
        elif operator.kind == "RESHAPE":
            shape = np.array(self.graph.tensors[operator.output].shape, np.int32)
            inputs.append(self._constant(f"{operator.name}/shape", shape, tflite.TensorType.INT32, None))
        options = self._options(operator)
        input_vector, output_vector = self._numbers(inputs), self._numbers((operator.output,))
        tflite.OperatorStart(builder)
        tflite.OperatorAddOpcodeIndex(builder, self.kinds.index(operator.kind))
        tflite.OperatorAddInputs(builder, input_vector)
        tflite.OperatorAddOutputs(builder, output_vector)
        if options is not None:
            tflite.OperatorAddBuiltinOptionsType(builder, options[0])
            tflite.OperatorAddBuiltinOptions(builder, options[1])
        return int(tflite.OperatorEnd(builder))

    def _weights(self, operator: Operator) -> list[int]:
        """Numbers of the operator's weight tensor and bias tensor; outputs vary about as much as inputs."""
        axis = 3 if operator.kind == "DEPTHWISE_CONV_2D" else 0
        channels = operator.weights[axis]
        count = prod(operator.weights)
        values = np.frombuffer(self.random.bytes(count), np.int8).reshape(operator.weights)
        weights = np.maximum(values, -_LARGEST_WEIGHT)
        scales = self.random.uniform(0.5, 1.0, channels) * (channels / count) ** 0.5 / (_LARGEST_WEIGHT / 2)
        quantization = self._quantization(scales, axis)
        numbers = [self._constant(f"{operator.name}/weights", weights, tflite.TensorType.INT8, quantization)]
        if operator.bias:
            bias_scales = _ACTIVATION_SCALE * scales
            biases = np.rint(self.random.normal(0, 0.1, channels) / bias_scales).astype(np.int32)
            quantization = self._quantization(bias_scales, 0)
            numbers.append(self._constant(f"{operator.name}/bias", biases, tflite.TensorType.INT32, quantization))
        return numbers

    def _options(self, operator: Operator) -> tuple[int, int] | None:
        """Type and table of the operator's attributes."""
        builder = self.builder
        activation = _ACTIVATIONS[operator.activation]
        match operator.kind, operator.window:
            case "CONV_2D", Window() as window:
                tflite.Conv2DOptionsStart(builder)
                tflite.Conv2DOptionsAddPadding(builder, _PADDINGS[window.padding])
                tflite.Conv2DOptionsAddStrideH(builder, window.stride[0])
                tflite.Conv2DOptionsAddStrideW(builder, window.stride[1])
                tflite.Conv2DOptionsAddFusedActivationFunction(builder, activation)
                return tflite.BuiltinOptions.Conv2DOptions, tflite.Conv2DOptionsEnd(builder)
            case "DEPTHWISE_CONV_2D", Window() as window:
                multiplier = operator.weights[3] // self.graph.tensors[operator.inputs[0]].shape[3]
                tflite.DepthwiseConv2DOptionsStart(builder)
                tflite.DepthwiseConv2DOptionsAddPadding(builder, _PADDINGS[window.padding])
                tflite.DepthwiseConv2DOptionsAddStrideH(builder, window.stride[0])
                tflite.DepthwiseConv2DOptionsAddStrideW(builder, window.stride[1])
                tflite.DepthwiseConv2DOptionsAddDepthMultiplier(builder, multiplier)
                tflite.DepthwiseConv2DOptionsAddFusedActivationFunction(builder, activation)
                return tflite.BuiltinOptions.DepthwiseConv2DOptions, tflite.DepthwiseConv2DOptionsEnd(builder)
            case (("AVERAGE_POOL_2D" | "MAX_POOL_2D"), Window() as window):
                tflite.Pool2DOptionsStart(builder)
                tflite.Pool2DOptionsAddPadding(builder, _PADDINGS[window.padding])
                tflite.Pool2DOptionsAddStrideH(builder, window.stride[0])
                tflite.Pool2DOptionsAddStrideW(builder, window.stride[1])
                tflite.Pool2DOptionsAddFilterHeight(builder, window.kernel[0])
                tflite.Pool2DOptionsAddFilterWidth(builder, window.kernel[1])
                return tflite.BuiltinOptions.Pool2DOptions, tflite.Pool2DOptionsEnd(builder)
            case "FULLY_CONNECTED", _:
                tflite.FullyConnectedOptionsStart(builder)
                tflite.FullyConnectedOptionsAddFusedActivationFunction(builder, activation)
                return tflite.BuiltinOptions.FullyConnectedOptions, tflite.FullyConnectedOptionsEnd(builder)
            case "ADD", _:
                tflite.AddOptionsStart(builder)
                tflite.AddOptionsAddFusedActivationFunction(builder, activation)
                return tflite.BuiltinOptions.AddOptions, tflite.AddOptionsEnd(builder)
            case "CONCATENATION", _:  # along the channels
                tflite.ConcatenationOptionsStart(builder)
                tflite.ConcatenationOptionsAddAxis(builder, len(self.graph.tensors[operator.output].shape) - 1)
                return tflite.BuiltinOptions.ConcatenationOptions, tflite.ConcatenationOptionsEnd(builder)
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

    def _quantization(self, scales: np.ndarray, axis: int) -> int:
        """Table of symmetric quantization, with a scale for each index of `axis`."""
        builder = self.builder
        scale_vector = builder.CreateNumpyVector(scales.astype(np.float32))
        zero_vector = builder.CreateNumpyVector(np.zeros(len(scales), np.int64))
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

    def _code(self, kind: str) -> int:
        builder = self.builder
        number = getattr(tflite.BuiltinOperator, kind)
        tflite.OperatorCodeStart(builder)
        tflite.OperatorCodeAddDeprecatedBuiltinCode(builder, number)
        tflite.OperatorCodeAddBuiltinCode(builder, number)
        tflite.OperatorCodeAddVersion(builder, _VERSIONS[kind])
        return int(tflite.OperatorCodeEnd(builder))

    def _numbers(self, values: Sequence[int]) -> int:
        return int(self.builder.CreateNumpyVector(np.array(values, np.int32)))

    def _tables(self, offsets: Sequence[int]) -> int:
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return int(self.builder.EndVector())
