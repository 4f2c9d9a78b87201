"""The operator graph that an int8 .tflite file holds. Lowering makes it, the reader reads it; all figures come from it.

It says which operators run in which order on which tensors; it holds neither weight values nor quantization
parameters. Tensors and operators stand in the order of the file, because placement in memory depends on it.
"""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Literal

Activation = Literal["NONE", "RELU", "RELU6"]
ELEMENT_BYTES = {"int8": 1, "uint8": 1, "int32": 4, "float32": 4}
"""Bytes of one element, by the data types that a tensor may have."""
BIAS_BYTES = 4
"""Biases are int32."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """An activation: a tensor that lives in the arena. Weights are no tensors here, see `Operator.weights`.

    `shape` is as in the file, batch included: (1, height, width, channels) or (1, units). `dtype` is a key of
    `ELEMENT_BYTES`. The name is a label: it takes no part in comparison.
    """

    name: str = field(compare=False)
    shape: tuple[int, ...]
    dtype: str

    @property
    def bytes(self) -> int:
        """Size in bytes, not aligned."""
        return prod(self.shape) * ELEMENT_BYTES[self.dtype]


@dataclass(frozen=True, slots=True)
class Window:
    """How a convolution or pooling slides: kernel and stride as (height, width), and TensorFlow's padding rule."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: Literal["SAME", "VALID"]


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of the file. `kind` is TFLite's builtin name, such as CONV_2D; `name` is a label and not compared.

    `inputs` and `output` are indices into `Int8Graph.tensors`. `weights` is the shape of the int8 kernel as the file
    lays it out (CONV_2D: out, height, width, in; DEPTHWISE_CONV_2D: 1, height, width, channels; FULLY_CONNECTED:
    units, inputs), empty where there is none; `bias` counts the int32 biases. `pads` is set for PAD alone: before and
    after, for each dimension in turn.
    """

    name: str = field(compare=False)
    kind: str
    inputs: tuple[int, ...]
    output: int
    weights: tuple[int, ...] = ()
    bias: int = 0
    window: Window | None = None
    activation: Activation = "NONE"
    pads: tuple[int, ...] = ()


@dataclass(frozen=True)
class Int8Graph:
    """Tensors and operators in file order; `inputs` and `outputs` are indices into `tensors`.

    Two graphs are equal when they have the same structure, whatever the names.
    """

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the structure (16 hex digits): operators, shapes and attributes, neither names nor weight values."""
        structure = (
            self.inputs,
            self.outputs,
            [(tensor.shape, tensor.dtype) for tensor in self.tensors],
            [(op.kind, op.inputs, op.output, op.weights, op.bias, op.activation, op.pads) for op in self.operators],
            [(w.kernel, w.stride, w.padding) for op in self.operators if (w := op.window) is not None],
        )
        return hashlib.sha256(repr(structure).encode()).hexdigest()[:16]
