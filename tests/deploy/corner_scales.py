"""Scales whose factors lie next to a tie, or far apart; types other than int8 at a network's ends."""

from dataclasses import replace

import numpy as np

from automcu.graph.int8_model import Attributes, Constants, Quantization
from tests.deploy.corner_net import Corners, Net, float32


def scales(random: np.random.Generator) -> Corners:
    """Single operators over all 256 values, with scales whose quotients depend on the precision they are taken in."""
    every = np.arange(256, dtype=np.uint8)
    rows = np.stack([every, np.roll(every, 77), every[::-1], np.full(256, 128, np.uint8)])
    both = np.concatenate([rows, rows[[1, 2, 3, 0]]], axis=1)
    for number, ratio in enumerate((1.5, 0.75, 0.375, 1.25, 2.5, 0.5, 1.0, 2.0, 4.5, 0.09375, 0.9375, 0.6875)):
        zero_point, made = ((0, 0), (-128, 127), (127, -128), (3, -7))[number % 4]
        first, second = (ratio, 1.0) if ratio in (0.5, 1.0, 2.0) else _near(ratio, random)
        source, to = Quantization(first, zero_point), Quantization(second, made)
        for kind in ("RELU", "QUANTIZE", "LEAKY_RELU", "HARD_SWISH"):
            net = Net((1, 256), quantization=source)
            net.add(kind, 0, to=to, attributes=Attributes(alpha=float32(0.1 * ratio)))
            yield f"{kind} by {ratio}", net.model(), rows
        for kind in ("ADD", "SUB"):
            for scales in ((first, second, 2 * max(first, second)), (first, first, second)):
                net = Net((1, 256), (1, 256), quantization=source)
                net.quantization[1] = Quantization(scales[1], made)
                net.add(kind, 0, 1, to=Quantization(scales[2], zero_point))
                yield f"{kind} by {ratio}", net.model(), both
        for axes in ((2, 2), (4, 16), (1, 3), (1, 1), (16, 1)):
            net = Net((1, *axes, 7), quantization=source)
            net.add("MEAN", 0, shape=(1, 7), to=to)
            yield f"MEAN of {axes} by {ratio}", net.model(), None
        third, fourth, product = _near_product(ratio, random)
        source, to = Quantization(third, zero_point), Quantization(product, made)
        weights = Constants(np.ones((4, 1), np.int8), np.array([fourth], np.float32), 0, np.zeros(4, np.int32))
        net = Net((1, 256, 1), quantization=source)
        net.add("FULLY_CONNECTED", 0, shape=(1, 256, 4), to=to, constants=weights)
        yield f"FULLY_CONNECTED by {ratio}", net.model(), rows
        for kind, axis in (("CONV_2D", 0), ("DEPTHWISE_CONV_2D", 3)):
            form = (4, 1, 1, 1) if axis == 0 else (1, 1, 1, 4)
            net = Net((1, 16, 16, 1), quantization=source)
            shaped = replace(weights, weights=weights.weights.reshape(form), scales=weights.scales.repeat(4))
            net.slide(kind, 0, (1, 1), channels=4, to=to, constants=shaped)
            yield f"{kind} by {ratio}", net.model(), rows
        net = Net((1, 256), (1, 1), quantization=source)
        net.quantization[1] = Quantization(fourth, -5)
        net.add("MUL", 0, 1, to=to)
        yield f"MUL by {ratio}", net.model(), np.concatenate([rows, np.full((4, 1), 0xFC, np.uint8)], axis=1)
        net = Net((1, 256, 1), quantization=source)
        net.add("PRELU", 0, to=to, constants=Constants(np.ones(1, np.int8), weights.scales, 0))
        yield f"PRELU by {ratio}", net.model(), rows
    for number in range(24):
        source, to = (Quantization(scale, 3 - number) for scale in _near_fixed_point(random))
        net = Net((1, 256), quantization=source)
        net.add("HARD_SWISH", 0, to=to)
        yield f"HARD_SWISH number {number}", net.model(), rows
    for six in (1, 2, 5, 17, 40, 99, 125):
        for scale in (np.float32(6 / (six + 0.5)), np.nextafter(np.float32(6 / (six + 0.5)), np.float32(9))):
            net = Net((1, 16, 16, 1), quantization=Quantization(float(scale), -128))
            net.slide("MAX_POOL_2D", net.add("RELU6", 0), (1, 1), activation="RELU6")
            yield f"RELU6 at {six} and a half", net.model(), rows
    for exponent in (-20, -10, 10, 25):
        for kind in ("RELU", "QUANTIZE", "MEAN", "MUL", "ADD", "SUB", "PRELU"):
            net = Net((1, 4, 8, 8), quantization=Quantization(2.0**exponent * 1.1, 5))
            to = Quantization(float32(1.3), -9)
            if kind in ("ADD", "SUB"):
                net.add("QUANTIZE", 0, to=to)
                net.add(kind, 0, 1, to=Quantization(float32(1.3 * max(1.0, 2.0**exponent)), -9))
            elif kind == "MUL":
                net.add(kind, 0, 0, to=Quantization(float32(max(1.3, 2.0 ** (2 * exponent - 8))), -9))
            elif kind == "PRELU":
                slopes = Constants(np.array([-128, 127, 0, 1, -1, 64, 3, 9], np.int8), np.array([0.5], np.float32), 0)
                net.add(kind, 0, to=to, constants=slopes)
            else:
                net.add(kind, 0, to=to, shape=(1, 1, 1, 8) if kind == "MEAN" else None)
            net.quantization[0] = Quantization(float32(2.0**exponent * 1.1), 5)
            yield f"{kind} of 2^{exponent}", net.model(), None


