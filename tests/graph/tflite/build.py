"""Builds .tflite files that no converter would write."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import flatbuffers
import tflite


@dataclass(frozen=True)
class T:
    """A tensor; constant when it has data."""

    shape: tuple[int, ...]
    dtype: str = "INT8"
    data: bytes = b""
    name: str | bytes = "t"
    signature: tuple[int, ...] = ()


@dataclass(frozen=True)
class O:  # noqa: E742
    """An operator; `options` are the fields of the schema table `table` that are not 0."""

    kind: str | int  # builtin name or number
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    table: str = ""
    options: dict[str, int] = field(default_factory=dict)
    custom: str = ""


def build(
    tensors: Sequence[T], operators: Sequence[O], inputs: Sequence[int], outputs: Sequence[int], subgraphs: int = 1
) -> bytes:
    builder = flatbuffers.Builder(1024)
    buffers = [_table(builder, "Buffer")]
    tensor_tables, codes, operator_tables = [], [], []
    for tensor in tensors:
        number = 0
        if tensor.data:
            number = len(buffers)
            buffers.append(_table(builder, "Buffer", Data=builder.CreateByteVector(tensor.data)))
        fields = {"Shape": _ints(builder, tensor.shape), "Name": builder.CreateString(tensor.name)}
        if tensor.signature:
            fields["ShapeSignature"] = _ints(builder, tensor.signature)
        kind = getattr(tflite.TensorType, tensor.dtype)
        tensor_tables.append(_table(builder, "Tensor", **fields, Type=kind, Buffer=number))
    kinds: dict[tuple[str | int, str], int] = {}
    for op in operators:
        if (op.kind, op.custom) not in kinds:
            kinds[op.kind, op.custom] = len(codes)
            number = op.kind if isinstance(op.kind, int) else getattr(tflite.BuiltinOperator, op.kind)
            custom = {"CustomCode": builder.CreateString(op.custom)} if op.custom else {}
            codes.append(
                _table(builder, "OperatorCode", DeprecatedBuiltinCode=min(number, 127), BuiltinCode=number, **custom)
            )
        fields = {"Inputs": _ints(builder, op.inputs), "Outputs": _ints(builder, op.outputs)}
        if op.table:
            fields["BuiltinOptions"] = _table(builder, op.table, **op.options)
            fields["BuiltinOptionsType"] = getattr(tflite.BuiltinOptions, op.table)
        operator_tables.append(_table(builder, "Operator", OpcodeIndex=kinds[op.kind, op.custom], **fields))
    graph = _table(
        builder,
        "SubGraph",
        Tensors=_tables(builder, tensor_tables),
        Inputs=_ints(builder, inputs),
        Outputs=_ints(builder, outputs),
        Operators=_tables(builder, operator_tables),
    )
    model = _table(
        builder,
        "Model",
        Version=3,
        OperatorCodes=_tables(builder, codes),
        Subgraphs=_tables(builder, [graph] * subgraphs),
        Buffers=_tables(builder, buffers),
    )
    builder.Finish(model, b"TFL3")
    return bytes(builder.Output())


def _function(name: str) -> Callable[..., int]:
    return getattr(tflite, name)


def _table(builder: flatbuffers.Builder, table: str, **fields: int) -> int:
    _function(f"{table}Start")(builder)
    for name, value in fields.items():
        _function(f"{table}Add{name}")(builder, value)
    return _function(f"{table}End")(builder)


def _tables(builder: flatbuffers.Builder, offsets: Sequence[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def _ints(builder: flatbuffers.Builder, values: Sequence[int]) -> int:
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        builder.PrependInt32(value)
    return builder.EndVector()
