"""Simulated int8: where it loses, by how much, and that training in it helps."""

import time

import numpy as np
import pytest
import torch

from automcu.architecture import Task
from automcu.errors import CandidateFailure
from automcu.graph.network import Add, Concat, Conv, Dense, DepthwiseConv, GlobalAveragePool, Network, Pool
from automcu.training import quantized
from automcu.training.data import TrainingData, load_training
from automcu.training.model import TorchNetwork, normalise
from automcu.training.quantized import QuantizedNetwork, fine_tuned, layer_errors
from automcu.training.recipe import Recipe
from automcu.training.trainer import TorchTrainer
from tests.contracts.trainer import NETWORK, three_classes

RECIPE = Recipe(epochs=6, batch_size=32)
TUNING = Recipe(epochs=5, batch_size=32, learning_rate=3e-4)
DIGITS = Network(
    (8, 8, 1),
    (Conv("a", "input", 8, 3, 2, "relu"), Conv("b", "a", 12, 3, 1, "relu"), Dense("d", "b", 10, "none")),
)


def digits() -> TrainingData:
    task = Task("digits", "digits", (8, 8, 1), 10, "")
    return load_training(task, (), validation_share=0.2, max_images=None, seed=0)


def trained(network: Network, data: TrainingData) -> dict[str, np.ndarray]:
    return TorchTrainer(RECIPE, 1).train(network, data, seed=0, seconds=60, on_epoch=lambda point: None).weights


def unbalanced(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same function by `DIGITS`, whose first feature maps differ in size by up to a factor of 1,000 from channel to
    channel: one scale for all of them rounds the small ones away."""
    factors = np.geomspace(1, 1000, 8).astype(np.float32)
    changed = dict(weights)
    for part in ("a.gamma", "a.beta"):
        changed[part] = weights[part] * factors
    changed["b.kernel"] = weights["b.kernel"] / factors[None, :, None, None]
    return changed


def accuracy(network: Network, weights: dict[str, np.ndarray], data: TrainingData, *, int8: bool) -> float:
    model = TorchNetwork(network).eval()
    model.load(weights)
    images = normalise(torch.tensor(data.validation_images))
    with torch.inference_mode():
        if int8:
            quantized = QuantizedNetwork(model).eval()
            quantized.observe(normalise(torch.tensor(data.images[:200])))
            logits = quantized(images)
        else:
            logits = model(images)
    return float((logits.argmax(1).numpy() == data.validation_labels).mean())


def test_what_int8_breaks_is_mended_by_training_in_it() -> None:
    data = digits()
    weights = unbalanced(trained(DIGITS, data))
    exact, before = (accuracy(DIGITS, weights, data, int8=int8) for int8 in (False, True))
    assert exact > 0.95 and before < exact - 0.1
    tuned = fine_tuned(DIGITS, weights, data, TUNING, calibration=data.images[:200], threads=1, seed=0, seconds=60)
    assert accuracy(DIGITS, tuned, data, int8=True) > before + 0.04
    for part in ("a.mean", "a.variance"):
        np.testing.assert_array_equal(tuned[part], weights[part])


def test_same_seed_same_weights() -> None:
    data = three_classes()
    weights = trained(NETWORK, data)

    def tune(seed: int) -> np.ndarray:
        tuned = fine_tuned(NETWORK, weights, data, RECIPE, calibration=data.images, threads=1, seed=seed, seconds=60)
        return tuned["a.kernel"]

    np.testing.assert_array_equal(tune(1), tune(1))
    assert (tune(1) != tune(2)).any()


def test_where_time_is_short_the_learning_rate_comes_down_before_it_is_over(monkeypatch) -> None:
    rates = []

    class Slow(quantized.NesterovSGD):
        def step(self, rate, count):
            rates.append(rate)
            time.sleep(0.01)
            super().step(rate, count)

    monkeypatch.setattr(quantized, "NesterovSGD", Slow)
    data, began = three_classes(), time.monotonic()
    recipe = Recipe(epochs=10_000, batch_size=16, learning_rate=1e-6)
    fine_tuned(
        NETWORK, trained(NETWORK, data), data, recipe, calibration=data.images, threads=1, seed=0, seconds=1.5
    )  # fmt: skip
    assert time.monotonic() - began < 5
    assert max(rates) > 0.9e-6 and rates[-1] < 0.2e-6


def test_a_loss_that_is_not_finite_is_the_candidates_failure() -> None:
    data = three_classes()
    weights = trained(NETWORK, data) | {"d.bias": np.full(3, np.nan, np.float32)}
    with pytest.raises(CandidateFailure, match="fine-tuning"):
        fine_tuned(NETWORK, weights, data, RECIPE, calibration=data.images, threads=1, seed=0, seconds=60)


ALL_LAYERS = Network(
    (9, 9, 2),
    (
        Conv("conv", "input", 8, 3, 1, "relu"),
        DepthwiseConv("depthwise", "conv", 3, 1, "relu6"),
        Add("add", "conv", "depthwise", "relu"),
        Pool("max", "add", "max", 2, 2),
        Conv("odd", "max", 8, 3, 2, "none"),
        Conv("beside", "max", 4, 1, 2, "relu"),
        Concat("concat", ("odd", "beside")),
        Pool("average", "concat", "average", 2, 1),
        GlobalAveragePool("pool", "average"),
        Dense("hidden", "pool", 8, "relu"),
        Dense("logits", "hidden", 3, "none"),
    ),
)


def test_errors_are_told_by_layer_and_show_where_int8_loses() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 9, 9, 2), np.uint8)
    model = TorchNetwork(ALL_LAYERS)
    model.initialise(torch.Generator().manual_seed(0))
    weights = model.parameters_by_name()
    errors = layer_errors(ALL_LAYERS, weights, images, images[:8])
    assert [error.layer for error in errors] == [layer.name for layer in ALL_LAYERS.layers]
    assert all(20 < error.decibels < 60 for error in errors)
    one_large = dict(weights)
    one_large["odd.gamma"] = weights["odd.gamma"] * np.array([1000] + [1] * 7, np.float32)
    one_large["hidden.kernel"] = weights["hidden.kernel"] * np.array([1e-3] + [1] * 11, np.float32)
    worse = {error.layer: error.decibels for error in layer_errors(ALL_LAYERS, one_large, images, images[:8])}
    before = {error.layer: error.decibels for error in errors}
    assert all(worse[layer] == before[layer] for layer in ("conv", "depthwise", "add", "max", "beside"))
    assert all(worse[layer] < before[layer] - 10 for layer in ("hidden", "logits"))
