"""An int8 .tflite file, read into the int8 graph.

The bytes are untrusted, see `file.py`. Operators that only compute the fixed target shape of a RESHAPE take no
part in the graph, see `shapes.py`; all others are in it, in file order.
"""

from collections import Counter
from dataclasses import replace

from automcu.graph.int8 import Int8Graph, Operator, Tensor
from automcu.graph.tflite.file import MAX_ALIVE, RECONVERT, TfliteFile, UnsupportedModel
from automcu.graph.tflite.operators import ANY_PRECISION, OPERATORS
from automcu.graph.tflite.raw_operator import RawOperator, Values
from automcu.graph.tflite.shapes import FIX_BATCH, SHAPE_ARITHMETIC, fold

_QUANTIZE = "quantize the whole network to int8, with a representative data set and for int8 operators only"


def read_tflite(data: bytes) -> Int8Graph:
    """The graph in the .tflite file `data`; operators bear the names of their output tensors.

    Raises `UnsupportedModel` for anything that is not a whole, static, single-graph int8 network, batch 1, of the
    operators listed in `OPERATORS`, within the limits of `file.py`; a dynamic batch is taken as 1; a uint8 or
    float32 input or output is accepted where QUANTIZE or DEQUANTIZE stands between it and the network.
    """
    require_tflite(data)
    try:
        return GraphReader(TfliteFile(data)).read()
    except TfliteFile.DAMAGE as error:
        raise damaged() from error


def require_tflite(data: bytes) -> None:
    """Raise `UnsupportedModel` unless `data` begins as a .tflite file does."""
    if len(data) < 8 or data[4:8] != b"TFL3":
        raise UnsupportedModel("this is no .tflite file (identifier TFL3 is missing); give an int8 .tflite file")


def damaged() -> UnsupportedModel:
    """The error for a file whose tables do not lie within it."""
    return UnsupportedModel(f"the .tflite file is damaged or cut short (its tables do not lie within it); {RECONVERT}")


class GraphReader:
    """One reading of `file`. After `read`, `tensors` are the activations by their number in the file, and
    `raw_operators` what the file says of each operator of the graph."""

    def __init__(self, file: TfliteFile) -> None:
        self.file = file
        self.tensors: dict[int, Tensor] = {}
        self.raw_operators: list[RawOperator] = []
        self.values: dict[int, Values] = {}  # shapes computed from fixed shapes, by their number in the file
        self.operators: list[Operator] = []  # inputs and output numbered as in the file

    def read(self) -> Int8Graph:
        """The graph; raises as `read_tflite` does, or one of `TfliteFile.DAMAGE`."""
        inputs, outputs = self.file.inputs_and_outputs()
        if not inputs or not outputs:
            raise UnsupportedModel(f"the model has no input or no output; {RECONVERT}")
        for index in dict.fromkeys(inputs):
            self.tensors[index] = self.file.activation(index)
            if self.tensors[index].shape[0] != 1:
                raise UnsupportedModel(f"the model's input has shape {self.tensors[index].shape}; use batch size 1")
        for raw in self.file.operators():
            self._read_operator(RawOperator(self.file, raw, self.tensors, self.values))
        if not self.operators:
            raise UnsupportedModel("the model computes nothing but shapes; give an int8 network")
        missing = [index for index in outputs if index not in self.tensors]
        if missing:
            raise UnsupportedModel(
                f"no operator makes the model's output {self.file.label(missing[0])} of data; {RECONVERT}"
            )
        self._require_few_alive(outputs)
        order = sorted(self.tensors)
        new = {old: index for index, old in enumerate(order)}
        return Int8Graph(
            tensors=tuple(self.tensors[index] for index in order),
            operators=tuple(
                replace(op, inputs=tuple(new[index] for index in op.inputs), output=new[op.output])
                for op in self.operators
            ),
            inputs=tuple(new[index] for index in inputs),
            outputs=tuple(new[index] for index in outputs),
        )

    def _require_few_alive(self, outputs: tuple[int, ...]) -> None:
        last_use = dict.fromkeys(self.tensors, -1)
        for time, op in enumerate(self.operators):
            last_use.update(dict.fromkeys((*op.inputs, op.output), time))
        last_use.update(dict.fromkeys(outputs, len(self.operators)))
        ends = Counter(last_use.values())
        alive = len(self.tensors) - len(self.operators) - ends[-1]  # the graph's inputs that are read
        for time, op in enumerate(self.operators):
            alive += 1
            if alive > MAX_ALIVE:
                raise UnsupportedModel(
                    f"{op.kind} (layer {op.name}) runs while {alive} activations are kept in memory; give a network "
                    f"that keeps at most {MAX_ALIVE}"
                )
            alive -= ends[time]

    def _read_operator(self, op: RawOperator) -> None:
        if not op.inputs or len(op.outputs) != 1:
            what = f"{op} has {len(op.inputs)} inputs and {len(op.outputs)} outputs"
            remedy = (
                RECONVERT if op.kind in OPERATORS else "use operators with one output, and no SPLIT or control flow"
            )
            raise UnsupportedModel(f"{what}; {remedy}")
        output = op.outputs[0]
        if output in self.tensors or output in self.values:
            raise UnsupportedModel(f"tensor {output} is made twice, the second time by {op}; {RECONVERT}")
        if op.kind in SHAPE_ARITHMETIC:
            self.values[output] = fold(op)
            return
        _require_int8(op)
        if op.kind not in OPERATORS:
            raise UnsupportedModel(
                f"{op} is not supported; use {', '.join(OPERATORS)}, and {FIX_BATCH} if it computes a shape"
            )
        self.tensors[output] = self.file.activation(output)
        self.operators.append(OPERATORS[op.kind](op))
        self.raw_operators.append(op)


def _require_int8(op: RawOperator) -> None:
    """Refuse, by the name of its scheme, whatever is not quantized to int8 throughout."""
    inputs = op.inputs[:1] if op.kind in ANY_PRECISION else op.inputs
    present = [index for index in inputs if index >= 0 and index not in op.values]
    weights = [op.file.dtype(index) for index in present if op.file.constant_bytes(index)]
    data = [op.file.dtype(index) for index in (*present, op.outputs[0]) if not op.file.constant_bytes(index)]
    if op.kind == "DEQUANTIZE" and weights:
        raise UnsupportedModel(f"{op} unpacks {weights[0]} weights, so that the network computes in float; {_QUANTIZE}")
    allowed = {"int8", "uint8", "float32"} if op.kind in ANY_PRECISION else {"int8"}
    match next((dtype for dtype in data if dtype not in allowed), None):
        case None:
            return
        case "uint8":
            scheme = "is quantized to uint8, the scheme of TensorFlow 1"
        case "int16":
            scheme = "works on int16 activations"
        case "float32" if "int8" in weights:
            scheme = "has int8 weights but works on float32 activations (dynamic range quantization)"
        case "float32":
            scheme = "works on float32"
        case dtype:
            if op.kind not in OPERATORS:
                return
            scheme = f"works on {dtype}"
    raise UnsupportedModel(f"{op} {scheme}; {_QUANTIZE}")
