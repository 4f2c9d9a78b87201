"""Lowering against what TensorFlow really writes, and the plan of the written file against tflite-micro."""

import random
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from automcu.errors import InvalidArchitecture
from automcu.export.converter import Converter
from automcu.graph.lowering import lower
from automcu.graph.network import INPUT, Add, Concat, Conv, Dense, DepthwiseConv, GlobalAveragePool, Network, Pool
from automcu.graph.planner import plan_memory
from automcu.graph.tflite.order import in_order
from automcu.graph.tflite.reader import read_tflite
from tests.graph.networks import random_network
from tests.graph.shared_models import tflm_heads

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def converter() -> Iterator[Converter]:
    with Converter() as converter:
        yield converter


def layer_rank(name: str) -> int:
    found = re.search(r"/l(\d{4})", name)
    assert found is not None, name
    return int(found[1])


BRANCHES = Network(
    (9, 7, 1),
    (
        DepthwiseConv("dw", INPUT, 5, 1, "relu6"),
        Conv("stem", "dw", 6, 2, 2, "relu"),
        Conv("z1", "stem", 6, 3, 1, "relu"),
        Pool("peak", "stem", "max", 3, 1),
        Conv("a1", "stem", 6, 1, 1, "none"),
        Conv("z2", "z1", 6, 3, 1, "none"),
        Pool("peak_again", "stem", "max", 3, 1),
        Add("sum", "z2", "a1", "relu"),
        Concat("join", ("sum", "peak", "peak_again", "stem")),
        Pool("smooth", "join", "average", 2, 1),
        Conv("far", "smooth", 5, 3, 7, "relu6"),
        Add("one_pixel", "far", "far", "none"),
        GlobalAveragePool("pool", "one_pixel"),
        Dense("hidden", "pool", 7, "relu"),
        Dense("logits", "hidden", 3, "none"),
    ),
)


def random_networks(count: int) -> Iterator[Network]:
    rng = random.Random(1)
    while count:
        network = random_network(rng, rng.randint(4, 14))
        try:
            lower(network)
        except InvalidArchitecture:
            continue
        yield network
        count -= 1


def random_weights(network: Network) -> dict[str, np.ndarray]:
    """No zeros: the converter drops biases that are all zero."""
    rng = np.random.default_rng(0)
    return {name: rng.uniform(0.1, 1.0, shape).astype(np.float32) for name, shape in network.parameter_shapes.items()}


@pytest.mark.parametrize("network", [BRANCHES, *random_networks(7)], ids=lambda network: f"{len(network.layers)}layers")
def test_lowering_is_what_the_converter_writes(network: Network, converter: Converter, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, *network.input_shape), np.uint8)
    data = in_order(converter.convert(network, random_weights(network), images, images[:1]).tflite, layer_rank)
    graph = read_tflite(data)
    assert graph.operators == lower(network).operators
    assert graph == lower(network)
    path = tmp_path / "model.tflite"
    path.write_bytes(data)
    assert tflm_heads([path]) == [plan_memory(graph).arena_bytes]
    assert in_order(data, layer_rank) == data
