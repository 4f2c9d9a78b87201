"""Networks at the corners of what can be deployed: extreme scales, shapes and graphs, where random ones hardly come."""

from dataclasses import replace
from math import prod

import numpy as np

from automcu.graph.int8_model import Attributes, Constants, Int8Model, Quantization
from tests.deploy.corner_layers import SAMPLES, convolutions, dense_layers, pools, softmaxes
from tests.deploy.corner_net import Corners, Net, constants, float32
from tests.deploy.corner_scales import ends, scales
from tests.deploy.random_models import random_inputs

Corner = tuple[str, Int8Model, np.ndarray]
"""A label, a network, and inputs: rows of bytes."""


def corner_cases() -> list[Corner]:
    """All of them, with inputs: random ones, unless the case needs special ones."""
    groups = (convolutions, dense_layers, scales, pools, _sums, _slopes, _moves, _graphs, softmaxes, ends)
    found = [corner for group in groups for corner in group(np.random.default_rng(7))]
    return [
        (f"{label} ({number})", model, random_inputs(model, number, SAMPLES) if inputs is None else inputs)
        for number, (label, model, inputs) in enumerate(found)
    ]


def with_constant_channels(model: Int8Model, seed: int) -> Int8Model:
    """`model` with biases that leave a third of the channels of its convolutions and dense layers but one value."""
    random = np.random.default_rng(seed)
    made = list(model.constants)
    for position, constants_ in enumerate(made):
        if constants_ is not None and constants_.bias is not None:
            forced = random.choice([-(1 << 26), 1 << 26], len(constants_.bias))
            bias = np.where(random.random(len(constants_.bias)) < 0.35, forced, constants_.bias)
            made[position] = replace(constants_, bias=bias.astype(np.int32))
    return replace(model, constants=tuple(made))


def with_extreme_weights(model: Int8Model, seed: int) -> Int8Model:
    """`model` with other scales of weights, by up to 2^30 for each channel, weights at the ends of int8, and biases
    anywhere in int32."""
    random = np.random.default_rng(seed)
    made = list(model.constants)
    for position, operator in enumerate(model.graph.operators):
        found = made[position]
        if found is None or operator.kind not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            continue
        spread = 30 if random.random() < 0.3 else 10
        scales = found.scales * 2.0 ** random.uniform(-spread, min(spread, 16), len(found.scales))
        weights, bias = found.weights, found.bias
        if random.random() < 0.3:
            weights = np.where(random.random(weights.shape) < 0.9, random.choice([-128, 127]), weights)
        if bias is not None and random.random() < 0.5:
            bias = random.integers(-(1 << 31), 1 << 31, len(bias)) >> random.integers(0, 24, len(bias))
        made[position] = replace(
            found,
            weights=weights.astype(np.int8),
            scales=scales.astype(np.float32),
            bias=None if bias is None else bias.astype(np.int32),
        )
    return replace(model, constants=tuple(made))


def _sums(random: np.random.Generator) -> Corners:
    """ADD, SUB and others: of a tensor and itself, in place, of constants of every shape, of distant scales."""
    shape = (1, 5, 3, 7)
    for kind in ("ADD", "SUB", "MUL", "MINIMUM", "MAXIMUM"):
        exact = kind in ("MINIMUM", "MAXIMUM")
        to = None if exact else Quantization(4.0, -3)
        net = Net(shape, quantization=Quantization(2.0, 9))
        net.add(kind, 0, 0, to=to)
        yield f"{kind} of itself", net.model(), None
        for spread in ((1,), (7,), (1, 1, 1, 7), shape, (1, 1, 3, 7), (1, 3, 7), (3, 7), (1, 5, 1, 1), (5, 1, 1)):
            for first in (False, True):
                net = Net(shape, quantization=Quantization(2.0, 9))
                values = random.integers(-128, 128, spread).astype(np.int8)
                scale, zero_point = (2.0, 9) if exact else (float32(0.7), -20)
                constant = Constants(values, np.array([scale], np.float32), zero_point, first=first)
                net.add(kind, 0, to=to, constants=constant)
                yield f"{kind} of a constant {spread}", net.model(), None
        for spread in ((1, 1, 1, 7), (1, 1, 3, 7), (1, 5, 1, 1), (1, 1, 1, 1)):
            if kind in ("ADD", "SUB"):
                continue
            for order in ((0, 1), (1, 0)):
                net = Net(shape, spread, quantization=Quantization(2.0, 9))
                net.add(kind, *order, shape=shape, to=to)
                yield f"{kind} of {spread}", net.model(), None
        net = Net(shape, shape, quantization=Quantization(2.0, 9))
        for _ in range(4):  # in place, one after the other; the last one of a tensor that is needed again
            net.add(kind, len(net.tensors) - 1, 0, to=to)
        net.add(kind, len(net.tensors) - 1, len(net.tensors) - 1, to=to)
        yield f"{kind} many times", net.model(), None
        net = Net(shape, shape, quantization=Quantization(2.0, 9))
        first_sum = net.add(kind, 0, 1, to=to)
        second_sum = net.add(kind, first_sum, 0, to=to)
        net.add(kind, 1, second_sum, to=to)
        yield f"{kind} in the middle of the outputs", net.model(second_sum, first_sum), None
        if not exact:
            for activation in ("RELU", "RELU6"):
                for zero_point in (-128, 127, 0):
                    net = Net(shape, shape, quantization=Quantization(2.0, 9))
                    net.add(kind, 0, 1, to=Quantization(3.5, zero_point), activation=activation)
                    yield f"{kind} {activation} at {zero_point}", net.model(), None


