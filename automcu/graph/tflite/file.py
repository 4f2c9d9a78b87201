"""Checked access to the tables of a .tflite file.

The bytes are untrusted: the schema comes from the package `tflite`, every index, size and shape is checked against the
file, nothing is allocated by a size that the file states, and sizes are bounded so that whatever is computed from the
graph later stays small.
"""

import struct
from math import prod
from typing import Any

import numpy as np
import tflite

from automcu.errors import CandidateFailure
from automcu.graph.int8 import ELEMENT_BYTES, Tensor

MAX_TENSORS = 4096
MAX_OPERATORS = 2048
MAX_INPUTS = 64
"""Inputs or outputs of an operator or of the graph."""
MAX_ALIVE = 128
"""Activations in memory at one time: placing them takes time that grows with the square of their number."""
MAX_RANK = 6
MAX_ACTIVATION_BYTES = 256 << 20
"""All activations together; many times what any microcontroller board holds, so that an arena has at most some GiB."""
RECONVERT = "convert the network to int8 again"
_MAX_NAME = 200
_NAME_FIELD = 10  # in the vtable of the schema's Tensor
_KINDS: dict[int, str] = {code: name for name, code in vars(tflite.BuiltinOperator).items() if isinstance(code, int)}
_DTYPES: dict[int, str] = {
    code: name.lower() for name, code in vars(tflite.TensorType).items() if isinstance(code, int)
}


class UnsupportedModel(CandidateFailure):
    """The bytes are no .tflite file, or hold something other than a static int8 network of known operators."""


