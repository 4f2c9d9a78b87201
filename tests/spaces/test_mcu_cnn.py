"""The space `mcu_cnn`: the contract of spaces, its blocks against their papers, its canonical form and its limits."""

import json
import random
from collections import Counter
from dataclasses import replace
from itertools import islice

import pytest

from automcu.architecture import Architecture
from automcu.errors import InvalidArchitecture
from automcu.graph.network import INPUT, Add, Concat, Conv, Dense, DepthwiseConv, Network, sources
from automcu.spaces.mcu_cnn import McuCnn, McuCnnSpace, decode
from automcu.spaces.mcu_cnn.description import (
    CHOICES,
    BottleneckStage,
    ConvStage,
    GhostStage,
    InvertedStage,
    PoolStage,
    ResidualStage,
    SeparableStage,
    Stage,
)
from automcu.spaces.mcu_cnn.space import MAX_MACS, MAX_PARAMETERS
from tests.contracts.space import SpaceContract

SPACE = McuCnnSpace((32, 32, 16), 10)
CONV = ConvStage(channels=16, kernel=3, stride=1, repeats=1, activation="relu")


class TestMcuCnnSpace(SpaceContract):
    def make(self, input_shape, class_count):
        return McuCnnSpace(input_shape, class_count)


def network(*stages: Stage, hidden_units: int = 0) -> Network:
    return SPACE.build(McuCnn(stages, hidden_units).architecture)


def body(*stages: Stage) -> list[object]:
    """The layers before the head."""
    return list(network(*stages).layers[:-2])


def test_separable_is_depthwise_then_pointwise():
    stage = SeparableStage(channels=24, kernel=5, stride=2, repeats=1, activation="relu6")
    assert body(stage) == [
        DepthwiseConv("stage0_block0_depthwise", INPUT, 5, 2, "relu6"),
        Conv("stage0_block0_pointwise", "stage0_block0_depthwise", 24, 1, 1, "relu6"),
    ]


def test_inverted_bottleneck_has_linear_projection_and_residual_where_shapes_allow():
    stage = InvertedStage(channels=16, kernel=3, stride=1, expansion=6, repeats=1, activation="relu6")
    assert body(stage) == [
        Conv("stage0_block0_expand", INPUT, 96, 1, 1, "relu6"),
        DepthwiseConv("stage0_block0_depthwise", "stage0_block0_expand", 3, 1, "relu6"),
        Conv("stage0_block0_project", "stage0_block0_depthwise", 16, 1, 1, "none"),
        Add("stage0_block0_add", INPUT, "stage0_block0_project", "none"),
    ]
    for other in (replace(stage, stride=2), replace(stage, channels=24)):
        assert not any(isinstance(layer, Add) for layer in body(other))
    assert len(body(replace(stage, expansion=1))) == 3


def test_inverted_bottleneck_expands_its_own_input_in_every_repeat():
    stage = InvertedStage(channels=24, kernel=3, stride=2, expansion=4, repeats=3, activation="relu")
    layers = {layer.name: layer for layer in body(stage)}
    assert [layers[f"stage0_block{j}_expand"].channels for j in range(3)] == [64, 96, 96]
    assert [layers[f"stage0_block{j}_depthwise"].stride for j in range(3)] == [2, 1, 1]
    assert [f"stage0_block{j}_add" in layers for j in range(3)] == [False, True, True]


def test_residual_is_two_convolutions_and_a_shortcut():
    stage = ResidualStage(channels=32, kernel=3, stride=2, repeats=2, activation="relu")
    assert body(stage) == [
        Conv("stage0_block0_conv", INPUT, 32, 3, 2, "relu"),
        Conv("stage0_block0_second", "stage0_block0_conv", 32, 3, 1, "none"),
        Conv("stage0_block0_shortcut", INPUT, 32, 1, 2, "none"),
        Add("stage0_block0_add", "stage0_block0_shortcut", "stage0_block0_second", "relu"),
        Conv("stage0_block1_conv", "stage0_block0_add", 32, 3, 1, "relu"),
        Conv("stage0_block1_second", "stage0_block1_conv", 32, 3, 1, "none"),
        Add("stage0_block1_add", "stage0_block0_add", "stage0_block1_second", "relu"),
    ]


def test_bottleneck_projects_its_shortcut_only_where_the_shape_changes():
    stage = BottleneckStage(channels=32, kernel=3, stride=2, expansion=4, repeats=2, activation="relu")
    assert body(stage) == [
        Conv("stage0_block0_reduce", INPUT, 8, 1, 1, "relu"),
        Conv("stage0_block0_conv", "stage0_block0_reduce", 8, 3, 2, "relu"),
        Conv("stage0_block0_expand", "stage0_block0_conv", 32, 1, 1, "none"),
        Conv("stage0_block0_shortcut", INPUT, 32, 1, 2, "none"),
        Add("stage0_block0_add", "stage0_block0_shortcut", "stage0_block0_expand", "relu"),
        Conv("stage0_block1_reduce", "stage0_block0_add", 8, 1, 1, "relu"),
        Conv("stage0_block1_conv", "stage0_block1_reduce", 8, 3, 1, "relu"),
        Conv("stage0_block1_expand", "stage0_block1_conv", 32, 1, 1, "none"),
        Add("stage0_block1_add", "stage0_block0_add", "stage0_block1_expand", "relu"),
    ]