def _slopes(random: np.random.Generator) -> Corners:
    """PRELU with slopes of every shape."""
    for spread in ((1,), (7,), (1, 1, 7), (5, 3, 7), (1, 3, 7), (5, 1, 1)):
        values = random.integers(-128, 128, spread).astype(np.int8)
        net = Net((1, 5, 3, 7), quantization=Quantization(2.0, 9))
        net.add("PRELU", 0, constants=Constants(values, np.array([0.01], np.float32), -3))
        yield f"PRELU with {spread}", net.model(), None


def _moves(random: np.random.Generator) -> Corners:
    """PAD in each dimension, CONCATENATION of many, every order of TRANSPOSE, chains of RESHAPE."""
    for shape in ((1, 7), (1, 4, 3), (1, 3, 4, 5)):
        for axis in range(1, len(shape)):
            for before, after in ((1, 0), (0, 2), (3, 1)):
                pads = [0] * (2 * len(shape))
                pads[2 * axis : 2 * axis + 2] = before, after
                made = [*shape]
                made[axis] += before + after
                net = Net(shape, quantization=Quantization(0.1, -77))
                net.add("PAD", 0, shape=tuple(made), pads=tuple(pads))
                yield f"PAD axis {axis} of {shape}", net.model(), None
        net = Net(shape, quantization=Quantization(0.1, 127))
        net.add("PAD", 0, pads=(0,) * (2 * len(shape)))
        yield f"PAD of {shape} by nothing", net.model(), None
    for shape in ((1, 3, 4, 5), (1, 5, 1, 2), (1, 6, 4)):
        for axis in range(1, len(shape)):
            for count in (1, 2, 10):
                net = Net(shape, shape, quantization=Quantization(0.1, 5))
                made = [*shape]
                made[axis] *= count
                reads = [i % 2 for i in range(count)]
                net.add("CONCATENATION", *reads, shape=tuple(made), attributes=Attributes(axis=axis))
                yield f"CONCATENATION of {count} along {axis}", net.model(), None
    net = Net((1, 2, 3, 4), (1, 2, 3, 1), (1, 2, 3, 9), quantization=Quantization(0.1, 5))
    joined = net.add("CONCATENATION", 2, 0, 1, shape=(1, 2, 3, 14), attributes=Attributes(axis=3))
    net.add("CONCATENATION", joined, 0, joined, shape=(1, 2, 3, 32), attributes=Attributes(axis=3))
    yield "CONCATENATION of what was joined", net.model(len(net.tensors) - 1, joined), None
    for order in ((0, 2, 1, 3), (0, 3, 2, 1), (0, 1, 3, 2), (0, 2, 3, 1), (0, 3, 1, 2), (0, 1, 2, 3)):
        net = Net((1, 3, 4, 5), quantization=Quantization(0.1, 5))
        net.add("TRANSPOSE", 0, shape=tuple((1, 3, 4, 5)[axis] for axis in order), attributes=Attributes(order=order))
        yield f"TRANSPOSE {order}", net.model(), None
    net = Net((1, 60), quantization=Quantization(0.1, 5))
    for shape in ((1, 3, 20), (1, 60), (1, 3, 4, 5), (1, 1, 60), (1, 60)):
        net.add("RESHAPE", len(net.tensors) - 1, shape=shape)
    yield "RESHAPE many times", net.model(), None
    yield "RESHAPE many times, all given out", net.model(5, 3, 1), None
    for chain in (((1, 5), (1, 1, 5), (1, 1, 1, 5)), ((1, 1, 5), (1, 5)), ((1, 5, 1), (1, 5))):
        net = Net((1, 1, 5, 1), quantization=Quantization(0.1, 5))
        for shape in chain:
            last = len(net.tensors) - 1
            net.add("SQUEEZE" if len(shape) < len(net.shape(last)) else "EXPAND_DIMS", last, shape=shape)
        yield f"axes of extent 1: {chain}", net.model(1, len(chain)), None
    for made in ((5, 12), (4, 1, 3, 5), (2, 5, 3, 2)):  # a batch that is none
        net = Net((1, 60), quantization=Quantization(0.1, 5))
        source = net.add("RESHAPE", 0, shape=made)
        if len(made) == 2:
            net.add("FULLY_CONNECTED", source, shape=(5, 7), constants=constants(random, (7, 12)))
        else:
            net.add("TANH", source, to=Quantization(1 / 128, 0))
        net.add("RESHAPE", len(net.tensors) - 1, shape=(1, prod(net.shape(len(net.tensors) - 1))))
        yield f"RESHAPE to {made}", net.model(), None


