"""Edits of the int8 graph against the same edits of the float network, lowered from scratch."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automcu.errors import InvalidArchitecture
from automcu.graph.channels import channel_groups, cheaper, with_channels
from automcu.graph.costs import costs
from automcu.graph.int8 import Int8Graph, Operator, Tensor, Window
from automcu.graph.lowering import lower
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
    sources,
)
from automcu.graph.planner import plan_memory
from automcu.graph.tflite.reader import UnsupportedModel, read_tflite
from automcu.spaces.mcu_cnn import McuCnnSpace
from tests.graph.networks import random_network
from tests.graph.shared_models import DATA

STEM = Conv("stem", INPUT, 8, 3, 1, "relu")
HEAD = (GlobalAveragePool("pool", "last"), Dense("logits", "pool", 5, "none"))


def lowered(*layers: Layer) -> Int8Graph:
    return lower(Network((8, 8, 3), (STEM, *layers)))


def owners(graph: Int8Graph) -> list[tuple[str, ...]]:
    return [tuple(graph.operators[index].name for index in group.owners) for group in channel_groups(graph)]


def test_layers_choose_channels_apart_from_the_last() -> None:
    graph = lowered(DepthwiseConv("dw", "stem", 3, 1, "relu"), Conv("last", "dw", 6, 1, 1, "none"), *HEAD)
    assert owners(graph) == [("stem",), ("last",)]
    assert channel_groups(graph)[0].channels == 8
    assert channel_groups(graph)[0].shares == ((1, 1), (2, 1))


def test_skips_tie_channels() -> None:
    graph = lowered(Conv("inner", "stem", 8, 3, 1, "none"), Add("last", "inner", "stem", "relu"), *HEAD)
    assert owners(graph) == [("stem", "inner")]


def test_a_skip_over_a_concatenation_ties_twice_the_channels() -> None:
    layers = (
        DepthwiseConv("cheap", "stem", 3, 1, "relu"),
        Concat("ghost", ("stem", "cheap")),
        Conv("inner", "ghost", 16, 1, 1, "none"),
        Add("last", "ghost", "inner", "none"),
    )
    graph = lowered(*layers, *HEAD)
    (group,) = channel_groups(graph)
    assert [graph.operators[index].name for index in group.owners] == ["stem", "inner"]
    assert group.channels == 8 and dict(group.shares)[4] == 2
    assert [text for text, _ in cheaper(graph, [0])] == ["halve the channels of stem (8 -> 4) and inner (16 -> 8)"]


def test_a_skip_over_unlike_parts_is_left_alone() -> None:
    layers = (
        Conv("a", "stem", 4, 1, 1, "none"),
        Concat("both", ("stem", "a")),
        Conv("inner", "both", 12, 1, 1, "none"),
        Add("sum", "both", "inner", "none"),
        Conv("last", "sum", 8, 1, 1, "none"),
    )
    assert owners(lowered(*layers, *HEAD)) == [("last",)]


def test_flattening_multiplies() -> None:
    graph = lowered(Dense("hidden", "stem", 32, "relu"), Dense("logits", "hidden", 5, "none"))
    assert owners(graph) == [("stem",), ("hidden",)]
    edited = with_channels(graph, channel_groups(graph)[0], 4)
    assert edited.operators[2].weights == (32, 8 * 8 * 4)
    assert edited.tensors[2].shape == (1, 8 * 8 * 4)


def one_branch(kind: str, shape: tuple[int, ...], **attributes: object) -> Int8Graph:
    """A convolution, one other operator on it, and a convolution."""
    window = Window((1, 1), (1, 1), "SAME")
    tensors = tuple(
        Tensor(name, of, "int8")
        for name, of in (("image", (1, 8, 8, 3)), ("a", (1, 8, 8, 8)), ("b", shape), ("c", (*shape[:-1], 4)))
    )
    operators = (
        Operator("first", "CONV_2D", (0,), 1, (8, 1, 1, 3), 8, window),
        Operator("other", kind, (1,), 2, **attributes),  # type: ignore[arg-type]
        Operator("end", "CONV_2D", (2,), 3, (4, 1, 1, shape[-1]), 0, window),
    )
    return Int8Graph(tensors, operators, (0,), (3,))


@pytest.mark.parametrize(
    "graph, weights",
    [
        (one_branch("PAD", (1, 10, 10, 8), pads=(0, 0, 1, 1, 1, 1, 0, 0)), ()),
        (one_branch("PAD", (1, 8, 8, 12), pads=(0, 0, 0, 0, 0, 0, 2, 2)), ()),
        (one_branch("MUL", (1, 8, 8, 8), weights=(8,)), (4,)),
        (one_branch("MUL", (1, 8, 8, 8), weights=(1,)), (1,)),
        (one_branch("DEPTHWISE_CONV_2D", (1, 8, 8, 16), weights=(1, 1, 1, 16), bias=16), (1, 1, 1, 8)),
    ],
)
def test_operators_of_files_are_followed(graph: Int8Graph, weights: tuple[int, ...]) -> None:
    (group,) = channel_groups(graph)
    edited = with_channels(graph, group, 4)
    other, end = edited.operators[1:]
    assert other.weights == weights
    assert other.bias == (graph.operators[1].bias and edited.tensors[2].shape[-1])
    assert end.weights == (4, 1, 1, edited.tensors[2].shape[-1]) and end.bias == 0
    kept = 4 * (graph.operators[1].kind == "PAD" and graph.tensors[2].shape[-1] == 12)
    assert edited.tensors[2].shape[-1] - kept == (graph.tensors[2].shape[-1] - kept) // 2


def test_rearranged_channels_are_left_alone() -> None:
    assert channel_groups(one_branch("TRANSPOSE", (1, 8, 8, 8))) == ()


def test_a_group_keeps_at_least_one_channel() -> None:
    graph = lowered(Conv("last", "stem", 6, 1, 1, "none"), *HEAD)
    with pytest.raises(ValueError, match="at least 1"):
        with_channels(graph, channel_groups(graph)[0], 0)


def test_edits_are_told_in_the_order_asked_for() -> None:
    layers = [Conv("wide", "stem", 64, 3, 1, "relu"), Conv("last", "wide", 20, 1, 1, "none")]
    graph = lowered(*layers, *HEAD)
    assert [text for text, _ in cheaper(graph, [2, 0])] == [
        "halve the channels of last (20 -> 12)",
        "cut a quarter of the channels of last (20 -> 16)",
        "halve the channels of wide (64 -> 32)",
        "cut a quarter of the channels of wide (64 -> 48)",
        "halve the channels of stem (8 -> 4)",
    ]
    assert list(cheaper(graph, [])) == []


def test_many_owners_are_summed_up() -> None:
    layers: list[Layer] = []
    last = "stem"
    for i in range(5):
        layers += [Conv(f"c{i}", last, 8, 3, 1, "none"), Add(f"s{i}", f"c{i}", last, "none")]
        last = f"s{i}"
    graph = lowered(*layers, GlobalAveragePool("pool", last), Dense("logits", "pool", 5, "none"))
    assert next(cheaper(graph, [0]))[0] == "halve the channels of stem, c0, c1 and 3 more (8 -> 4)"


def some_graph(rng: random.Random, kind: str) -> Network:
    """A network without dead ends, as these need not fit the others after an edit."""
    while True:
        if kind == "any wiring":
            network = random_network(rng, rng.randint(1, 12))
        else:
            network = SPACES[kind].build(SPACES[kind].random(rng))
        live = {network.output}
        for layer in reversed(network.layers):
            if layer.name in live:
                live.update(sources(layer))
        network = Network(network.input_shape, tuple(layer for layer in network.layers if layer.name in live))
        try:
            lower(network)
        except InvalidArchitecture:
            continue
        return network


SPACES = {"mcu_cnn": McuCnnSpace((32, 32, 3), 10), "mcu_cnn, small image": McuCnnSpace((12, 9, 1), 3)}
KINDS = ("any wiring", *SPACES)
RANDOM = st.integers(0, 2**32).map(random.Random)


@given(RANDOM, st.sampled_from(KINDS), st.integers(1, 40))
@settings(max_examples=40)
def test_an_edited_graph_is_the_edited_network_lowered(rng: random.Random, kind: str, channels: int) -> None:
    network = some_graph(rng, kind)
    graph = lower(network)
    for group in channel_groups(graph):
        edited = with_channels(graph, group, channels)
        widths = {graph.operators[i].name: edited.tensors[graph.operators[i].output].shape[-1] for i in group.owners}
        layers = []
        for layer in network.layers:
            if isinstance(layer, Conv) and layer.name in widths:
                layer = replace(layer, channels=widths[layer.name])
            elif isinstance(layer, Dense) and layer.name in widths:
                layer = replace(layer, units=widths[layer.name])
            layers.append(layer)
        assert edited == lower(Network(network.input_shape, tuple(layers)))
        assert with_channels(edited, replace(group, channels=channels), group.channels) == graph


@given(RANDOM, st.sampled_from(KINDS))
@settings(max_examples=40)
def test_cheaper_graphs_cost_less(rng: random.Random, kind: str) -> None:
    graph = lower(some_graph(rng, kind))
    plan, cost = plan_memory(graph), costs(graph)
    for text, edited in cheaper(graph, range(len(graph.operators))):
        changed, found = plan_memory(edited), costs(edited)
        assert "->" in text
        assert found.total_weights_bytes < cost.total_weights_bytes
        assert found.total_macs < cost.total_macs
        assert changed.lower_bound_bytes <= plan.lower_bound_bytes


@given(RANDOM)
def test_most_layers_of_the_space_are_free(rng: random.Random) -> None:
    """All but the logits, and what is added to the image itself."""
    graph = lower(some_graph(rng, "mcu_cnn"))
    makers = {i for i, operator in enumerate(graph.operators) if operator.kind in ("CONV_2D", "FULLY_CONNECTED")}
    assert makers - {index for group in channel_groups(graph) for index in group.owners} == {len(graph.operators) - 1}


@pytest.mark.parametrize("path", sorted(DATA.rglob("*.tflite")), ids=lambda path: path.stem[:30])
def test_real_models_can_be_edited(path: Path) -> None:
    try:
        graph = read_tflite(path.read_bytes())
    except UnsupportedModel as error:
        pytest.skip(str(error))
    plan, cost = plan_memory(graph), costs(graph)
    found = list(cheaper(graph, range(len(graph.operators))))
    assert found or path.stem.startswith("blazeface")  # all skips pad the channels
    for _, edited in found:
        assert plan_memory(edited).lower_bound_bytes <= plan.lower_bound_bytes
        assert costs(edited).total_macs < cost.total_macs
