"""The one file that runs tensorflow: one converter for all of it, because starting it takes about ten seconds."""

import hashlib
import os
import signal
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from automcu.errors import CandidateFailure, InfraFailure
from automcu.evaluation import EvaluationSettings, Evaluator
from automcu.export.converter import Converter
from automcu.export.int8_file import Int8File
from automcu.export.interpreter import images_to_int8, run_int8
from automcu.export.network_json import network_from_json, network_to_json
from automcu.feasibility.gate import Verdict
from automcu.graph.lowering import lower
from automcu.graph.network import Add, Concat, Conv, Dense, DepthwiseConv, GlobalAveragePool, Layer, Network, Pool
from automcu.graph.tflite.reader import read_tflite
from automcu.training.model import TorchNetwork, normalise
from automcu.training.quantized import QuantizedNetwork
from automcu.training.recipe import Recipe
from automcu.training.trainer import TorchTrainer
from automcu.training.weights import weights_to_bytes
from automcu.work import Evaluate
from tests.builders import candidate, report, trial
from tests.contracts.trainer import NETWORK, three_classes
from tests.export.small import SMALL, SMALL_TFLITE, convert_untrained, random_images, random_weights
from tests.training.test_quantized import DIGITS, TUNING, digits, trained, unbalanced


def network(shape: tuple[int, int, int], *layers: Layer) -> Network:
    return Network(shape, layers)


NETWORKS = {
    "residual branches, odd sizes": network(
        (15, 11, 3),
        Conv("stem", "input", 6, 5, 2, "relu6"),
        Conv("main", "stem", 8, 3, 2, "relu"),
        DepthwiseConv("main2", "main", 5, 1, "none"),
        Conv("a shortcut", "stem", 8, 1, 2, "none"),
        Add("sum", "main2", "a shortcut", "relu"),
        GlobalAveragePool("mean", "sum"),
        Dense("logits", "mean", 4, "none"),
    ),
    "all pools and a concatenation": network(
        (9, 13, 1),
        Conv("z", "input", 4, 3, 1, "relu"),
        DepthwiseConv("y", "z", 3, 1, "relu"),
        Pool("x", "z", "max", 3, 1),
        Pool("w", "z", "average", 2, 1),
        Concat("v", ("y", "x", "w")),
        Pool("u", "v", "average", 3, 2),
        Pool("t", "u", "max", 2, 2),
        Dense("s", "t", 7, "relu"),
        Dense("r", "s", 3, "none"),
    ),
    "maps of one pixel, one channel": network(
        (4, 4, 1),
        DepthwiseConv("first", "input", 3, 2, "relu"),
        Conv("second", "first", 5, 3, 3, "relu"),
        Conv("third", "second", 5, 3, 1, "none"),
        Add("sum", "second", "third", "none"),
        GlobalAveragePool("mean", "sum"),
        Dense("logits", "mean", 2, "none"),
    ),
}


def test_a_network_crosses_the_pipe_as_json() -> None:
    for one in (SMALL, *NETWORKS.values()):
        assert network_from_json(network_to_json(one)) == one


def test_a_worker_that_is_killed_or_too_slow_is_an_infrastructure_failure() -> None:
    with Converter(time_limit_s=0.2) as hasty, pytest.raises(InfraFailure, match="took longer than 0 s"):
        convert_untrained(hasty, SMALL, 0)
    with Converter(time_limit_s=60) as converter:
        converter.start()
        child = converter._child
        assert child is not None
        threading.Timer(0.2, os.kill, (child.pid, signal.SIGKILL)).start()
        with pytest.raises(InfraFailure, match="status -9"):
            convert_untrained(converter, SMALL, 0)
        converter.start()
        assert converter._child is not None and converter._child.pid != child.pid


@pytest.mark.parametrize("name", NETWORKS)
def test_the_file_is_the_lowered_graph_and_the_twin_agrees_with_torch(converter: Converter, name: str) -> None:
    forward = pytest.importorskip("automcu.training.model").forward
    one = NETWORKS[name]
    weights, images = random_weights(one, 1), random_images(one, 2, 16)
    conversion = converter.convert(one, weights, images, images)
    logits = forward(one, weights, images).reshape(len(images), -1)
    assert np.abs(conversion.probe_outputs - logits).max() <= 1e-4

    assert read_tflite(conversion.tflite).fingerprint == lower(one).fingerprint
    file = Int8File.read(conversion.tflite)
    stored = run_int8(conversion.tflite, images_to_int8(images), processes=1, time_limit_s=60)
    real = (stored.astype(np.float32) - file.output.zero_point) * file.output.scale
    assert np.abs(real - logits).max() <= 0.1 * np.abs(logits).max()  # int8 is coarse, but the same network


