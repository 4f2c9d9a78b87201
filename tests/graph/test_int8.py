from dataclasses import replace

import pytest

from automcu.graph.int8 import Int8Graph, Tensor
from automcu.graph.lowering import lower
from automcu.graph.network import INPUT, Conv, Dense, Network


def small(stride: int = 1, channels: int = 4, activation: str = "relu") -> Int8Graph:
    conv = Conv("conv", INPUT, channels, 3, stride, activation)  # type: ignore[arg-type]
    return lower(Network((4, 4, 3), (conv, Dense("logits", "conv", 2, "none"))))


def test_names_are_labels() -> None:
    graph = small()
    renamed = Int8Graph(
        tuple(replace(tensor, name="t") for tensor in graph.tensors),
        tuple(replace(operator, name="o") for operator in graph.operators),
        graph.inputs,
        graph.outputs,
    )
    assert renamed == graph
    assert renamed.fingerprint == graph.fingerprint


@pytest.mark.parametrize("other", [small(stride=2), small(channels=5), small(activation="relu6")])
def test_fingerprint_follows_structure(other: Int8Graph) -> None:
    assert other != small()
    assert other.fingerprint != small().fingerprint


def test_bytes_follow_the_data_type() -> None:
    assert Tensor("t", (1, 3, 5), "int8").bytes == 15
    assert Tensor("t", (1, 3, 5), "float32").bytes == 60