def test_ghost_makes_half_its_channels_cheaply():
    stage = GhostStage(channels=24, kernel=5, stride=2, repeats=2, activation="relu")
    layers = body(stage)
    assert layers[:3] == [
        Conv("stage0_block0_primary", INPUT, 12, 5, 2, "relu"),
        DepthwiseConv("stage0_block0_cheap", "stage0_block0_primary", 5, 1, "relu"),
        Concat("stage0_block0_concat", ("stage0_block0_primary", "stage0_block0_cheap")),
    ]
    assert layers[3] == Conv("stage0_block1_primary", "stage0_block0_concat", 12, 1, 1, "relu")
    assert network(stage).shapes["stage0_block1_concat"] == (16, 16, 24)


def test_head_has_a_hidden_layer_only_when_asked():
    assert network(CONV).layers[-1] == Dense("head_logits", "head_pool", 10, "none")
    hidden, logits = network(CONV, hidden_units=64).layers[-2:]
    assert hidden == Dense("head_hidden", "head_pool", 64, "relu")
    assert logits == Dense("head_logits", "head_hidden", 10, "none")


def test_stages_that_go_on_with_the_one_before_become_its_repeats():
    strided = replace(CONV, stride=2, repeats=2)
    assert McuCnn((strided, replace(CONV, repeats=2)), 0).stages == (replace(strided, repeats=4),)
    assert McuCnn((strided, replace(CONV, repeats=3)), 0).stages == (replace(strided, repeats=4), CONV)
    assert McuCnn((CONV, strided), 0).stages == (CONV, strided)
    pool = PoolStage(block="max_pool", kernel=2)
    assert McuCnn((CONV, pool, pool, CONV), 0).stages == (CONV, pool, pool, CONV)


def test_networks_are_equal_exactly_when_texts_are():
    space, rng = McuCnnSpace((16, 16, 3), 10), random.Random(0)
    architectures = {space.random(rng) for _ in range(100)}
    for architecture in sorted(architectures, key=lambda a: a.text)[:10]:
        architectures |= set(space.neighbours(architecture, rng))
    assert len({_anonymous(space.build(architecture)) for architecture in architectures}) == len(architectures)


def _anonymous(network: Network) -> tuple[object, ...]:
    """The network with its layer names left out."""
    numbers = {INPUT: 0} | {layer.name: i for i, layer in enumerate(network.layers, 1)}
    return tuple(
        (
            type(layer),
            tuple(numbers[source] for source in sources(layer)),
            tuple(
                getattr(layer, name, None) for name in ("channels", "kernel", "stride", "activation", "kind", "units")
            ),
        )
        for layer in network.layers
    )


def test_decode_is_the_inverse_of_architecture_and_needs_canonical_text():
    cnn = McuCnn((CONV, PoolStage(block="avg_pool", kernel=3)), 32)
    assert decode(cnn.architecture) == cnn
    split = {"stages": 2 * json.loads(McuCnn((CONV,), 0).architecture.text)["stages"], "hidden_units": 0}
    with pytest.raises(InvalidArchitecture, match="canonical"):
        decode(Architecture.of("mcu_cnn", split))
    assert decode(SPACE.parse(split)).stages == (replace(CONV, repeats=2),)


@pytest.mark.parametrize(
    ("stages", "reason"),
    [
        ([], "at least 1"),
        ([{"block": "max_pool", "kernel": 2}], "only pool"),
        ([{"block": "conv"}], r"stages\[0\]\.channels is missing"),
        ([{"block": "max_pool", "kernel": 2, "channels": 8}], r"stages\[0\]\.channels is no field"),
        ([{"block": "transformer"}], r"stages\[0\] should have as block one of conv,"),
        (["conv"], r"stages\[0\] should be an object"),
        ("conv", "stages should be a list"),
        ([{"block": "max_pool", "kernel": 2}] * 11, "at most 10"),
        ([{"block": "max_pool", "kernel": 7}], r"stages\[0\]\.kernel should be 2 or 3, not 7"),
        ([{"block": "max_pool", "kernel": "\ud800"}], r"stages\[0\]\.kernel should be 2 or 3"),
    ],
)
def test_refusals_name_the_path_and_the_remedy(stages, reason):
    with pytest.raises(InvalidArchitecture, match=reason):
        SPACE.parse({"stages": stages, "hidden_units": 0})


def test_a_map_of_one_pixel_cannot_be_halved():
    halving = replace(CONV, stride=2)
    space = McuCnnSpace((8, 5, 1), 10)
    space.build(McuCnn((halving, halving, halving), 0).architecture)  # 5 -> 3 -> 2 -> 1
    for last in (halving, PoolStage(block="max_pool", kernel=2)):
        with pytest.raises(InvalidArchitecture, match=r"stages\[3\] halves a map of 1 x 1"):
            space.build(McuCnn((halving, halving, halving, last), 0).architecture)


