"""Small networks, made operator by operator."""

from collections.abc import Iterator, Sequence
from math import ceil

import numpy as np

from automcu.graph.int8 import Activation, Int8Graph, Operator, Tensor, Window
from automcu.graph.int8_model import Attributes, Constants, Int8Model, Quantization

Corners = Iterator[tuple[str, Int8Model, np.ndarray | None]]
"""Labels, networks, and inputs: rows of bytes, or None where random ones will do."""
UNIT = Quantization(1.0, 0)


def float32(value: float) -> float:
    return float(np.float32(value))


def constants(
    random: np.random.Generator, shape: tuple[int, ...], scales: Sequence[float] | float = 0.01,
    bias: Sequence[int] | int | None = 0, axis: int = 0, weights: int | None = None,
) -> Constants:  # fmt: skip
    """Weights, random or all the same; one scale or one a channel; biases around `bias`, or none."""
    values = random.integers(-128, 128, shape) if weights is None else np.full(shape, weights)
    biases = None
    if bias is not None:
        biases = np.broadcast_to(np.array(bias, np.int64), (shape[axis],))
        if isinstance(bias, int):
            biases = (biases + random.integers(-500, 500, shape[axis])).clip(-(1 << 31), (1 << 31) - 1)
        biases = biases.astype(np.int32)
    return Constants(values.astype(np.int8), np.atleast_1d(np.array(scales, np.float32)), 0, biases)


class Net:
    """A network that grows by one operator a call; tensors are known by their numbers."""

    def __init__(self, *shapes: tuple[int, ...], quantization: Quantization = UNIT, dtype: str = "int8") -> None:
        """`shapes` are those of its inputs, 0 and up."""
        self.tensors: list[Tensor] = []
        self.quantization: list[Quantization | None] = []
        self.operators: list[Operator] = []
        self.constants: list[Constants | None] = []
        self.attributes: list[Attributes] = []
        self.inputs = tuple(self._tensor(shape, quantization, dtype) for shape in shapes)

    def _tensor(self, shape: tuple[int, ...], quantization: Quantization, dtype: str) -> int:
        self.tensors.append(Tensor(f"t{len(self.tensors)}", shape, dtype))
        self.quantization.append(None if dtype == "float32" else quantization)
        return len(self.tensors) - 1

    def shape(self, tensor: int) -> tuple[int, ...]:
        return self.tensors[tensor].shape

    def add(
        self,
        kind: str,
        *reads: int,
        shape: tuple[int, ...] | None = None,
        to: Quantization | None = None,
        constants: Constants | None = None,
        attributes: Attributes | None = None,
        dtype: str = "int8",
        window: Window | None = None,
        activation: Activation = "NONE",
        pads: tuple[int, ...] = (),
    ) -> int:
        """Append an operator; shape and quantization are those of its first input unless given."""
        given = self.quantization[reads[0]] if to is None else to
        made = self._tensor(shape or self.shape(reads[0]), given or UNIT, dtype)
        weights = () if constants is None else constants.weights.shape
        bias = 0 if constants is None or constants.bias is None else len(constants.bias)
        self.operators.append(
            Operator(f"{kind.lower()}_{made}", kind, reads, made, weights, bias, window, activation, pads)
        )
        self.constants.append(constants)
        self.attributes.append(attributes or Attributes())
        return made

    def slide(
        self, kind: str, source: int, kernel: tuple[int, int], stride: tuple[int, int] = (1, 1), padding: str = "SAME",
        channels: int | None = None, **fields: object,
    ) -> int:  # fmt: skip
        """Append a convolution or a pooling."""
        _, *extents, depth = self.shape(source)
        made = [
            ceil((extent if padding == "SAME" else extent - size + 1) / step)
            for extent, size, step in zip(extents, kernel, stride, strict=True)
        ]
        window = Window(kernel, stride, padding)  # type: ignore[arg-type]
        shape = (self.shape(source)[0], *made, channels or depth)
        return self.add(kind, source, shape=shape, window=window, **fields)  # type: ignore[arg-type]

    def model(self, *outputs: int) -> Int8Model:
        """The network with these outputs, or with its last tensor."""
        chosen = outputs or (len(self.tensors) - 1,)
        graph = Int8Graph(tuple(self.tensors), tuple(self.operators), self.inputs, chosen)
        return Int8Model(graph, tuple(self.quantization), tuple(self.constants), tuple(self.attributes))
