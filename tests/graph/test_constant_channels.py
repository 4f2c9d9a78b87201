from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automcu.graph.constant_channels import remove_constant_channels
from automcu.graph.costs import costs
from automcu.graph.int8 import Int8Graph, Operator, Tensor, Window
from automcu.graph.int8_model import Attributes, Constants, Int8Model, Quantization
from automcu.graph.tflite.constants import read_model
from automcu.graph.tflite.writer import write_model
from tests.deploy.oracle import Oracle
from tests.deploy.random_models import random_inputs, random_model
from tests.graph.shared_models import shared
from tests.graph.tflite.model_equality import require_equal

CHAINS = frozenset(
    {
        *("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "CONCATENATION", "AVERAGE_POOL_2D", "MAX_POOL_2D"),
        *("RESHAPE", "EXPAND_DIMS", "SQUEEZE", "PAD", "MEAN", "REDUCE_MAX"),
    }
)
"""What constant channels are followed through."""
VALID = Window((1, 1), (1, 1), "VALID")
SAME = Window((3, 3), (1, 1), "SAME")


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    with Oracle() as started:
        yield started


def figures(model: Int8Model) -> tuple[int, int]:
    """MACs and bytes of weights, biases not counted."""
    found = costs(model.graph)
    return found.total_macs, found.total_weights_bytes - 4 * sum(operator.bias for operator in model.graph.operators)


def channels(model: Int8Model) -> list[int]:
    return [tensor.shape[-1] for tensor in model.graph.tensors]


def with_constant_channels(model: Int8Model, random: np.random.Generator) -> Int8Model:
    """About half of the channels that have biases are made constant: by biases far off, or by weights that are 0."""
    changed = []
    for operator, constants in zip(model.graph.operators, model.constants, strict=True):
        if constants is not None and constants.bias is not None:
            weights, bias = constants.weights.copy(), constants.bias.copy()
            axis = 3 if operator.kind == "DEPTHWISE_CONV_2D" else 0
            for channel in np.flatnonzero(random.random(len(bias)) < 0.5):
                match random.integers(5):
                    case 0 | 1:
                        bias[channel] = -(2**28)
                    case 2:
                        bias[channel] = 2**28
                    case 3:
                        np.moveaxis(weights, axis, 0)[channel] = 0
                    case 4:
                        np.moveaxis(weights, axis, 0)[channel] = 0
                        bias[channel] = 0  # the zero point
            constants = replace(constants, weights=weights, bias=bias)
        changed.append(constants)
    return replace(model, constants=tuple(changed))


def require_same_outputs(oracle: Oracle, model: Int8Model, narrowed: Int8Model, seed: int, count: int = 4) -> None:
    data = write_model(narrowed)
    require_equal(read_model(data), narrowed)
    ends = [
        [part.graph.tensors[end] for end in (*part.graph.inputs, *part.graph.outputs)] for part in (model, narrowed)
    ]
    assert ends[0] == ends[1]
    inputs = random_inputs(model, seed, count)
    expected = oracle.outputs(model.graph, write_model(model), inputs)
    assert np.array_equal(oracle.outputs(narrowed.graph, data, inputs), expected)


def test_the_visual_wake_words_model_halves(oracle: Oracle) -> None:
    model = read_model(shared("mlperf_tiny_models/vww_96_int8.tflite").read_bytes())
    narrowed = remove_constant_channels(model)
    assert figures(model) == (7_489_664, 208_112)
    assert figures(narrowed) == (3_727_313, 29_066)
    require_same_outputs(oracle, model, narrowed, 0, 10)


@pytest.mark.parametrize("name", ["ad01_int8", "kws_ref_model", "pretrainedResnet_quant", "str_ww_ref_model"])
def test_the_other_mlperf_tiny_models_have_none(name: str) -> None:
    model = read_model(shared(f"mlperf_tiny_models/{name}.tflite").read_bytes())
    assert remove_constant_channels(model) is model


@pytest.mark.parametrize("name", ["mobilenet_v1_0.25_96_fft_int8", "mobilenet_v2_0.35_128_fft_int8"])
def test_networks_with_a_few_constant_channels(oracle: Oracle, name: str) -> None:
    model = read_model(shared(f"st_models/{name}.tflite").read_bytes())
    narrowed = remove_constant_channels(model)
    assert figures(narrowed) < figures(model)
    require_same_outputs(oracle, model, narrowed, 1, 2)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.booleans())