def test_equal_work_gives_equal_bytes_and_the_images_stay_as_they_are(converter: Converter) -> None:
    weights, images = random_weights(SMALL, 1), random_images(SMALL, 2) // 2
    weights["logits.bias"][:] = 0  # tempts the converter to leave the bias out
    before = images.copy()
    first, second = (converter.convert(SMALL, weights, images, images) for _ in range(2))
    assert first.tflite == second.tflite
    np.testing.assert_array_equal(images, before)
    assert read_tflite(first.tflite).fingerprint == lower(SMALL).fingerprint
    assert read_tflite(SMALL_TFLITE).fingerprint == lower(SMALL).fingerprint


def test_a_network_that_cannot_be_shipped_is_the_candidates_failure(converter: Converter) -> None:
    joined = network(
        (6, 6, 3),
        Conv("conv", "input", 4, 3, 1, "relu"),
        Concat("join", ("conv", "input")),
        Dense("logits", "join", 2, "none"),
    )
    with pytest.raises(CandidateFailure, match="not 1/128 and 0"):
        converter.convert(joined, random_weights(joined, 1), random_images(joined, 1), random_images(joined, 1))
    weights, images = random_weights(SMALL, 1), random_images(SMALL, 1)
    with pytest.raises(CandidateFailure, match="not finite"):
        converter.convert(SMALL, weights | {"stem.kernel": weights["stem.kernel"] * np.nan}, images, images)
    with pytest.raises(CandidateFailure, match="not those of this network"):
        converter.convert(SMALL, {**weights, "stem.gamma": weights["stem.gamma"][:-1]}, images, images)
    with pytest.raises(CandidateFailure, match="give at least one uint8 image"):
        converter.convert(SMALL, weights, images[:, :-1], images)


def test_simulated_int8_says_what_the_file_says(converter: Converter) -> None:
    """Classes of the file, run by tflite-micro, beside those of torch with rounding."""
    data = three_classes(count=600)
    trained = TorchTrainer(Recipe(epochs=3, batch_size=16), 1).train(
        NETWORK, data, seed=0, seconds=60, on_epoch=lambda point: None
    )
    tflite = converter.convert(NETWORK, trained.weights, data.images, data.images[:1]).tflite
    outputs = run_int8(tflite, images_to_int8(data.validation_images), processes=1, time_limit_s=60)
    model = TorchNetwork(NETWORK).eval()
    model.load(trained.weights)
    quantized = QuantizedNetwork(model).eval()
    quantized.observe(normalise(torch.tensor(data.images)))
    with torch.inference_mode():
        logits = quantized(normalise(torch.tensor(data.validation_images))).numpy()
    file = Int8File.read(tflite).output
    dequantized = (outputs.astype(np.float32) - file.zero_point) * file.scale
    assert np.abs(dequantized - logits).max() <= 2.5 * file.scale
    assert (np.abs(dequantized - logits) < 0.5 * file.scale).mean() > 0.7


class OneNetwork:
    """Stands for a space and a gate that know one network."""

    report = replace(report(), graph_fingerprint="the only one")

    def build(self, architecture: object) -> Network:
        return DIGITS

    def judge_file(self, tflite: bytes) -> list[Verdict]:
        return [Verdict(self.report, ())]


@pytest.mark.parametrize("most", [0.02, 1.0])
def test_a_network_that_int8_breaks_is_trained_on_and_the_better_file_is_kept(
    converter: Converter, most: float
) -> None:
    data = digits()
    weights = weights_to_bytes(unbalanced(trained(DIGITS, data)))
    settings = EvaluationSettings(200, 300, 8, 1e-3, 1, 600, most, TUNING)
    only = OneNetwork()
    evaluator = Evaluator(only, only, converter, data, lambda: None, settings)  # type: ignore[arg-type, return-value]
    measured = evaluator.evaluate(Evaluate(candidate(1), only.report, trial()), weights)
    evaluation = measured.evaluation
    assert hashlib.sha256(measured.tflite).hexdigest() == evaluation.tflite_sha256
    if most == 1.0:
        assert not evaluation.fine_tuned and evaluation.layer_errors == () and measured.weights == weights
        assert evaluation.int8_validation_accuracy < evaluation.float_validation_accuracy - 0.02
    else:
        assert evaluation.fine_tuned and measured.weights != weights
        assert [error.layer for error in evaluation.layer_errors] == ["a", "b", "d"]
        assert evaluation.int8_validation_accuracy > 0.8 > evaluation.converted_accuracy
