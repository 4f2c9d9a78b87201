import subprocess
import sys
import time

import numpy as np
import pytest

from automcu.errors import CandidateFailure, ConfigError, InfraFailure
from automcu.graph.network import Add, Conv, Dense, GlobalAveragePool, Network
from automcu.training.data import TrainingData
from automcu.training.recipe import Recipe
from automcu.training.trainer import DummyTrainer, TorchTrainer
from tests.contracts.trainer import NETWORK, TrainerContract, three_classes


class TestDummyTrainer(TrainerContract):
    @pytest.fixture
    def trainer(self):
        return DummyTrainer()

    def test_larger_networks_score_higher(self):
        def accuracy(width):
            layers = (Conv("a", "input", width, 3, 1, "relu"), Dense("d", "a", 3, "none"))
            trained = DummyTrainer(noise=0).train(
                Network((8, 8, 1), layers), three_classes(), seed=0, seconds=9, on_epoch=lambda _: None
            )
            return trained.trial.validation_accuracy

        assert accuracy(4) < accuracy(16) < accuracy(64)


class TestTorchTrainer(TrainerContract):
    @pytest.fixture
    def trainer(self):
        return TorchTrainer(Recipe(epochs=3, batch_size=16, flip=True, crop_padding=1), threads=1)

    def test_it_learns_and_the_last_point_is_of_the_weights_returned(self):
        from automcu.training.model import forward

        data = three_classes()
        trained = TorchTrainer(Recipe(epochs=20, batch_size=16), threads=1).train(
            NETWORK, data, seed=0, seconds=60, on_epoch=lambda _: None
        )
        assert trained.trial.validation_accuracy > 0.9
        logits = forward(NETWORK, trained.weights, data.validation_images)
        assert np.mean(logits.argmax(1) == data.validation_labels) == trained.trial.validation_accuracy

    def test_result_does_not_depend_on_the_global_generator(self, trainer):
        import torch

        runs = []
        for state in (3, 4):
            torch.manual_seed(state)
            runs.append(trainer.train(NETWORK, three_classes(), seed=1, seconds=60, on_epoch=lambda _: None))
        np.testing.assert_array_equal(runs[0].weights["a.kernel"], runs[1].weights["a.kernel"])

    def test_read_only_arrays_are_fine_and_stay_unchanged(self, trainer, recwarn):
        data = three_classes()
        before = data.images.copy()
        for array in (data.images, data.labels, data.validation_images, data.validation_labels):
            array.flags.writeable = False
        trainer.train(NETWORK, data, seed=1, seconds=60, on_epoch=lambda _: None)
        np.testing.assert_array_equal(data.images, before)
        assert not recwarn.list

    def test_divergence_is_the_candidates_failure(self):
        trainer = TorchTrainer(Recipe(epochs=2, batch_size=16, learning_rate=1e30), threads=1)
        with pytest.raises(CandidateFailure, match="learning rate"):
            trainer.train(NETWORK, three_classes(), seed=1, seconds=60, on_epoch=lambda _: None)

    def test_out_of_memory_is_the_machines_failure(self):
        # Weights of 4e15 bytes are more than an address space holds.
        network = Network((1000, 1000, 1), (Dense("d", "input", 10**9, "none"),))
        with pytest.raises(InfraFailure, match="batch_size"):
            TorchTrainer(Recipe(), 1).train(network, three_classes(), seed=1, seconds=60, on_epoch=lambda _: None)

    def test_deadline_cuts_within_an_epoch(self):
        network = Network(
            (32, 32, 3),
            (
                Conv("a", "input", 32, 3, 1, "relu"),
                Conv("b", "a", 32, 3, 1, "none"),
                Add("c", "a", "b", "relu"),
                GlobalAveragePool("g", "c"),
                Dense("d", "g", 10, "none"),
            ),
        )
        rng = np.random.default_rng(0)
        images, labels = rng.integers(0, 256, (20_000, 32, 32, 3), np.uint8), np.arange(20_000) % 10
        data = TrainingData(images, labels, images[:100], labels[:100], tuple("abcdefghij"))
        start = time.monotonic()
        trained = TorchTrainer(Recipe(epochs=50), 1).train(network, data, seed=0, seconds=0.5, on_epoch=lambda _: None)
        assert time.monotonic() - start < 5
        assert trained.trial.ended == "deadline"
        assert [point.epoch for point in trained.trial.curve] == [1]

    def test_fewer_images_than_a_batch(self):
        data = three_classes(count=12)
        trained = TorchTrainer(Recipe(epochs=2, batch_size=128), 1).train(
            NETWORK, data, seed=0, seconds=60, on_epoch=lambda _: None
        )
        assert len(trained.trial.curve) == 2