def test_outputs_stay_the_same(oracle: Oracle, seed: int, chains: bool) -> None:
    model = random_model(seed, CHAINS) if chains else random_model(seed)
    model = with_constant_channels(model, np.random.default_rng(seed))
    narrowed = remove_constant_channels(model)
    require_same_outputs(oracle, model, narrowed, seed)
    before, after = figures(model), figures(narrowed)
    assert after[0] <= before[0] and after[1] <= before[1]
    assert costs(narrowed.graph).total_weights_bytes <= costs(model.graph).total_weights_bytes


@pytest.mark.slow
def test_outputs_stay_the_same_many(oracle: Oracle) -> None:
    for seed in range(1_000):
        model = with_constant_channels(random_model(seed, CHAINS), np.random.default_rng(seed))
        require_same_outputs(oracle, model, remove_constant_channels(model), seed)


def test_much_goes_where_much_is_constant() -> None:
    random = np.random.default_rng(0)
    models = [with_constant_channels(random_model(seed, CHAINS), random) for seed in range(200)]
    left = [sum(channels(remove_constant_channels(model))) / sum(channels(model)) for model in models]
    assert np.mean([share < 1 for share in left]) > 0.25
    assert min(left) < 0.6


def chain(
    *layers: tuple[str, Window | None, np.ndarray, list[int]], shape: tuple[int, ...] = (1, 5, 5, 2)
) -> Int8Model:
    """Layers one after the other, each with ReLU, its weights and its biases; scales are 1 all over, so that outputs
    are sums of weighted inputs, with zero point -128."""
    tensors, operators, constants = [Tensor("image", shape, "int8")], [], []
    for kind, window, weights, bias in layers:
        source = tensors[-1].shape
        size = {"CONV_2D": weights.shape[0], "FULLY_CONNECTED": weights.shape[0]}.get(kind, weights.shape[-1])
        made = (1, size) if kind in ("FULLY_CONNECTED", "RESHAPE") else (*source[:3], size)
        tensors.append(Tensor(f"layer{len(operators)}", made, "int8"))
        index = len(operators)
        if kind == "RESHAPE":
            operators.append(Operator(f"layer{index}", kind, (index,), index + 1))
            constants.append(None)
            continue
        operators.append(Operator(f"layer{index}", kind, (index,), index + 1, weights.shape, len(bias), window, "RELU"))
        scales = np.ones(1, np.float32)
        constants.append(Constants(weights.astype(np.int8), scales, 0, np.array(bias, np.int32)))
    graph = Int8Graph(tuple(tensors), tuple(operators), (0,), (len(operators),))
    quantization = (Quantization(1.0, -128),) * len(tensors)
    return Int8Model(graph, quantization, tuple(constants), (Attributes(),) * len(operators))


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.int64)


def test_a_dead_channel_goes_with_its_weights_on_both_sides() -> None:
    model = chain(("CONV_2D", SAME, ones(3, 3, 3, 2), [0, -5_000, 0]), ("CONV_2D", SAME, ones(4, 3, 3, 3), [0] * 4))
    narrowed = remove_constant_channels(model)
    assert channels(narrowed) == [2, 2, 4]
    assert [operator.weights for operator in narrowed.graph.operators] == [(2, 3, 3, 2), (4, 3, 3, 2)]


