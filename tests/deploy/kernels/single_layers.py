"""Random networks of one layer, of the kinds and shapes that fast kernels have cases for."""

import numpy as np

from automcu.graph.int8 import Activation, Int8Graph, Operator, Tensor, Window
from automcu.graph.int8_model import Attributes, Constants, Int8Model, Quantization

KINDS = (
    "CONV_2D",
    "POINTWISE",
    "DEPTHWISE_CONV_2D",
    "DEPTHWISE_3X3",
    "DEPTHWISE_STRIDE1",
    "FULLY_CONNECTED",
    "ADD",
    "MUL",
    "MEAN",
    "AVERAGE_POOL_2D",
)
_TYPICAL_INPUT = 74.0


def single_layer(kind: str, seed: int) -> Int8Model:
    """The random network of that kind and seed. Outputs spread over the int8 range."""
    return _Layer(np.random.default_rng([KINDS.index(kind), seed])).make(kind)


class _Layer:
    def __init__(self, random: np.random.Generator) -> None:
        self.random = random

    def count(self, least: int, most: int) -> int:
        return int(self.random.integers(least, most + 1))

    def pick(self, *choices: int) -> int:
        return int(self.random.choice(choices))

    def make(self, kind: str) -> Int8Model:
        source = Quantization(float(np.float32(self.random.uniform(0.01, 0.1))), self.count(-128, 127))
        depth = self.pick(1, 2, 3, 4, 5, 6, 7, 8, 12, 13, 16)
        shape: tuple[int, ...] = (1, self.count(1, 9), self.count(1, 9), depth)
        match kind:
            case "FULLY_CONNECTED":
                shape = (1, self.pick(1, 2, 3, 5, 8, 31, 64, 640, 1500))
                return self.weighted(kind, shape, (self.count(1, 9), shape[1]), None, source)
            case "ADD":
                return self.add(shape, source)
            case "MUL":
                return self.multiply(shape, source)
            case "MEAN":
                operator = Operator("layer", kind, (0,), 1)
                target = self.target(source.scale * _TYPICAL_INPUT)
                return self.model((shape, (1, depth)), (source, target), operator)
            case "AVERAGE_POOL_2D":
                return self.pool(kind, shape, source)
            case "POINTWISE":
                weights = self.count(1, 9), 1, 1, depth
                return self.weighted("CONV_2D", shape, weights, self.window(shape, (1, 1), self.pick(1, 1, 2)), source)
            case "CONV_2D":
                kernel = self.count(1, 5), self.count(1, 5)
                return self.weighted(
                    kind, shape, (self.count(1, 9), *kernel, depth), self.window(shape, kernel), source
                )
            case "DEPTHWISE_3X3":
                weights = 1, 3, 3, depth
                stride = self.pick(1, 1, 2)
                window = self.window(shape, (3, 3), stride)
                return self.weighted("DEPTHWISE_CONV_2D", shape, weights, window, source)
            case "DEPTHWISE_STRIDE1":
                kernel = self.count(1, 8), self.count(1, 8)
                return self.weighted(
                    "DEPTHWISE_CONV_2D", shape, (1, *kernel, depth), self.window(shape, kernel, 1), source
                )
        kernel, copies = (self.count(1, 5), self.count(1, 5)), self.pick(1, 1, 1, 2)
        return self.weighted(kind, shape, (1, *kernel, depth * copies), self.window(shape, kernel), source)

    def window(self, shape: tuple[int, ...], kernel: tuple[int, int], stride: int | None = None) -> Window:
        fits = kernel[0] <= shape[1] and kernel[1] <= shape[2]
        strides = (stride, stride) if stride else (self.count(1, 3), self.count(1, 3))
        return Window(kernel, strides, "VALID" if fits and self.random.random() < 0.5 else "SAME")

    def made(self, shape: tuple[int, ...], window: Window) -> tuple[int, int]:
        spans = (
            extent if window.padding == "SAME" else extent - size + 1
            for extent, size in zip(shape[1:3], window.kernel, strict=True)
        )
        height, width = (-(-span // stride) for span, stride in zip(spans, window.stride, strict=True))
        return height, width

    def target(self, spread: float) -> Quantization:
        """Such that real values of that standard deviation use the range; rarely a far smaller or larger scale."""
        factor = self.random.choice([1, 1, 1, 1, 0.3, 0.1, 40])
        return Quantization(float(np.float32(spread / 50 * factor)), self.pick(-128, -128, self.count(-128, 127)))

    def activation(self) -> Activation:
        choices: tuple[Activation, ...] = ("NONE", "RELU", "RELU6")
        return choices[self.count(0, 2)]

    def weighted(
        self, kind: str, shape: tuple[int, ...], weights: tuple[int, ...], window: Window | None, source: Quantization
    ) -> Int8Model:
        depthwise = kind == "DEPTHWISE_CONV_2D"
        channels = weights[-1] if depthwise else weights[0]
        terms = int(np.prod(weights[1:3] if depthwise else weights[1:]))
        largest = self.pick(127, 127, 128, 9, 1)
        values = self.random.integers(-largest, min(largest, 127) + 1, weights).astype(np.int8)
        if self.random.random() < 0.2:
            values = np.full(weights, self.pick(127, -128), np.int8)  # the largest sums
        scales = self.random.uniform(0.001, 0.02, channels if self.random.random() < 0.8 else 1).astype(np.float32)
        spread = float(
            source.scale
            * scales.mean()
            * terms**0.5
            * _TYPICAL_INPUT
            * np.sqrt(np.mean(values.astype(float) ** 2) + 0.01)
        )
        bias = None
        if self.random.random() < 0.9:
            bias = (self.random.normal(0, spread, channels) / (source.scale * scales)).clip(-(2**30), 2**30)
            bias = np.rint(bias).astype(np.int32)
            if self.random.random() < 0.3:  # channels that give but one output, as trained networks have
                bias[self.random.integers(channels)] = self.pick(1 << 30, -(1 << 30), 1 << 24)
        output = (1, channels) if window is None else (1, *self.made(shape, window), channels)
        operator = Operator(
            "layer", kind, (0,), 1, weights, 0 if bias is None else channels, window, self.activation()
        )  # fmt: skip
        return self.model((shape, output), (source, self.target(spread)), operator, Constants(values, scales, 0, bias))

    def add(self, shape: tuple[int, ...], source: Quantization) -> Int8Model:
        other = Quantization(
            float(np.float32(source.scale * self.random.choice([1, 0.3, 2.7, 0.01]))), self.count(-128, 127)
        )
        target = self.target((source.scale + other.scale) * _TYPICAL_INPUT)
        operator = Operator("layer", "ADD", (0, 1), 2, activation=self.activation())
        return self.model((shape, shape, shape), (source, other, target), operator)

    def multiply(self, shape: tuple[int, ...], source: Quantization) -> Int8Model:
        other = Quantization(float(np.float32(self.random.uniform(0.001, 0.1))), self.count(-128, 127))
        target = self.target(source.scale * other.scale * _TYPICAL_INPUT**2)
        operator = Operator("layer", "MUL", (0, 1), 2, activation=self.activation())
        factor = shape if self.random.random() < 0.3 else (1, 1, 1, shape[3])
        return self.model((shape, factor, shape), (source, other, target), operator)

    def pool(self, kind: str, shape: tuple[int, ...], source: Quantization) -> Int8Model:
        whole = self.random.random() < 0.4
        kernel = (shape[1], shape[2]) if whole else (self.count(1, 4), self.count(1, 4))
        window = self.window(shape, kernel)
        operator = Operator("layer", kind, (0,), 1, window=window, activation=self.activation())
        return self.model((shape, (1, *self.made(shape, window), shape[3])), (source, source), operator)

    def model(
        self,
        shapes: tuple[tuple[int, ...], ...],
        quantization: tuple[Quantization, ...],
        operator: Operator,
        constants: Constants | None = None,
    ) -> Int8Model:
        tensors = tuple(Tensor(f"tensor_{i}", shape, "int8") for i, shape in enumerate(shapes))
        graph = Int8Graph(tensors, (operator,), tuple(range(len(shapes) - 1)), (len(shapes) - 1,))
        return Int8Model(graph, quantization, (constants,), (Attributes(),))
