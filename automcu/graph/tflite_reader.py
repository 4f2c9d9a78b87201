"""An int8 .tflite file, read into the int8 graph.

The bytes are untrusted: the schema comes from the package `tflite`, every index, size and shape is checked against the
file and against what the operator's attributes imply, and nothing is allocated by a size that the file states.
"""

import struct
from collections.abc import Callable, Sequence
from math import ceil, prod
from typing import Any

import tflite

from automcu.errors import CandidateFailure
from automcu.graph.int8 import ELEMENT_BYTES, Activation, Int8Graph, Operator, Tensor, Window

MAX_TENSORS = 4096
MAX_OPERATORS = 2048
MAX_INPUTS = 64
_MAX_RANK = 6
_MAX_NAME = 200
_KINDS: dict[int, str] = {code: name for name, code in vars(tflite.BuiltinOperator).items() if isinstance(code, int)}
_DTYPES: dict[int, str] = {
    code: name.lower() for name, code in vars(tflite.TensorType).items() if isinstance(code, int)
}
_ACTIVATIONS: dict[int, Activation] = {
    tflite.ActivationFunctionType.NONE: "NONE",
    tflite.ActivationFunctionType.RELU: "RELU",
    tflite.ActivationFunctionType.RELU6: "RELU6",
}
_RECONVERT = "convert the network to int8 again"


class UnsupportedModel(CandidateFailure):
    """The bytes are no .tflite file, or hold something other than a static int8 network of known operators."""


