"""The operator graph that an int8 .tflite file holds. Lowering makes it, the reader reads it; all figures come from it.

It says which operators run in which order on which tensors; it holds neither weight values nor quantization
parameters. Tensors and operators stand in the order of the file, because placement in memory depends on it.
"""

import hashlib
import marshal
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from operator import attrgetter
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
    units, inputs), empty where there is none; `bias` counts the int32 biases. An ADD, SUB, MUL, MINIMUM or MAXIMUM of
    one activation and an int8 constant has one input, and the constant's shape as `weights`, (1,) for a scalar; PRELU
    has its slopes there. `pads` is set for PAD alone: before and after, for each dimension in turn.
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
        """Hash of the structure (16 hex digits): operators, shapes and attributes, neither names nor weight values.

        The same in every process and for every Python version.
        """
        structure = (
            self.inputs,
            self.outputs,
            tuple(map(_TENSOR, self.tensors)),
            tuple(map(_OPERATOR, self.operators)),
            tuple([None if op.window is None else _WINDOW(op.window) for op in self.operators]),
        )
        # Version 2 of the format writes plain values one after another; later ones refer back to objects seen before,
        # by identity, so that equal graphs would differ.
        return hashlib.sha256(marshal.dumps(structure, 2)).hexdigest()[:16]


_TENSOR = attrgetter("shape", "dtype")
_OPERATOR = attrgetter("kind", "inputs", "output", "weights", "bias", "activation", "pads")
_WINDOW = attrgetter("kernel", "stride", "padding")
