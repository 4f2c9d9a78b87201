"""The torch network against TensorFlow's definitions, written out slowly in numpy."""

from math import ceil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from automcu.errors import OutputError
from automcu.graph.network import (
    BATCH_NORM_EPSILON,
    Add,
    Concat,
    Conv,
    Dense,
    DepthwiseConv,
    GlobalAveragePool,
    Network,
    Pool,
)
from automcu.training.model import TorchNetwork, forward, normalise


def _windows(maps, kernel, stride):
    """For each output pixel of padding `same`: its place, the slice of the input, and the slice of the kernel."""
    height, width, _ = maps.shape
    rows, columns = ceil(height / stride), ceil(width / stride)
    top = max((rows - 1) * stride + kernel - height, 0) // 2
    left = max((columns - 1) * stride + kernel - width, 0) // 2
    for row in range(rows):
        for column in range(columns):
            y, x = row * stride - top, column * stride - left
            y0, x0, y1, x1 = max(y, 0), max(x, 0), min(y + kernel, height), min(x + kernel, width)
            yield row, column, maps[y0:y1, x0:x1], (slice(y0 - y, y1 - y), slice(x0 - x, x1 - x))


def _out(maps, stride, channels):
    return np.zeros((ceil(maps.shape[0] / stride), ceil(maps.shape[1] / stride), channels))


def _activate(maps, activation):
    high = {"none": np.inf, "relu": np.inf, "relu6": 6.0}[activation]
    return maps if activation == "none" else np.clip(maps, 0, high)


def _slow(network, weights, image):
    """One normalised image (H, W, C) through the network in float64."""
    maps = {"input": image.astype(np.float64)}
    for layer in network.layers:
        match layer:
            case Conv(name, source, channels, kernel, stride):
                out = _out(maps[source], stride, channels)
                for row, column, window, (ky, kx) in _windows(maps[source], kernel, stride):
                    out[row, column] = np.einsum("yxi,oiyx->o", window, weights[f"{name}.kernel"][:, :, ky, kx])
                out = _norm(out, weights, name)
            case DepthwiseConv(name, source, kernel, stride):
                out = _out(maps[source], stride, maps[source].shape[2])
                for row, column, window, (ky, kx) in _windows(maps[source], kernel, stride):
                    out[row, column] = np.einsum("yxc,cyx->c", window, weights[f"{name}.kernel"][:, 0, ky, kx])
                out = _norm(out, weights, name)
            case Pool(name, source, kind, kernel, stride):
                out = _out(maps[source], stride, maps[source].shape[2])
                for row, column, window, _ in _windows(maps[source], kernel, stride):
                    out[row, column] = window.max((0, 1)) if kind == "max" else window.mean((0, 1))
            case GlobalAveragePool(name, source):
                out = maps[source].mean((0, 1), keepdims=True)
            case Add(name, left, right):
                out = maps[left] + maps[right]
            case Concat(name, names):
                out = np.concatenate([maps[source] for source in names], axis=2)
            case Dense(name, source):
                out = maps[source].reshape(-1) @ weights[f"{name}.kernel"].T + weights[f"{name}.bias"]
                out = out.reshape(1, 1, -1)
        maps[name] = _activate(out, getattr(layer, "activation", "none"))
    return maps[network.output].reshape(-1)


def _norm(maps, weights, name):
    gamma, beta, mean, variance = (weights[f"{name}.{part}"] for part in ("gamma", "beta", "mean", "variance"))
    return (maps - mean) / np.sqrt(variance + BATCH_NORM_EPSILON) * gamma + beta


def _weights(network, seed=0):
    rng = np.random.default_rng(seed)
    found = {}
    for name, shape in network.parameter_shapes.items():
        low, high = (0.5, 2) if name.endswith((".variance", ".gamma")) else (-0.5, 0.5)
        found[name] = rng.uniform(low, high, shape).astype(np.float32)
    return found