def _near(ratio: float, random: np.random.Generator) -> tuple[float, float]:
    """Two float32 whose quotient is `ratio` in single precision, but not in double."""
    while True:
        second = np.float32(random.uniform(1, 2))
        first = np.float32(ratio * float(second))
        if first / second == np.float32(ratio) and float(first) / float(second) != ratio:
            return float(first), float(second)


def _near_product(ratio: float, random: np.random.Generator) -> tuple[float, float, float]:
    """Three float32: first * second / third is on one side of `ratio` where the product is taken in single precision,
    and on the other, or at it, in double."""
    while True:
        first, second = (float32(value) for value in random.uniform(0.5, 2, 2))
        third = float32(first * second / ratio)
        single, double = float32(first * second) / third, first * second / third
        if (single >= ratio) != (double >= ratio) and max(abs(single / ratio - 1), abs(double / ratio - 1)) < 2**-24:
            return first, second, third


def _near_fixed_point(random: np.random.Generator) -> tuple[float, float]:
    """Scales of an input and an output of HARD_SWISH whose quotient is halfway between two multipliers of 16 bits, or
    next to that."""
    source = float32(random.uniform(0.01, 0.2))
    return source, float32(source / ((random.integers(1 << 14, 1 << 15) + 0.5) / 2**15))


def ends(random: np.random.Generator) -> Corners:
    """uint8 and float32 at the ends, values halfway between two integers among them."""
    shape = (1, 5, 51)
    for zero_point in (-128, 0, 127):
        quantization = Quantization(float32(0.37), zero_point)
        net = Net(shape, dtype="float32")
        net.add("QUANTIZE", 0, to=quantization)
        halves = np.linspace(-127.5, 127.5, 256, dtype=np.float32)[:255] * np.float32(0.37)
        far = np.geomspace(1e-30, 1e6, 255).astype(np.float32)
        rows = np.stack([halves, np.nextafter(halves, np.float32(9)), far, -far])
        yield "QUANTIZE of halves", net.model(), rows.view(np.uint8)
        net.add("DEQUANTIZE", 1, dtype="float32")
        yield "QUANTIZE and DEQUANTIZE", net.model(), rows.view(np.uint8)
        yield "QUANTIZE and DEQUANTIZE, both given out", net.model(2, 1), rows.view(np.uint8)
    for source, to in (("uint8", "int8"), ("int8", "uint8")):
        for scale, zero_point in ((0.37, 3), (0.37, 0), (0.5, -4), (0.1, 9)):
            zero_points = {"int8": zero_point, "uint8": 128}
            for same in (True, False):
                given = Quantization(float32(0.37), zero_points[source])
                if same:
                    zero_points[to] = zero_points[source] + (-128 if to == "int8" else 128)
                made = Quantization(float32(0.37) if same else float32(scale), zero_points[to])
                net = Net((1, 257), quantization=given, dtype=source)
                net.add("QUANTIZE", 0, to=made, dtype=to)
                yield f"QUANTIZE {source} to {to}", net.model(), None
    net = Net((1, 33), quantization=Quantization(0.25, 128), dtype="uint8")
    inside = net.add("QUANTIZE", 0, to=Quantization(0.25, 0))
    made = net.add("RELU", inside)
    out = net.add("QUANTIZE", made, to=Quantization(0.25, 128), dtype="uint8")
    net.add("DEQUANTIZE", out, dtype="float32")
    net.add("DEQUANTIZE", made, dtype="float32")
    yield "uint8 in, and all types out", net.model(4, 3, 2, 5), None
    net = Net((1, 3, 4, 5), quantization=Quantization(0.25, 100), dtype="uint8")
    moved = net.add("RESHAPE", 0, shape=(1, 60), dtype="uint8")
    moved = net.add("QUANTIZE", moved, to=Quantization(0.25, -20))
    moved = net.add("DEQUANTIZE", net.add("RELU", moved), dtype="float32")
    net.add("EXPAND_DIMS", moved, shape=(1, 1, 60), dtype="float32")
    yield "uint8 and float32 moved", net.model(), None
    net = Net((1, 6, 5), dtype="float32")
    moved = net.add("RESHAPE", 0, shape=(1, 30), dtype="float32")
    net.add("QUANTIZE", moved, to=Quantization(0.25, -20))
    values = random.uniform(-40, 40, (4, 30)).astype(np.float32)
    yield "float32 moved", net.model(), values.view(np.uint8)
