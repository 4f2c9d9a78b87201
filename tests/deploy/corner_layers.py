"""Layers at the corners: shapes and quantization of convolutions, dense layers, pools and SOFTMAX."""

from collections.abc import Sequence
from math import prod

import numpy as np

from automcu.graph.int8 import Activation
from automcu.graph.int8_model import Attributes, Int8Model, Quantization
from tests.deploy.corner_net import Corners, Net, constants, float32
from tests.deploy.random_models import random_inputs

SAMPLES = 4
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_POSITIVE, _NEGATIVE = (1 << 31) - 1, -(1 << 31)
_PROBABILITY = Quantization(1 / 256, -128)


def convolutions(random: np.random.Generator) -> Corners:
    """Shapes: kernels larger than maps, strides larger than kernels, maps of one pixel, one channel, many."""
    shapes: tuple[tuple[tuple[int, int, int], tuple[int, int], tuple[int, int], str, int], ...] = (
        ((1, 1, 1), (1, 1), (1, 1), "VALID", 1),
        ((1, 1, 5), (3, 3), (1, 1), "SAME", 3),
        ((1, 1, 3), (7, 5), (2, 3), "SAME", 6),
        ((2, 3, 4), (7, 8), (1, 1), "SAME", 4),
        ((3, 2, 1), (4, 4), (3, 3), "SAME", 5),
        ((7, 9, 2), (1, 1), (3, 2), "SAME", 4),
        ((7, 9, 3), (1, 1), (3, 2), "VALID", 7),
        ((9, 8, 3), (2, 2), (5, 4), "VALID", 2),
        ((9, 8, 3), (2, 3), (4, 5), "SAME", 3),
        ((1, 17, 1), (1, 7), (1, 2), "SAME", 9),
        ((17, 1, 1), (7, 1), (2, 1), "SAME", 9),
        ((5, 5, 7), (5, 5), (1, 1), "VALID", 11),
        ((2, 2, 300), (2, 2), (1, 1), "SAME", 3),
        ((3, 3, 3), (3, 3), (1, 1), "SAME", 300),
        ((3, 4, 300), (1, 1), (1, 1), "SAME", 5),
        ((2, 1, 301), (1, 1), (1, 1), "VALID", 302),
        ((10, 4, 1), (10, 4), (2, 2), "SAME", 8),
        ((12, 2, 4), (3, 6), (1, 1), "SAME", 2),
        ((2, 12, 5), (6, 3), (2, 1), "SAME", 1),
    )
    for (height, width, depth), kernel, stride, padding, channels in shapes:
        for activation in ("NONE", "RELU6"):
            zero_point = int(random.integers(-128, 128))
            source, to = Quantization(0.05, zero_point), Quantization(0.1, int(random.integers(-128, 128)))
            net = Net((1, height, width, depth), quantization=source)
            scales = (random.uniform(0.2, 1, channels) * 4 / (depth * prod(kernel)) ** 0.5 / 64).tolist()
            made = constants(random, (channels, *kernel, depth), scales)
            net.slide(
                "CONV_2D", 0, kernel, stride, padding, channels, to=to, constants=made, activation=activation
            )  # fmt: skip
            yield f"CONV_2D of {height}x{width}x{depth}", net.model(), None
            net = Net((1, height, width, depth), quantization=source)
            times = max(1, min(channels, 300 // depth))
            scales = (random.uniform(0.2, 1, depth * times) * 4 / prod(kernel) ** 0.5 / 64).tolist()
            made = constants(random, (1, *kernel, depth * times), scales, axis=3)
            net.slide(
                "DEPTHWISE_CONV_2D", 0, kernel, stride, padding, depth * times, to=to, constants=made,
                activation=activation,
            )  # fmt: skip
            yield f"DEPTHWISE_CONV_2D of {height}x{width}x{depth}, {times} each", net.model(), None


def _weighted(
    random: np.random.Generator, kind: str, scales: Sequence[float] | float, bias: Sequence[int] | int | None,
    weights: int | None, source: Quantization, to: Quantization, activation: Activation = "NONE", depth: int = 6,
) -> Int8Model:  # fmt: skip
    """One layer with weights and 12 channels."""
    fixed = {"to": to, "activation": activation}
    if kind == "FULLY_CONNECTED":
        net = Net((1, 5, depth), quantization=source)
        made = constants(random, (12, depth), scales, bias, 0, weights)
        net.add(kind, 0, shape=(1, 5, 12), constants=made, **fixed)  # type: ignore[arg-type]
    elif kind == "CONV_2D":
        net = Net((1, 3, 4, depth), quantization=source)
        made = constants(random, (12, 3, 2, depth), scales, bias, 0, weights)
        net.slide(kind, 0, (3, 2), channels=12, constants=made, **fixed)
    else:
        net = Net((1, 3, 4, 12), quantization=source)
        made = constants(random, (1, 3, 2, 12), scales, bias, 3, weights)
        net.slide(kind, 0, (3, 2), channels=12, constants=made, **fixed)
    return net.model()


def dense_layers(random: np.random.Generator) -> Corners:
    """Quantization of layers with weights: every shift, biases at the ends of int32, sums beyond it, zero points."""
    shifts = [2.0**exponent for exponent in (-36, -33, -32.5, -32, -31, -30, -24, -22, -20, -16, -12, -8)]
    lefts = [2.0**exponent for exponent in (-4, -1, -0.5, -(2**-30), 0, 0.3, 1, 3, 8, 15, 23, 29.9)]
    ends = (
        *(_POSITIVE, _NEGATIVE, _POSITIVE - 1, _NEGATIVE + 1, _POSITIVE // 2, _NEGATIVE // 2, 1 << 30),
        *(-(1 << 30), 1 << 23, -(1 << 23), 0, 1),
    )
    for kind in _WEIGHTED:
        for low, high in ((-128, 127), (127, -128), (-128, -128), (127, 127), (0, 0)):
            source, to = Quantization(1.0, low), Quantization(1.0, high)
            for activation in ("NONE", "RELU", "RELU6"):
                yield f"{kind} by 0.004", _weighted(random, kind, 0.004, 0, None, source, to, activation), None  # type: ignore[arg-type]
            yield f"{kind} shifting right", _weighted(random, kind, shifts, 0, None, source, to), None
            yield f"{kind} right, far", _weighted(random, kind, shifts, ends, None, source, to), None
            yield f"{kind} shifting left", _weighted(random, kind, lefts, 0, None, source, to), None
            yield f"{kind} left, small", _weighted(random, kind, lefts, [0] * 12, 1, source, to), None
            yield f"{kind} by 1, biases", _weighted(random, kind, 2.0**-24, ends, None, source, to), None
            yield f"{kind} by little, biases", _weighted(random, kind, 2.0**-31, ends, None, source, to), None
            yield f"{kind} without weights", _weighted(random, kind, 2.0**-20, 1 << 24, 0, source, to), None
            yield f"{kind} without biases", _weighted(random, kind, 0.003, None, None, source, to), None
    yield from _widest(random)
    for depth in (1, 2, 3, 5, 7, 511, 513, 1025, 2050, 4099):
        for weights in (None, 127, -128):
            for zero_point in (-128, 127):
                net = Net((1, depth), quantization=Quantization(0.1, zero_point))
                made = constants(random, (5, depth), [0.5 / depth * (i + 1) for i in range(5)], 0, 0, weights)
                net.add("FULLY_CONNECTED", 0, shape=(1, 5), to=Quantization(0.3, 3), constants=made)
                inputs = None if weights is None else _saturated(depth)
                yield f"FULLY_CONNECTED of {depth} times {weights}", net.model(), inputs


def _widest(random: np.random.Generator) -> Corners:
    """Convolutions whose sums are as large as they can be."""
    for kernel, depth, weights in (((3, 3), 64, 127), ((3, 3), 64, -128), ((1, 1), 700, -128), ((1, 1), 701, 127)):
        for zero_point in (-128, 127):
            shape = (1, 3, 3, depth)
            net = Net(shape, quantization=Quantization(float32(0.1), zero_point))
            made = constants(random, (5, *kernel, depth), [0.001 / depth * (i + 1) for i in range(5)], 0, 0, weights)
            net.slide("CONV_2D", 0, kernel, channels=5, to=Quantization(float32(0.3), 3), constants=made)
            yield f"CONV_2D of {depth} times {weights}", net.model(), _saturated(prod(shape))
    for kind in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
        net = Net((1, 64, 64, 2))
        net.slide(kind, 0, (64, 64), padding="VALID")
        yield f"{kind} of 4,096 pixels", net.model(), _saturated(8192)
    for units, shape in ((7, (3, 7)), (6, (1, 3, 6)), (1, (3, 1))):
        net = Net((1, 2, 6))
        net.add("FULLY_CONNECTED", 0, shape=shape, constants=constants(random, (units, 4)))
        net.add("RESHAPE", 1, shape=(1, prod(shape)))
        yield "FULLY_CONNECTED across rows", net.model(), None


def _saturated(count: int) -> np.ndarray:
    """Inputs of one value each: the least, the greatest, and two others."""
    return np.stack([np.full(count, value, np.uint8) for value in (0x80, 0x7F, 0x00, 0xFF)])


def pools(random: np.random.Generator) -> Corners:
    """Windows larger than maps, strides beyond windows, one pixel, whole maps, changed quantization."""
    shapes: tuple[tuple[tuple[int, int, int], tuple[int, int], tuple[int, int], str], ...] = (
        ((1, 1, 1), (1, 1), (1, 1), "VALID"),
        ((1, 1, 5), (3, 3), (2, 2), "SAME"),
        ((3, 2, 5), (7, 5), (2, 3), "SAME"),
        ((9, 8, 3), (2, 2), (5, 4), "SAME"),
        ((9, 8, 3), (2, 2), (5, 4), "VALID"),
        ((40, 25, 2), (40, 25), (1, 1), "VALID"),
        ((5, 5, 300), (3, 3), (2, 2), "SAME"),
        ((1, 31, 1), (1, 4), (1, 3), "SAME"),
    )
    for (height, width, depth), kernel, stride, padding in shapes:
        for kind in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
            for activation in ("NONE", "RELU", "RELU6"):
                net = Net((1, height, width, depth), quantization=Quantization(0.1, int(random.integers(-60, 60))))
                net.slide(kind, 0, kernel, stride, padding, activation=activation)
                yield f"{kind} of {height}x{width}x{depth}", net.model(), None
    for shape in ((1, 1, 1, 1), (1, 1, 1, 300), (1, 64, 64, 2), (1, 300, 3), (1, 1, 7), (1, 50, 41, 1)):
        for kind in ("MEAN", "REDUCE_MAX"):
            for kept in (True, False):
                net = Net(shape, quantization=Quantization(0.1, -128))
                made = (1,) * (len(shape) - 1) + shape[-1:] if kept else (1, shape[-1])
                net.add(kind, 0, shape=made, to=Quantization(0.05, 127) if kind == "MEAN" else None)
                yield f"{kind} of {shape}", net.model(), None


def softmaxes(random: np.random.Generator) -> Corners:
    """SOFTMAX of one class and of thousands, sharp and flat; all classes alike (of which tflite-micro takes 511)."""
    for depth in (1, 2, 3, 10, 300, 511, 2049):
        for scale, beta in ((0.05, 1.0), (1.0, 1.0), (2.0**-20, 1.0), (30.0, 1.0), (0.1, 0.01), (0.2, 3.0)):
            if depth == 2049 and scale * beta < 0.01:
                continue  # as good as all alike
            net = Net((1, depth), quantization=Quantization(float32(scale), 11))
            net.add("SOFTMAX", 0, to=_PROBABILITY, attributes=Attributes(beta=float32(beta)))
            inputs = random_inputs(net.model(), depth, SAMPLES)
            if depth < 512:
                inputs[1] = 0x85
                inputs[2] = inputs[2] % 3
            yield f"SOFTMAX of {depth}, scale {scale}, beta {beta}", net.model(), inputs
    net = Net((1, 3, 5, 7), quantization=Quantization(0.1, 11))
    net.add("SOFTMAX", 0, to=_PROBABILITY)
    yield "SOFTMAX of a map", net.model(), None