def test_a_constant_is_added_to_biases_where_no_border_is_seen() -> None:
    """Channel 1 is always 127: 255 above the zero point, so that each weight of 3 adds 765."""
    first = ("CONV_2D", VALID, ones(2, 1, 1, 2), [0, 5_000])
    narrowed = remove_constant_channels(chain(first, ("CONV_2D", VALID, 3 * ones(4, 1, 1, 2), [1, 2, 3, 4])))
    assert channels(narrowed) == [2, 1, 4]
    assert narrowed.constants[1] is not None and narrowed.constants[1].bias is not None
    assert narrowed.constants[1].bias.tolist() == [766, 767, 768, 769]
    padded = chain(first, ("CONV_2D", SAME, ones(4, 3, 3, 2), [0] * 4))
    assert remove_constant_channels(padded) is padded


def test_a_bias_that_would_overflow_is_left_alone() -> None:
    first = ("CONV_2D", VALID, ones(2, 1, 1, 2), [0, 5_000])
    model = chain(first, ("CONV_2D", VALID, ones(1, 1, 1, 2), [2**31 - 100]))
    assert remove_constant_channels(model) is model
    wraps = chain(("CONV_2D", VALID, ones(2, 1, 1, 2), [0, 2**31 - 100]), ("CONV_2D", VALID, ones(1, 1, 1, 2), [0]))
    assert remove_constant_channels(wraps) is wraps  # its sum wraps around, so that it is not constant at all


def test_what_only_constants_need_goes_too() -> None:
    """The depthwise convolution makes channel 1 constant whatever it reads, and channel 0 reads nothing."""
    depthwise = ones(1, 3, 3, 2)
    model = chain(
        ("CONV_2D", VALID, ones(2, 1, 1, 2), [0, 0]),
        ("DEPTHWISE_CONV_2D", SAME, depthwise, [0, -5_000]),
        ("FULLY_CONNECTED", None, ones(3, 50), [0] * 3),
    )
    narrowed = remove_constant_channels(model)
    assert channels(narrowed) == [2, 1, 1, 3]
    assert narrowed.graph.operators[2].weights == (3, 25)


def test_flattening_loses_every_place_of_a_channel(oracle: Oracle) -> None:
    dense = np.random.default_rng(0).integers(-2, 3, (4, 75))
    model = chain(
        ("CONV_2D", VALID, ones(3, 1, 1, 2), [-100, 5_000, -150]),
        ("RESHAPE", None, ones(75), []),
        ("FULLY_CONNECTED", None, dense, [0] * 4),
    )
    narrowed = remove_constant_channels(model)
    assert channels(narrowed) == [2, 2, 50, 4]
    require_same_outputs(oracle, model, narrowed, 0)


def test_a_dense_layer_with_scales_keeps_two_units() -> None:
    """One unit with one scale would be requantized as a layer with one scale in all is, in single precision."""
    first = ("FULLY_CONNECTED", None, ones(3, 4), [0, -5_000, -5_000])
    model = chain(first, ("FULLY_CONNECTED", None, ones(2, 3), [0, 0]), shape=(1, 4))
    assert channels(remove_constant_channels(model)) == [4, 1, 2]
    dense = model.constants[0]
    assert dense is not None
    scaled = replace(model, constants=(replace(dense, scales=np.ones(3, np.float32)), model.constants[1]))
    assert channels(remove_constant_channels(scaled)) == [4, 2, 2]


def test_a_layer_keeps_a_channel_and_the_graph_its_ends() -> None:
    model = chain(
        ("CONV_2D", VALID, ones(3, 1, 1, 2), [-5_000] * 3), ("CONV_2D", VALID, ones(3, 1, 1, 3), [-5_000] * 3)
    )
    assert channels(remove_constant_channels(model)) == [2, 1, 3]


def test_the_border_is_looked_at_place_by_place() -> None:
    """A map of 255 above the zero point, of which a window sees 9, 6 or, at the corners, 4 places. With weights of -1,
    a bias of 4 times that much is never exceeded, and one of 5 times that much at the corners alone."""
    constant = ("CONV_2D", VALID, ones(1, 1, 1, 2), [5_000])
    windows = ("CONV_2D", SAME, -ones(2, 3, 3, 1), [4 * 255, 5 * 255])
    model = chain(constant, windows, ("CONV_2D", VALID, ones(1, 1, 1, 2), [0]))
    assert channels(remove_constant_channels(model)) == [2, 1, 1, 1]