def read_tflite(data: bytes) -> Int8Graph:
    """The graph in the .tflite file `data`; operators bear the names of their output tensors.

    Raises `UnsupportedModel` for anything that is not a whole, static, single-graph int8 network, batch 1, of the
    operators listed in `OPERATORS`; a uint8 or float32 input or output is accepted where QUANTIZE or DEQUANTIZE
    stands between it and the network.
    """
    if len(data) < 8 or data[4:8] != b"TFL3":
        raise UnsupportedModel("this is no .tflite file (identifier TFL3 is missing); give an int8 .tflite file")
    try:
        return _Reader(data).read()
    except (struct.error, IndexError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise UnsupportedModel(
            f"the .tflite file is damaged ({type(error).__name__} while reading its tables); {_RECONVERT}"
        ) from error


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.model = tflite.Model.GetRootAs(data, 0)
        if self.model.SubgraphsLength() != 1:
            raise UnsupportedModel(
                f"the model has {self.model.SubgraphsLength()} subgraphs; convert one without control flow"
            )
        self.graph = self.model.Subgraphs(0)
        for what, count, limit in (
            ("tensors", self.graph.TensorsLength(), MAX_TENSORS),
            ("operators", self.graph.OperatorsLength(), MAX_OPERATORS),
        ):
            if not 1 <= count <= limit:
                raise UnsupportedModel(f"the model has {count} {what}; give one with 1 to {limit}")
        self.tensors: dict[int, Tensor] = {}  # activations, by their number in the file
        self.operators: list[Operator] = []  # inputs and output numbered as in the file

    def read(self) -> Int8Graph:
        inputs = _indices(self.graph.InputsLength(), self.graph.Inputs)
        outputs = _indices(self.graph.OutputsLength(), self.graph.Outputs)
        if not inputs or not outputs:
            raise UnsupportedModel(f"the model has no input or no output; {_RECONVERT}")
        for index in inputs:
            self.tensors[index] = self._tensor(index)
            if self.tensors[index].shape[:1] != (1,):
                raise UnsupportedModel(f"the model's input has shape {self.tensors[index].shape}; use batch size 1")
        for position in range(self.graph.OperatorsLength()):
            self._read_operator(self.graph.Operators(position))
        missing = [index for index in outputs if index not in self.tensors]
        if missing:
            raise UnsupportedModel(f"no operator makes the model's output (tensor {missing[0]}); {_RECONVERT}")
        order = sorted(self.tensors)
        new = {old: index for index, old in enumerate(order)}
        return Int8Graph(
            tensors=tuple(self.tensors[index] for index in order),
            operators=tuple(
                Operator(
                    op.name,
                    op.kind,
                    tuple(new[index] for index in op.inputs),
                    new[op.output],
                    op.weights,
                    op.bias,
                    op.window,
                    op.activation,
                    op.pads,
                )
                for op in self.operators
            ),
            inputs=tuple(new[index] for index in inputs),
            outputs=tuple(new[index] for index in outputs),
        )

    def _read_operator(self, raw: Any) -> None:
        code = self.model.OperatorCodes(raw.OpcodeIndex())
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        kind = _KINDS.get(number, f"operator {number}")
        if kind not in OPERATORS:
            raise UnsupportedModel(
                f"operator {kind} is not supported; use {', '.join(OPERATORS)} and convert with batch size 1"
            )
        inputs = _indices(raw.InputsLength(), raw.Inputs, optional=True)
        outputs = _indices(raw.OutputsLength(), raw.Outputs)
        if not inputs or len(outputs) != 1:
            raise UnsupportedModel(f"{kind} has {len(inputs)} inputs and {len(outputs)} outputs; {_RECONVERT}")
        if outputs[0] in self.tensors:
            raise UnsupportedModel(f"tensor {outputs[0]} is made twice, the second time by {kind}; {_RECONVERT}")
        output = self._tensor(outputs[0])
        op = _Raw(self, raw, kind, inputs, output)
        reader, dtypes = OPERATORS[kind]
        operator = reader(op, outputs[0])
        for tensor in (*(self.tensors[index] for index in operator.inputs), output):
            if tensor.dtype not in dtypes:
                raise UnsupportedModel(
                    f"{kind} {output.name} works on {tensor.dtype}; quantize the whole network to int8"
                )
        self.tensors[outputs[0]] = output
        self.operators.append(operator)

    def _tensor(self, index: int) -> Tensor:
        raw = self._raw_tensor(index)
        shape = _shape(raw)
        dtype = _DTYPES.get(raw.Type(), "unknown")
        if dtype not in ELEMENT_BYTES:
            raise UnsupportedModel(f"tensor {index} is of type {dtype}; quantize the whole network to int8")
        if self.constant_bytes(index) or raw.IsVariable():
            raise UnsupportedModel(f"tensor {index} is constant or variable where data flows; {_RECONVERT}")
        name = (raw.Name() or b"")[:_MAX_NAME].decode("utf-8", "replace").split(";")[0]
        return Tensor(name or f"tensor {index}", shape, dtype)

    def _raw_tensor(self, index: int) -> Any:
        if index >= self.graph.TensorsLength():
            raise UnsupportedModel(f"tensor {index} does not exist; {_RECONVERT}")
        return self.graph.Tensors(index)

    def constant_bytes(self, index: int) -> int:
        """Bytes of constant data behind a tensor; 0 for an activation."""
        return int(self._buffer(index).DataLength())

    def constant(self, index: int, kind: str, dtype: str) -> tuple[int, ...]:
        """Shape of a constant tensor, whose type and data length are checked."""
        raw = self._raw_tensor(index)
        shape = _shape(raw)
        found = _DTYPES.get(raw.Type(), "unknown")
        if found != dtype:
            raise UnsupportedModel(f"{kind} has {found} constants instead of {dtype}; quantize the network to int8")
        if self.constant_bytes(index) != prod(shape) * ELEMENT_BYTES[dtype]:
            raise UnsupportedModel(
                f"{kind} has {self.constant_bytes(index)} bytes of constants for shape {shape}; {_RECONVERT}"
            )
        return shape

    def int32_values(self, index: int, kind: str) -> tuple[int, ...]:
        """Values of a small constant int32 tensor: axes or paddings."""
        count = prod(self.constant(index, kind, "int32"))
        if count > 2 * _MAX_RANK:
            raise UnsupportedModel(f"{kind} has {count} axis or padding values; {_RECONVERT}")
        return struct.unpack(f"<{count}i", self._buffer(index).DataAsNumpy().tobytes())

    def _buffer(self, index: int) -> Any:
        number = self._raw_tensor(index).Buffer()
        if number >= self.model.BuffersLength():
            raise UnsupportedModel(f"tensor {index} refers to a buffer that does not exist; {_RECONVERT}")
        return self.model.Buffers(number)


class _Raw:
    """One operator of the file, on its way to an `Operator`."""

    def __init__(self, reader: _Reader, raw: Any, kind: str, inputs: tuple[int, ...], output: Tensor) -> None:
        self.reader = reader
        self.raw = raw
        self.kind = kind
        self.inputs = inputs
        self.output = output

    def options(self, options: Any) -> Any:
        """The operator's attributes, as the schema class `options`."""
        table = self.raw.BuiltinOptions()
        name = type(options).__name__
        if table is None or self.raw.BuiltinOptionsType() != getattr(tflite.BuiltinOptions, name):
            raise UnsupportedModel(f"{self.kind} has no {name}; {_RECONVERT}")
        options.Init(table.Bytes, table.Pos)
        return options

    def activation(self, options: Any) -> Activation:
        """The fused activation."""
        code = options.FusedActivationFunction()
        if code not in _ACTIVATIONS:
            raise UnsupportedModel(f"{self.kind} has fused activation {code}; use ReLU, ReLU6 or none")
        return _ACTIVATIONS[code]

    def source(self, position: int = 0) -> Tensor:
        """The activation that is read at `position`."""
        self.index(position)
        return self.reader.tensors[self.inputs[position]]

    def index(self, position: int = 0) -> int:
        """Its number; an operator reads only what has been made before it."""
        index = self.inputs[position]
        if index not in self.reader.tensors:
            raise UnsupportedModel(
                f"{self.kind} {self.output.name} reads tensor {index}, which is constant or not made yet; {_RECONVERT}"
            )
        return index

    def expect(self, shape: tuple[int, ...]) -> None:
        """Refuse an output whose shape is not the one that inputs and attributes give."""
        if self.output.shape != shape:
            raise UnsupportedModel(
                f"{self.kind} {self.output.name} should make {shape}, not {self.output.shape}; {_RECONVERT}"
            )

    def bias(self, units: int) -> int:
        """Number of biases: `units`, or 0 when there are none."""
        if len(self.inputs) < 3 or self.inputs[2] < 0:
            return 0
        shape = self.reader.constant(self.inputs[2], self.kind, "int32")
        if prod(shape) != units:
            raise UnsupportedModel(f"{self.kind} has {prod(shape)} biases for {units} channels; {_RECONVERT}")
        return units

    def weights(self, rank: int) -> tuple[int, ...]:
        """Shape of the int8 kernel."""
        if len(self.inputs) < 2 or self.inputs[1] < 0 or not self.reader.constant_bytes(self.inputs[1]):
            raise UnsupportedModel(f"{self.kind} {self.output.name} has no constant weights; {_RECONVERT}")
        shape = self.reader.constant(self.inputs[1], self.kind, "int8")
        if len(shape) != rank:
            raise UnsupportedModel(f"{self.kind} has weights of shape {shape}; {_RECONVERT}")
        return shape

    def map_shape(self) -> tuple[int, ...]:
        """Shape of the feature map that is read."""
        shape = self.source().shape
        if len(shape) != 4:
            raise UnsupportedModel(f"{self.kind} reads shape {shape}; give it (1, height, width, channels)")
        return shape

    def window(self, kernel: tuple[int, int], options: Any) -> Window:
        """The sliding window; checks that it fits the map, and undilated."""
        stride = (options.StrideH(), options.StrideW())
        padding = {tflite.Padding.SAME: "SAME", tflite.Padding.VALID: "VALID"}.get(options.Padding())
        if padding is None or min(*kernel, *stride) < 1:
            raise UnsupportedModel(f"{self.kind} has kernel {kernel}, stride {stride}, padding {padding}; {_RECONVERT}")
        if self.kind.endswith("CONV_2D") and (options.DilationHFactor(), options.DilationWFactor()) != (1, 1):
            raise UnsupportedModel(f"{self.kind} {self.output.name} is dilated; use dilation 1")
        return Window(kernel, stride, "SAME" if padding == "SAME" else "VALID")

    def expect_slid(self, window: Window, channels: int) -> None:
        """Refuse an output that is not what `window` makes of the input."""
        shape = self.map_shape()
        extents = []
        for extent, kernel, stride in zip(shape[1:3], window.kernel, window.stride, strict=True):
            covered = extent if window.padding == "SAME" else extent - kernel + 1
            extents.append(ceil(covered / stride))
        self.expect((shape[0], *extents, channels))


def _conv(op: _Raw, output: int) -> Operator:
    options = op.options(tflite.Conv2DOptions())
    weights = op.weights(rank=4)
    window = op.window((weights[1], weights[2]), options)
    if weights[3] != op.map_shape()[3]:
        raise UnsupportedModel(f"CONV_2D {op.output.name} is grouped; use ordinary or depthwise convolutions")
    op.expect_slid(window, weights[0])
    return _operator(op, output, weights, op.bias(weights[0]), window, op.activation(options))


def _depthwise(op: _Raw, output: int) -> Operator:
    options = op.options(tflite.DepthwiseConv2DOptions())
    weights = op.weights(rank=4)
    window = op.window((weights[1], weights[2]), options)
    if weights[0] != 1 or weights[3] % op.map_shape()[3]:
        raise UnsupportedModel(f"DEPTHWISE_CONV_2D has weights of shape {weights}; {_RECONVERT}")
    op.expect_slid(window, weights[3])
    return _operator(op, output, weights, op.bias(weights[3]), window, op.activation(options))


def _fully_connected(op: _Raw, output: int) -> Operator:
    options = op.options(tflite.FullyConnectedOptions())
    units, inputs = op.weights(rank=2)
    if options.WeightsFormat() != 0:
        raise UnsupportedModel(f"FULLY_CONNECTED {op.output.name} has shuffled weights; {_RECONVERT}")
    if prod(op.source().shape) % inputs or prod(op.output.shape) != prod(op.source().shape) // inputs * units:
        raise UnsupportedModel(f"FULLY_CONNECTED {op.output.name} does not match its weights; {_RECONVERT}")
    return _operator(op, output, (units, inputs), op.bias(units), None, op.activation(options))


def _pool(op: _Raw, output: int) -> Operator:
    options = op.options(tflite.Pool2DOptions())
    window = op.window((options.FilterHeight(), options.FilterWidth()), options)
    op.expect_slid(window, op.map_shape()[3])
    return _operator(op, output, window=window, activation=op.activation(options))


def _add(op: _Raw, output: int) -> Operator:
    shapes = [op.source(position).shape for position in range(len(op.inputs))]
    whole = max(shapes, key=len)
    if len(shapes) != 2 or any(shape not in (whole, (prod(whole),)) for shape in shapes):
        raise UnsupportedModel(f"ADD {op.output.name} adds {shapes}; add feature maps of one shape")
    op.expect(whole)
    return _operator(op, output, activation=op.activation(op.options(tflite.AddOptions())), count=2)


def _concatenation(op: _Raw, output: int) -> Operator:
    options = op.options(tflite.ConcatenationOptions())
    shapes = [op.source(position).shape for position in range(len(op.inputs))]
    rank = len(shapes[0])
    axis = options.Axis() % rank if -rank <= options.Axis() < rank else -1
    rest = {(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}
    if axis < 1 or len(rest) != 1 or len({len(shape) for shape in shapes}) != 1:
        raise UnsupportedModel(f"CONCATENATION {op.output.name} joins {shapes} along {axis}; {_RECONVERT}")
    op.expect((*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :]))
    return _operator(op, output, activation=op.activation(options), count=len(shapes))


def _mean(op: _Raw, output: int) -> Operator:
    axes = op.reader.int32_values(op.inputs[1], op.kind) if len(op.inputs) == 2 and op.inputs[1] >= 0 else ()
    batch, _, _, channels = op.map_shape()
    if sorted(axis % 4 for axis in axes) != [1, 2]:
        raise UnsupportedModel(f"MEAN {op.output.name} averages over axes {axes}; average over height and width")
    keep = op.options(tflite.ReducerOptions()).KeepDims()
    op.expect((batch, 1, 1, channels) if keep else (batch, channels))
    return _operator(op, output)


def _reshape(op: _Raw, output: int) -> Operator:
    if len(op.inputs) > 1 and not op.reader.constant_bytes(op.inputs[1]):
        raise UnsupportedModel(f"RESHAPE {op.output.name} takes its shape at run time; convert with batch size 1")
    if prod(op.output.shape) != prod(op.source().shape):
        raise UnsupportedModel(f"RESHAPE {op.output.name} changes the number of elements; {_RECONVERT}")
    return _operator(op, output)


def _pad(op: _Raw, output: int) -> Operator:
    pads = op.reader.int32_values(op.inputs[1], op.kind) if len(op.inputs) == 2 and op.inputs[1] >= 0 else ()
    shape = op.source().shape
    if len(pads) != 2 * len(shape) or min(pads) < 0:
        raise UnsupportedModel(f"PAD {op.output.name} pads by {pads}; {_RECONVERT}")
    op.expect(tuple(extent + pads[2 * i] + pads[2 * i + 1] for i, extent in enumerate(shape)))
    return _operator(op, output, pads=pads)


def _elementwise(op: _Raw, output: int) -> Operator:
    op.expect(op.source().shape)
    return _operator(op, output)


def _operator(
    op: _Raw,
    output: int,
    weights: tuple[int, ...] = (),
    bias: int = 0,
    window: Window | None = None,
    activation: Activation = "NONE",
    pads: tuple[int, ...] = (),
    count: int = 1,
) -> Operator:
    inputs = tuple(op.index(position) for position in range(count))
    return Operator(op.output.name, op.kind, inputs, output, weights, bias, window, activation, pads)


_INT8 = frozenset({"int8"})
OPERATORS: dict[str, tuple[Callable[[_Raw, int], Operator], frozenset[str]]] = {
    "CONV_2D": (_conv, _INT8),
    "DEPTHWISE_CONV_2D": (_depthwise, _INT8),
    "FULLY_CONNECTED": (_fully_connected, _INT8),
    "ADD": (_add, _INT8),
    "CONCATENATION": (_concatenation, _INT8),
    "AVERAGE_POOL_2D": (_pool, _INT8),
    "MAX_POOL_2D": (_pool, _INT8),
    "MEAN": (_mean, _INT8),
    "RESHAPE": (_reshape, frozenset({"int8", "uint8", "float32"})),
    "PAD": (_pad, _INT8),
    "SOFTMAX": (_elementwise, _INT8),
    "QUANTIZE": (_elementwise, frozenset({"int8", "uint8", "float32"})),
    "DEQUANTIZE": (_elementwise, frozenset({"int8", "uint8", "float32"})),
}
"""Operators that are read, with the data types their activations may have."""


def _indices(length: int, item: Callable[[int], int], optional: bool = False) -> tuple[int, ...]:
    if length > MAX_INPUTS:
        raise UnsupportedModel(f"an operator or the graph has {length} inputs or outputs; give at most {MAX_INPUTS}")
    found = tuple(int(item(position)) for position in range(length))
    if min(found, default=0) < (-1 if optional else 0):
        raise UnsupportedModel(f"tensor {min(found)} does not exist; {_RECONVERT}")
    return found


def _shape(raw: Any) -> tuple[int, ...]:
    if raw.ShapeLength() > _MAX_RANK:
        raise UnsupportedModel(f"a tensor has {raw.ShapeLength()} dimensions; give at most {_MAX_RANK}")
    shape: Sequence[int] = [int(raw.Shape(axis)) for axis in range(raw.ShapeLength())]
    if any(extent < 1 for extent in shape):
        raise UnsupportedModel(f"a tensor has the dynamic or empty shape {tuple(shape)}; convert with a fixed shape")
    return tuple(shape)
