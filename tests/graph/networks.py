"""Random networks of any wiring, for tests of lowering and planning."""

import random

from automcu.graph.network import (
    INPUT,
    Add,
    Concat,
    Conv,
    Dense,
    DepthwiseConv,
    GlobalAveragePool,
    Layer,
    Network,
    Pool,
)


def random_network(rng: random.Random, length: int = 10, largest: int = 12) -> Network:
    """A stem, `length` layers with branches, skips and dead ends, and a head, on an image of up to `largest` pixels a
    side. Some are refused by lowering."""
    shape = (rng.randint(1, largest), rng.randint(1, largest), rng.choice((1, 3)))
    layers: list[Layer] = [Conv("stem", INPUT, rng.choice((1, 4, 6)), 3, rng.choice((1, 1, 2)), "relu")]
    names = ["stem"]
    shapes = dict(Network(shape, tuple(layers)).shapes)
    for position in range(length):
        name = f"n{rng.randrange(1000)}_{position}"  # not in alphabetical order
        source = rng.choice(names[-4:])
        activation = rng.choice(("none", "relu", "relu6"))
        kernel, stride = rng.choice((1, 2, 3, 5)), rng.choice((1, 1, 1, 2, 3))
        same_shape = [other for other in names if shapes[other] == shapes[source]]
        same_size = [other for other in names if shapes[other][:2] == shapes[source][:2]]
        match rng.choice(("conv", "conv", "depthwise", "pool", "global", "add", "add", "concat")):
            case "conv":
                layer: Layer = Conv(name, source, rng.choice((1, 2, 4, 6, 17)), kernel, stride, activation)
            case "depthwise":
                layer = DepthwiseConv(name, source, kernel, stride, activation)
            case "pool":
                layer = Pool(name, source, rng.choice(("max", "average")), kernel, stride)
            case "global" if rng.random() < 0.3:
                layer = GlobalAveragePool(name, source)
            case "add":
                layer = Add(name, source, rng.choice(same_shape), activation)
            case _:
                layer = Concat(name, (source, *rng.choices(same_size, k=rng.randint(0, 3))))
        layers.append(layer)
        names.append(name)
        shapes = dict(Network(shape, tuple(layers)).shapes)
    last = names[-1]
    if rng.random() < 0.5:
        layers.append(GlobalAveragePool("head_pool", last))
        last = "head_pool"
    if rng.random() < 0.3:
        layers.append(Dense("hidden", last, 7, rng.choice(("relu", "relu6"))))
        last = "hidden"
    layers.append(Dense("logits", last, 5, "none"))
    return Network(shape, tuple(layers))


def chain_network(rng: random.Random, blocks: int, size: int = 32) -> Network:
    """Depthwise-separable blocks with skips, as a search proposes them: 2 or 3 operators a block."""
    channels = rng.choice((8, 16))
    layers: list[Layer] = [Conv("stem", INPUT, channels, 3, 1, "relu")]
    last = "stem"
    for block in range(blocks):
        stride = 2 if size > 4 and rng.random() < 0.2 else 1
        size = -(-size // stride)
        out = channels if stride == 1 and rng.random() < 0.6 else rng.choice((16, 24, 32))
        layers.append(DepthwiseConv(f"b{block}_dw", last, rng.choice((3, 5)), stride, "relu6"))
        layers.append(Conv(f"b{block}_pw", f"b{block}_dw", out, 1, 1, "none"))
        if stride == 1 and out == channels:
            layers.append(Add(f"b{block}_add", f"b{block}_pw", last, "relu"))
        last, channels = layers[-1].name, out
    layers += [GlobalAveragePool("head_pool", last), Dense("logits", "head_pool", 10, "none")]
    return Network((32, 32, 3), tuple(layers))