def test_update_is_torchs_nesterov_sgd():
    import torch
    from torch.optim.sgd import sgd

    from automcu.training.loop import _MOMENTUM, _NesterovSGD, _triangle

    start = [torch.arange(6.0).reshape(2, 3), torch.ones(3)]
    ours = [torch.nn.Parameter(tensor.clone()) for tensor in start]
    optimizer = _NesterovSGD(ours, Recipe(learning_rate=0.3, weight_decay=0.01))
    theirs, velocities = [tensor.clone() for tensor in start], [[None], [None]]
    for step in range(5):
        sum((parameter**2).sum() for parameter in ours).backward()
        optimizer.step(step / 5)
        for parameter, velocity, decay in zip(theirs, velocities, (0.01, 0.0), strict=True):
            sgd(
                [parameter],
                [2 * parameter],
                velocity,
                lr=0.3 * _triangle(step / 5),
                weight_decay=decay,
                momentum=_MOMENTUM,
                nesterov=True,
                dampening=0.0,
                maximize=False,
            )
    for mine, reference in zip(ours, theirs, strict=True):
        assert mine.grad is None
        torch.testing.assert_close(mine.data, reference)


def test_learning_rate_peaks_once_and_ends_near_zero():
    from automcu.training.loop import _triangle

    rates = [_triangle(step / 100) for step in range(100)]
    peak = rates.index(max(rates))
    assert max(rates) == pytest.approx(1)
    assert rates[: peak + 1] == sorted(rates[: peak + 1]) and rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[0] == pytest.approx(0.1) and rates[-1] < 0.02


def test_augmentation_shifts_and_mirrors_within_the_image():
    import torch

    from automcu.training.loop import _augmented

    image = torch.arange(25, dtype=torch.uint8).reshape(1, 5, 5, 1)
    chosen = torch.zeros(400, dtype=torch.int64)
    recipe = Recipe(flip=True, crop_padding=1)
    found = _augmented(image, chosen, recipe, torch.Generator().manual_seed(0))[..., 0].numpy()
    padded = np.pad(image[0, ..., 0].numpy(), 1, mode="reflect")
    crops = [padded[y : y + 5, x : x + 5] for y in range(3) for x in range(3)]
    expected = {crop.tobytes() for crop in crops} | {crop[:, ::-1].tobytes() for crop in crops}
    assert {one.tobytes() for one in found} == expected
    assert len(expected) == 18


def test_without_augmentation_images_are_themselves():
    import torch

    from automcu.training.loop import _augmented

    images = torch.arange(2 * 12, dtype=torch.uint8).reshape(2, 2, 3, 2)
    found = _augmented(images, torch.tensor([1, 0]), Recipe(), torch.Generator())
    assert torch.equal(found, images[[1, 0]])


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"batch_size": 1}, {"learning_rate": 0}, {"label_smoothing": 1}, {"crop_padding": -1}],
)
def test_recipe_refuses_nonsense(wrong):
    with pytest.raises(ConfigError):
        Recipe(**wrong)


@pytest.mark.slow
def test_the_seam_loads_no_torch_and_training_loads_no_compiler():
    code = """
import sys
import automcu.training.data, automcu.training.trainer, automcu.training.weights
heavy = {"torch", "sklearn", "pyarrow", "PIL", "torchvision", "safetensors"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
from tests.contracts.trainer import NETWORK, three_classes
from automcu.training.recipe import Recipe
trainer = automcu.training.trainer.TorchTrainer(Recipe(epochs=1), 1)
trainer.train(NETWORK, three_classes(), seed=0, seconds=60, on_epoch=lambda _: None)
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
