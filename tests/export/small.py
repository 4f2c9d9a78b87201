"""A small network, and `small_int8.tflite`: what `Converter` made of it with random weights."""

from pathlib import Path

import numpy as np

from automcu.export.converter import Converter
from automcu.graph.network import Conv, Dense, DepthwiseConv, GlobalAveragePool, Network

SMALL = Network(
    (9, 8, 3),
    (
        Conv("stem", "input", 4, 3, 2, "relu"),
        DepthwiseConv("depthwise", "stem", 3, 1, "relu6"),
        Conv("pointwise", "depthwise", 6, 1, 1, "none"),
        GlobalAveragePool("mean", "pointwise"),
        Dense("logits", "mean", 5, "none"),
    ),
)
SMALL_TFLITE = Path(__file__).with_name("small_int8.tflite").read_bytes()


def random_weights(network: Network, seed: int) -> dict[str, np.ndarray]:
    """Weights that leave no parameter neutral, so that a mixed-up one shows."""
    random = np.random.default_rng(seed)

    def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
        match name.rsplit(".", 1)[1]:
            case "kernel":
                return random.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape)
            case "gamma" | "variance":
                return random.uniform(0.5, 1.5, shape)
            case _:
                return random.normal(0, 0.1, shape)

    return {name: draw(name, shape).astype(np.float32) for name, shape in network.parameter_shapes.items()}


def random_images(network: Network, seed: int, count: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *network.input_shape), dtype=np.uint8)


def convert_untrained(converter: Converter, network: Network, seed: int) -> bytes:
    """The int8 file of `network` with random weights."""
    images = random_images(network, seed, 4)
    return converter.convert(network, random_weights(network, seed), images, images[:1]).tflite