def test_size_is_limited():
    with pytest.raises(InvalidArchitecture, match=f"parameters, over {MAX_PARAMETERS:,}"):
        network(ConvStage(channels=256, kernel=7, stride=2, repeats=4, activation="relu"))
    wide = ConvStage(channels=256, kernel=5, stride=1, repeats=1, activation="relu")
    with pytest.raises(InvalidArchitecture, match=f"multiply-accumulates, over {MAX_MACS:,}"):
        McuCnnSpace((96, 96, 16), 10).build(McuCnn((wide,), 0).architecture)


def test_macs_are_counted_as_by_hand():
    """16 x 16 positions x 3 x 3 x 16 x 256, just below and above a limit set by the map's side."""
    stage = ConvStage(channels=256, kernel=3, stride=1, repeats=1, activation="relu")
    side = int((MAX_MACS / (9 * 16 * 256)) ** 0.5)
    McuCnnSpace((side, side, 16), 2).build(McuCnn((stage,), 0).architecture)
    with pytest.raises(InvalidArchitecture):
        McuCnnSpace((side + 1, side + 1, 16), 2).build(McuCnn((stage,), 0).architecture)


def test_neighbours_of_a_small_network_are_the_expected_ones():
    space = McuCnnSpace((8, 8, 1), 10)
    cnn = McuCnn((CONV, replace(CONV, stride=2, channels=24)), 0)
    found = {decode(architecture) for architecture in space.neighbours(cnn.architecture, random.Random(0))}
    first, second = cnn.stages
    for expected in [
        (replace(first, channels=12), second),
        (first, replace(second, channels=32)),
        (replace(first, kernel=5), second),
        (replace(first, repeats=2), second),
        (replace(first, activation="relu6"), second),
        (first, replace(second, stride=1)),
        (second,),
        (first,),
        (second, first),
        (first, second, second),
        (first, PoolStage(block="avg_pool", kernel=3), second),
        (first, PoolStage(block="max_pool", kernel=3)),
        (first, GhostStage(channels=24, kernel=3, stride=2, repeats=1, activation="relu")),
        (first, InvertedStage(channels=16, kernel=3, stride=1, expansion=4, repeats=1, activation="relu"), second),
    ]:
        assert McuCnn(expected, 0) in found
    assert McuCnn(cnn.stages, 16) in found
    assert McuCnn((replace(first, channels=24), second), 0) not in found  # three steps up


def test_swapping_twins_is_no_edit():
    halving = replace(CONV, stride=2)
    twins = McuCnn((halving, halving), 0).architecture
    assert twins not in list(SPACE.neighbours(twins, random.Random(0)))


def test_random_edits_do_not_drift_to_the_largest_networks():
    space, rng = McuCnnSpace((32, 32, 3), 10), random.Random(0)
    architecture, lengths = space.random(rng), Counter[int]()
    for _ in range(500):
        (architecture,) = islice(space.neighbours(architecture, rng), 1)
        lengths[len(decode(architecture).stages)] += 1
    assert sum(count for length, count in lengths.items() if length >= 8) < 250


def test_random_draws_every_block_and_grows_with_depth():
    rng = random.Random(0)
    drawn = [decode(McuCnnSpace((32, 32, 3), 10).random(rng)) for _ in range(200)]
    assert {stage.block for cnn in drawn for stage in cnn.stages} == {
        block for kind in CHOICES if kind is not McuCnn for block in CHOICES[kind]["block"]
    }
    for cnn in drawn:
        channels = [stage.channels for stage in cnn.stages if not isinstance(stage, PoolStage)]
        assert channels[-1] >= 0.8 * channels[0]  # not 1.0: the channels of ghost stages come in coarser steps


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: [replace(s[0], channels=32), *s[1:]], "stage 0: channels 16 -> 32"),
        (lambda s: s[:2], "remove stage 2 (separable 32 5x5 x2)"),
        (lambda s: [s[0], s[2], s[1]], "swap stages 1 and 2"),
        (lambda s: [*s, s[0]], "add conv 16 3x3 /2 relu6 at the end"),
        (lambda s: [s[1], *s], "add max_pool 2x2 before stage 0"),
        (lambda s: [*s[:1], PoolStage(block="avg_pool", kernel=2), s[2]], "stage 1: max_pool 2x2 becomes avg_pool 2x2"),
    ],
)
def test_edits_in_words(change, words):
    stages = [
        ConvStage(channels=16, kernel=3, stride=2, repeats=1, activation="relu6"),
        PoolStage(block="max_pool", kernel=2),
        SeparableStage(channels=32, kernel=5, stride=1, repeats=2, activation="relu"),
    ]
    before, after = McuCnn(tuple(stages), 64), McuCnn(tuple(change(stages)), 64)
    space = McuCnnSpace((32, 32, 3), 10)
    assert space.summary(before.architecture) == "conv 16 3x3 /2 relu6, max_pool 2x2, separable 32 5x5 x2, dense 64"
    assert space.describe_edit(before.architecture, after.architecture) == words
    hidden = replace(before, hidden_units=0)
    assert space.describe_edit(before.architecture, hidden.architecture) == "hidden units 64 -> 0"