def _agree(network, count=3):
    weights = _weights(network)
    images = np.random.default_rng(1).integers(0, 256, (count, *network.input_shape), np.uint8)
    expected = np.stack([_slow(network, weights, (image - 128.0) / 128.0) for image in images])
    found = forward(network, weights, images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


EXTENTS = st.integers(1, 9)
WINDOWS = st.tuples(EXTENTS, EXTENTS, st.integers(1, 5), st.integers(1, 4))


@settings(max_examples=60, deadline=None)
@given(WINDOWS, st.sampled_from(["none", "relu", "relu6"]))
def test_convolution_pads_as_tensorflow_does(window, activation):
    height, width, kernel, stride = window
    _agree(Network((height, width, 2), (Conv("c", "input", 3, kernel, stride, activation),)))


@settings(max_examples=40, deadline=None)
@given(WINDOWS)
def test_depthwise_convolution_pads_as_tensorflow_does(window):
    height, width, kernel, stride = window
    _agree(Network((height, width, 3), (DepthwiseConv("c", "input", kernel, stride, "relu"),)))


@settings(max_examples=60, deadline=None)
@given(WINDOWS, st.sampled_from(["max", "average"]))
def test_pooling_sees_only_pixels_that_exist(window, kind):
    height, width, kernel, stride = window
    _agree(Network((height, width, 2), (Pool("p", "input", kind, kernel, stride),)))


def test_padding_by_hand():
    """4x4 at stride 2 with a 3x3 kernel of ones: TensorFlow pads the bottom and the right only."""
    network = Network((4, 4, 1), (Conv("c", "input", 1, 3, 2, "none"),))
    weights = {name: np.ones(shape, np.float32) for name, shape in network.parameter_shapes.items()}
    weights["c.mean"] = weights["c.beta"] = np.zeros(1, np.float32)
    images = (np.arange(16).reshape(1, 4, 4, 1) + 128).astype(np.uint8)
    window_sums = np.array([0 + 1 + 2 + 4 + 5 + 6 + 8 + 9 + 10, 2 + 3 + 6 + 7 + 10 + 11, 8 + 9 + 10 + 12 + 13 + 14, 50])
    expected = window_sums / 128 / np.sqrt(1 + BATCH_NORM_EPSILON)
    np.testing.assert_allclose(forward(network, weights, images)[0], expected, rtol=1e-5)


@pytest.mark.parametrize("shape", [(9, 7, 3), (8, 8, 1), (16, 16, 3)])
def test_whole_network(shape):
    network = Network(
        shape,
        (
            Conv("stem", "input", 6, 3, 2, "relu"),
            DepthwiseConv("deep", "stem", 5, 1, "relu6"),
            Conv("point", "deep", 6, 1, 1, "none"),
            Add("sum", "stem", "point", "relu"),
            Add("twice", "sum", "sum", "none"),
            Concat("both", ("twice", "deep")),
            Pool("pool", "both", "average", 3, 2),
            Conv("wide", "pool", 8, 2, 1, "relu"),
            Dense("hidden", "wide", 7, "relu"),
            Dense("logits", "hidden", 5, "none"),
        ),
    )
    _agree(network)


def test_convolutional_head():
    _agree(Network((5, 5, 3), (Conv("c", "input", 4, 3, 1, "none"), GlobalAveragePool("g", "c"))))


def test_normalise_is_pixel_minus_128_over_128():
    images = torch.tensor([0, 127, 128, 255], dtype=torch.uint8).reshape(1, 1, 2, 2)
    assert normalise(images).flatten().tolist() == [-1, 0, -1 / 128, 127 / 128]
    assert normalise(images).shape == (1, 2, 1, 2)


def test_weights_round_trip_and_copies():
    network = Network((4, 4, 3), (Conv("c", "input", 5, 3, 1, "relu"), Dense("d", "c", 2, "none")))
    weights = _weights(network)
    model = TorchNetwork(network)
    model.load(weights)
    back = model.parameters_by_name()
    assert list(back) == list(network.parameter_shapes)
    for name, array in weights.items():
        np.testing.assert_array_equal(back[name], array)
        assert back[name].flags.c_contiguous
        back[name] += 1
    np.testing.assert_array_equal(model.parameters_by_name()["d.bias"], weights["d.bias"])


def test_foreign_weights_are_refused():
    network = Network((4, 4, 3), (Dense("d", "input", 2, "none"),))
    with pytest.raises(OutputError, match=r"d\.kernel"):
        TorchNetwork(network).load({"d.kernel": np.zeros((2, 47), np.float32), "d.bias": np.zeros(2, np.float32)})


def test_initialisation_follows_from_the_seed():
    network = Network((4, 4, 3), (Conv("c", "input", 64, 3, 1, "relu"), Dense("d", "c", 2, "none")))

    def drawn(seed):
        model = TorchNetwork(network)
        model.initialise(torch.Generator().manual_seed(seed))
        return model.parameters_by_name()

    first, again, other = drawn(1), drawn(1), drawn(2)
    assert all((first[name] == again[name]).all() for name in first)
    assert (first["c.kernel"] != other["c.kernel"]).any() and (first["d.kernel"] != other["d.kernel"]).any()
    assert first["c.kernel"].std() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.1)


def test_depthwise_convolutions_stay_in_float32_on_a_processor():
    network = Network((6, 6, 3), (Conv("c", "input", 4, 1, 1, "none"), DepthwiseConv("d", "c", 3, 1, "none")))
    model, kinds = TorchNetwork(network), []
    for block in model.blocks:
        block.norm.register_forward_pre_hook(lambda module, maps: kinds.append(maps[0].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        model(torch.zeros(2, 3, 6, 6)).sum().backward()
    assert kinds == [torch.bfloat16, torch.float32]
    assert all(parameter.grad is not None for parameter in model.parameters())