def _graphs(random: np.random.Generator) -> Corners:
    """Inputs and outputs in unusual places."""
    shape = (1, 4, 4, 3)

    def conv(net: Net, source: int) -> int:
        return net.slide("CONV_2D", source, (3, 3), channels=3, constants=constants(random, (3, 3, 3, 3), 0.02))

    net = Net(shape)
    first = conv(net, 0)
    second = conv(net, first)
    yield "outputs in the middle", net.model(first, second), None
    yield "outputs backwards", net.model(second, first), None
    third = net.add("ADD", first, second, to=Quantization(2.0, 0))
    fourth = conv(net, third)
    yield "an output that is read later", net.model(first, fourth), None
    yield "an output that is added in place", net.model(third, fourth), None
    yield "a result that nobody reads", net.model(third), None
    net = Net(shape, shape, (1, 3))
    conv(net, 1)
    yield "inputs that nobody reads", net.model(), None
    net = Net(shape, shape)
    net.add("ADD", 1, 0, to=Quantization(2.0, 0))
    yield "inputs added", net.model(), None
    net = Net(shape)
    net.add("RELU", 0)
    yield "an input that is an output", net.model(1, 0), None
    yield "an output that is given out twice", net.model(1, 1), None
    net = Net(shape, *[(1, 1, 1, 3)] * 9)
    source = 0
    for gate in range(1, 10):
        source = net.add("MUL", source, gate, to=Quantization(64.0, 0))
    yield "ten inputs", net.model(), None
    net = Net(shape)
    made = [net.add("LEAKY_RELU", 0, attributes=Attributes(alpha=float32(0.1 * i))) for i in range(10)]
    yield "ten outputs", net.model(*reversed(made)), None
    net = Net(shape)
    made = [net.add("LEAKY_RELU", 0, attributes=Attributes(alpha=float32(0.1 * i))) for i in range(6)]
    while len(made) > 1:  # sums of sums, each in the place of an operand
        made = [*made[2:], net.add("ADD", made[0], made[1], to=Quantization(2.0, 1))]
    yield "a tree of sums", net.model(), None
    net = Net(shape)
    source = conv(net, 0)
    for _ in range(6):
        source = net.add("ADD", conv(net, source), source, to=Quantization(2.0, 1))
    yield "skips", net.model(), None
    for kinds in (("CONV_2D",) * 3, ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")):
        net = Net((1, 6, 5, 3), quantization=Quantization(0.05, -128))
        source = 0
        for kind in kinds:  # channels that can hold but one value, some at the border of a map
            channels = 9 if kind != "DEPTHWISE_CONV_2D" else net.shape(source)[3]
            bias = [(0, 1 << 20, -(1 << 20))[i % 3] for i in range(channels)]
            to = Quantization(0.1, (-128, 3, 127)[len(net.tensors) % 3])
            if kind == "FULLY_CONNECTED":
                made_ = constants(random, (channels, prod(net.shape(source))), 0.002, bias)
                source = net.add(kind, source, shape=(1, channels), to=to, constants=made_, activation="RELU")
                continue
            depth = net.shape(source)[3]
            form = (channels, 3, 3, depth) if kind == "CONV_2D" else (1, 3, 3, depth)
            made_ = constants(random, form, 0.01, bias, axis=0 if kind == "CONV_2D" else 3)
            source = net.slide(kind, source, (3, 3), channels=channels, to=to, constants=made_)
        net.add("TANH", source, to=Quantization(1 / 128, 0))
        yield "constant channels", net.model(), None