class TfliteFile:
    """The tables of a file with one graph. Tensors are named by their number in the file.

    Every method raises `UnsupportedModel` for what the file should not hold, and one of `DAMAGE` where a table does
    not lie within the file.
    """

    DAMAGE = (struct.error, IndexError, ValueError, TypeError, AttributeError, OverflowError)

    def __init__(self, data: bytes) -> None:
        self._model = tflite.Model.GetRootAs(data, 0)
        if self._model.SubgraphsLength() != 1:
            raise UnsupportedModel(
                f"the model has {self._model.SubgraphsLength()} subgraphs; convert one without control flow"
            )
        self._graph = self._model.Subgraphs(0)
        for what, count, limit in (
            ("tensors", self._graph.TensorsLength(), MAX_TENSORS),
            ("operators", self._graph.OperatorsLength(), MAX_OPERATORS),
        ):
            if not 1 <= count <= limit:
                raise UnsupportedModel(f"the model has {count} {what}; give one with 1 to {limit}")
        self._tensor_count = self._graph.TensorsLength()
        self._buffer_count = self._model.BuffersLength()
        self._activation_bytes = 0
        self._tensors: dict[int, Any] = {}  # tables are slow to look up, and asked for often
        self._constant_bytes: dict[int, int] = {}

    def inputs_and_outputs(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The graph's inputs and outputs."""
        return self._ends(self._graph, "the graph")

    def operators(self) -> list[Any]:
        """The schema's operators, in file order."""
        return [self._graph.Operators(position) for position in range(self._graph.OperatorsLength())]

    def operator_ends(self, raw: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The inputs and outputs of an operator; an input that is left out is -1."""
        return self._ends(raw, "an operator", optional=True)

    def kind(self, raw: Any, label: str) -> str:
        """TFLite's name of an operator's kind; `label` names the layer in errors."""
        if raw.OpcodeIndex() >= self._model.OperatorCodesLength():
            raise UnsupportedModel(f"layer {label} has an operator code that does not exist; {RECONVERT}")
        code = self._model.OperatorCodes(raw.OpcodeIndex())
        number = code.BuiltinCode()
        if number == tflite.BuiltinOperator.CUSTOM:
            custom = _printable((code.CustomCode() or b"")[:_MAX_NAME]) or "without a name"
            raise UnsupportedModel(
                f"layer {label} is the custom operator {custom}; build the network of TensorFlow Lite's own operators, "
                "and leave post-processing to the application"
            )
        if number not in _KINDS:
            raise UnsupportedModel(
                f"layer {label} has the unknown operator number {number}; convert with an older TensorFlow"
            )
        return _KINDS[number]

    def label(self, index: int) -> str:
        """A tensor's name, fit to be shown."""
        table = self._tensor(index)._tab
        field = table.Offset(_NAME_FIELD)
        if not field:
            return f"tensor {index}"
        start = table.Vector(field)
        end = start + min(table.VectorLen(field), _MAX_NAME)  # no longer, however long the name is said to be
        return _printable(bytes(table.Bytes[start:end])).split(";")[0] or f"tensor {index}"

    def dtype(self, index: int) -> str:
        """A tensor's data type, such as int8."""
        return _DTYPES.get(self._tensor(index).Type(), "unknown")

    def activation(self, index: int) -> Tensor:
        """A tensor of data that flows, with a fixed shape and batch 1; to be asked for once a tensor."""
        label = self.label(index)
        dtype = self.dtype(index)
        if dtype not in ELEMENT_BYTES:
            raise UnsupportedModel(f"tensor {label} is of type {dtype}; quantize the whole network to int8")
        if self.constant_bytes(index) or self._tensor(index).IsVariable():
            raise UnsupportedModel(f"tensor {label} is constant or variable where data flows; {RECONVERT}")
        tensor = Tensor(label, self._fixed_shape(index, label), dtype)
        self._activation_bytes += tensor.bytes
        if self._activation_bytes > MAX_ACTIVATION_BYTES:
            raise UnsupportedModel(
                f"the activations up to tensor {label} take {self._activation_bytes:,} bytes; give a network whose "
                f"activations take at most {MAX_ACTIVATION_BYTES:,} bytes together"
            )
        return tensor

    def shape(self, index: int) -> tuple[int, ...]:
        """The shape that the file states, which is () for a scalar."""
        raw = self._tensor(index)
        rank = raw.ShapeLength()
        if rank > MAX_RANK:
            raise UnsupportedModel(f"tensor {self.label(index)} has {rank} dimensions; give at most {MAX_RANK}")
        shape = tuple(raw.ShapeAsNumpy().tolist()) if rank else ()
        if min(shape, default=1) < 1:
            raise UnsupportedModel(
                f"tensor {self.label(index)} has the dynamic or empty shape {shape}; convert with a fixed shape"
            )
        return shape

    def constant_bytes(self, index: int) -> int:
        """Bytes of constant data behind a tensor, all within the file; 0 for an activation."""
        size = self._constant_bytes.get(index)
        if size is None:
            buffer = self._buffer(index)
            size = len(buffer.DataAsNumpy()) if buffer.DataLength() else 0
            self._constant_bytes[index] = size
        return size

    def constant(self, index: int, kind: str, dtype: str) -> tuple[int, ...]:
        """Shape of a constant tensor, whose type and data length are checked."""
        shape = self.shape(index)
        found = self.dtype(index)
        if found != dtype:
            raise UnsupportedModel(
                f"{kind} has {found} constants ({self.label(index)}) instead of {dtype}; quantize the network to int8"
            )
        if self.constant_bytes(index) != prod(shape) * ELEMENT_BYTES[dtype]:
            raise UnsupportedModel(
                f"{kind} has {self.constant_bytes(index)} bytes of constants for shape {shape}; {RECONVERT}"
            )
        return shape

    def int32_values(self, index: int, kind: str) -> tuple[int, ...]:
        """Values of a small constant int32 tensor: axes, extents or paddings."""
        count = prod(self.constant(index, kind, "int32"))
        if count > 2 * MAX_RANK:
            raise UnsupportedModel(f"{kind} has {count} values where it takes axes or extents; {RECONVERT}")
        return struct.unpack(f"<{count}i", self._buffer(index).DataAsNumpy().tobytes())

    def values(self, index: int, dtype: type[np.generic]) -> np.ndarray:
        """The data of a constant tensor, flat, as a view of the file, since many operators may share it; shape and type
        have been checked by `constant`."""
        stored: np.ndarray = self._buffer(index).DataAsNumpy()
        return stored.view(np.dtype(dtype).newbyteorder("<"))

    def quantization(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Scales (float32) and zero points (int64) of a tensor, as many as the file states, as views of it; a zero
        point that is left out is 0."""
        table = self._tensor(index).Quantization()
        if table is None or not table.ScaleLength():
            raise UnsupportedModel(f"tensor {self.label(index)} has no quantization; {RECONVERT}")
        scales = np.asarray(table.ScaleAsNumpy(), np.float32)
        zero_points = np.zeros(1, np.int64)
        if table.ZeroPointLength():
            zero_points = np.asarray(table.ZeroPointAsNumpy(), np.int64)
        return scales, zero_points

    def quantized_axis(self, index: int) -> int:
        """The axis along which the scales of a tensor that has quantization differ."""
        return int(self._tensor(index).Quantization().QuantizedDimension())

    def _tensor(self, index: int) -> Any:
        raw = self._tensors.get(index)
        if raw is None:
            raw = self._tensors[index] = self._graph.Tensors(index)
        return raw

    def _buffer(self, index: int) -> Any:
        number = self._tensor(index).Buffer()
        if number >= self._buffer_count:
            raise UnsupportedModel(f"tensor {index} refers to a buffer that does not exist; {RECONVERT}")
        return self._model.Buffers(number)

    def _fixed_shape(self, index: int, label: str) -> tuple[int, ...]:
        raw, shape = self._tensor(index), self.shape(index)
        if not shape:
            raise UnsupportedModel(f"tensor {label} has no dimensions; {RECONVERT}")
        if raw.ShapeSignatureLength():
            signature = tuple(raw.ShapeSignatureAsNumpy()[: MAX_RANK + 1].tolist())
            if -1 in signature[1:]:  # a dynamic batch, on the other hand, is the batch that the shape states
                raise UnsupportedModel(
                    f"tensor {label} of shape {signature} has the dynamic dimension {signature.index(-1, 1)}; convert "
                    "with a fixed shape"
                )
        return shape

    def _ends(self, raw: Any, what: str, optional: bool = False) -> tuple[tuple[int, ...], tuple[int, ...]]:
        ends: list[tuple[int, ...]] = []
        for count, vector in ((raw.InputsLength(), raw.InputsAsNumpy), (raw.OutputsLength(), raw.OutputsAsNumpy)):
            if count > MAX_INPUTS:
                raise UnsupportedModel(f"{what} has {count} inputs or outputs; give at most {MAX_INPUTS}")
            numbers = tuple(vector().tolist()) if count else ()
            lowest = -1 if optional and not ends else 0
            for number in numbers:
                if not lowest <= number < self._tensor_count:
                    raise UnsupportedModel(f"tensor {number} does not exist; {RECONVERT}")
            ends.append(numbers)
        return ends[0], ends[1]


def _printable(name: bytes) -> str:
    text = name.decode("utf-8", "replace")
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)
