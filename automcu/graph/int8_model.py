"""The int8 graph with all that computing needs: quantization of every tensor, weights, biases and attributes.

`Int8Graph` alone decides fit; this decides outputs. It is what code is emitted from, and what exact graph optimisation
rewrites. `read_model` in `graph/tflite/constants.py` makes it from a .tflite file.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from automcu.graph.int8 import Int8Graph


@dataclass(frozen=True, slots=True)
class Quantization:
    """A tensor's affine quantization: real value = `scale` * (stored - `zero_point`). `scale` is a float32's value."""

    scale: float
    zero_point: int


@dataclass(frozen=True, slots=True, eq=False)
class Constants:
    """The constant operand of one operator: int8 `weights` of shape `Operator.weights`, with `scales` (float32; one,
    or one for each output channel) and `zero_point` (0 for convolutions); `bias` has one int32 for each output channel.

    For ADD, SUB, MUL, MINIMUM, MAXIMUM of an activation and a constant, `weights` is the constant, and `first` says
    whether it is the first operand.
    """

    weights: np.ndarray
    scales: np.ndarray
    zero_point: int
    bias: np.ndarray | None = None
    first: bool = False


@dataclass(frozen=True, slots=True)
class Attributes:
    """What an operator's options say beyond `Operator`: SOFTMAX's `beta`, LEAKY_RELU's `alpha`, CONCATENATION's `axis`
    (counted from the front), TRANSPOSE's `order` of axes, and how RESIZE places its samples."""

    beta: float = 1.0
    alpha: float = 0.0
    axis: int = 0
    order: tuple[int, ...] = ()
    sampling: Literal["", "align_corners", "half_pixel_centers"] = ""


@dataclass(frozen=True, slots=True, eq=False)
class Int8Model:
    """A network whole. `quantization[i]` belongs to `graph.tensors[i]` (None for float32 tensors); `constants[k]` (None
    without a constant operand) and `attributes[k]` belong to `graph.operators[k]`."""

    graph: Int8Graph
    quantization: tuple[Quantization | None, ...]
    constants: tuple[Constants | None, ...]
    attributes: tuple[Attributes, ...]
