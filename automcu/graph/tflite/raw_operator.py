"""One operator of a .tflite file on its way into the graph: its attributes and what it reads, checked."""

from math import ceil, prod
from typing import Any

import tflite

from automcu.graph.int8 import Activation, Operator, Tensor, Window
from automcu.graph.tflite.file import RECONVERT, TfliteFile, UnsupportedModel

MAX_WINDOW = 65_536
"""Kernel and stride, in steps along one axis."""
Values = int | tuple[int, ...]
"""A scalar or a vector of int32, computed from fixed shapes."""
_ACTIVATION_NAMES: dict[int, str] = {
    code: name for name, code in vars(tflite.ActivationFunctionType).items() if isinstance(code, int)
}
_ACTIVATIONS: dict[int, Activation] = {
    tflite.ActivationFunctionType.NONE: "NONE",
    tflite.ActivationFunctionType.RELU: "RELU",
    tflite.ActivationFunctionType.RELU6: "RELU6",
}


class RawOperator:
    """Operator `raw` of `file`, with `inputs` and `outputs` (tensor numbers of the file; a missing input is -1).

    `tensors` are the activations made so far and `values` the shapes computed so far, by tensor number. Its text names
    kind and layer. Every method raises `UnsupportedModel` for what it does not find as it should be.
    """

    def __init__(self, file: TfliteFile, raw: Any, tensors: dict[int, Tensor], values: dict[int, Values]) -> None:
        self.file = file
        self.tensors = tensors
        self.values = values
        self.inputs, self.outputs = file.operator_ends(raw)
        self.label = file.label(self.outputs[0]) if self.outputs else "without output"
        self.kind = file.kind(raw, self.label)
        self._raw = raw

    def __str__(self) -> str:
        return f"{self.kind} (layer {self.label})"

    @property
    def output(self) -> Tensor:
        """The activation that it makes, which the reader has put among `tensors`."""
        return self.tensors[self.outputs[0]]

    def options(self, options: Any) -> Any:
        """The operator's attributes, as the schema class `options`."""
        table = self._raw.BuiltinOptions()
        name = type(options).__name__
        if table is None or self._raw.BuiltinOptionsType() != getattr(tflite.BuiltinOptions, name):
            raise UnsupportedModel(f"{self} has no {name}; {RECONVERT}")
        options.Init(table.Bytes, table.Pos)
        return options

    def activation(self, options: Any) -> Activation:
        """The fused activation."""
        code = options.FusedActivationFunction()
        if code not in _ACTIVATIONS:
            name = _ACTIVATION_NAMES.get(code, code)
            raise UnsupportedModel(f"{self} has the fused activation {name}; use ReLU, ReLU6 or none")
        return _ACTIVATIONS[code]

    def index(self, position: int = 0) -> int:
        """Number of the activation that is read at `position`; an operator reads only what has been made before it."""
        index = self.inputs[position]
        if index not in self.tensors or index == self.outputs[0]:
            raise UnsupportedModel(f"{self} reads tensor {index}, which is constant or not made yet; {RECONVERT}")
        return index

    def source(self, position: int = 0) -> Tensor:
        """The activation that is read at `position`."""
        return self.tensors[self.index(position)]

    def is_constant(self, position: int) -> bool:
        """True when there is an input at `position` and it is constant."""
        present = position < len(self.inputs) and self.inputs[position] >= 0
        return present and self.file.constant_bytes(self.inputs[position]) > 0

    def expect(self, shape: tuple[int, ...]) -> None:
        """Refuse an output whose shape is not the one that inputs and attributes give."""
        if self.output.shape != shape:
            raise UnsupportedModel(f"{self} should make {shape}, not {self.output.shape}; {RECONVERT}")

    def bias(self, units: int) -> int:
        """Number of biases: `units`, or 0 when there are none."""
        if len(self.inputs) < 3 or self.inputs[2] < 0:
            return 0
        shape = self.file.constant(self.inputs[2], str(self), "int32")
        if prod(shape) != units:
            raise UnsupportedModel(f"{self} has {prod(shape)} biases for {units} channels; {RECONVERT}")
        return units

    def weights(self, rank: int | None = None) -> tuple[int, ...]:
        """Shape of the int8 kernel, of `rank` dimensions if that is given."""
        if not self.is_constant(1):
            raise UnsupportedModel(f"{self} has no constant weights; {RECONVERT}")
        shape = self.file.constant(self.inputs[1], str(self), "int8")
        if rank is not None and len(shape) != rank:
            raise UnsupportedModel(f"{self} has weights of shape {shape}; {RECONVERT}")
        return shape

    def int32_constants(self) -> tuple[int, ...]:
        """The constant axes or paddings at position 1."""
        if len(self.inputs) != 2 or not self.is_constant(1):
            raise UnsupportedModel(f"{self} takes axes or paddings that are no constants; {RECONVERT}")
        return self.file.int32_values(self.inputs[1], str(self))

    def map_shape(self) -> tuple[int, ...]:
        """Shape of the feature map that is read."""
        shape = self.source().shape
        if len(shape) != 4:
            raise UnsupportedModel(f"{self} reads shape {shape}; give it (1, height, width, channels)")
        return shape

    def window(self, kernel: tuple[int, int], options: Any) -> Window:
        """The sliding window; checks that it is undilated."""
        stride = (options.StrideH(), options.StrideW())
        padding = {tflite.Padding.SAME: "SAME", tflite.Padding.VALID: "VALID"}.get(options.Padding())
        if padding is None or min(*kernel, *stride) < 1:
            raise UnsupportedModel(f"{self} has kernel {kernel}, stride {stride}, padding {padding}; {RECONVERT}")
        if max(*kernel, *stride) > MAX_WINDOW:
            raise UnsupportedModel(f"{self} has kernel {kernel}, stride {stride}; use at most {MAX_WINDOW:,}")
        if self.kind.endswith("CONV_2D") and (options.DilationHFactor(), options.DilationWFactor()) != (1, 1):
            raise UnsupportedModel(f"{self} is dilated; use dilation 1")
        return Window(kernel, stride, "SAME" if padding == "SAME" else "VALID")

    def expect_slid(self, window: Window, channels: int) -> None:
        """Refuse an output that is not what `window` makes of the input."""
        shape = self.map_shape()
        extents = []
        for extent, kernel, stride in zip(shape[1:3], window.kernel, window.stride, strict=True):
            covered = extent if window.padding == "SAME" else extent - kernel + 1
            extents.append(ceil(covered / stride))
        self.expect((shape[0], *extents, channels))

    def operator(
        self,
        weights: tuple[int, ...] = (),
        bias: int = 0,
        window: Window | None = None,
        activation: Activation = "NONE",
        pads: tuple[int, ...] = (),
        reads: tuple[int, ...] = (0,),
    ) -> Operator:
        """The operator, which reads activations at the positions `reads`; inputs and output bear the file's numbers."""
        inputs = tuple(self.index(position) for position in reads)
        return Operator(self.label, self.kind, inputs, self.outputs[0], weights, bias, window, activation, pads)
