import os
import pickle
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from automcu.graph.int8 import Int8Graph, Tensor, Window
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


@pytest.mark.parametrize(
    "changes",
    [
        {"bias": 0},
        {"pads": (1, 1)},
        {"window": None},
        {"window": Window((3, 3), (1, 1), "VALID")},
        {"weights": (4, 3, 3, 4)},
        {"inputs": (0, 0)},
        {"kind": "DEPTHWISE_CONV_2D"},
    ],
)
def test_fingerprint_covers_every_attribute(changes: dict[str, Any]) -> None:
    graph = small()
    first, *others = graph.operators
    changed = replace(graph, operators=(replace(first, **changes), *others))
    assert changed != graph and changed.fingerprint != graph.fingerprint


def test_bytes_follow_the_data_type() -> None:
    assert Tensor("t", (1, 3, 5), "int8").bytes == 15
    assert Tensor("t", (1, 3, 5), "float32").bytes == 60


def test_fingerprint_is_the_same_for_equal_graphs_in_every_process() -> None:
    graph = small()
    copies = [pickle.loads(pickle.dumps(graph)), small()]  # equal, with other objects inside
    assert {copy.fingerprint for copy in copies} == {"ce002ba76222b10b"}  # on every machine
    program = "import pickle, sys; print(pickle.load(sys.stdin.buffer).fingerprint)"
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            input=pickle.dumps(replace(graph)),
            capture_output=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        assert done.stdout.decode().strip() == graph.fingerprint
