"""What every `Trainer` must do; inherit and give it a `trainer`."""

import numpy as np
import pytest

from automcu.graph.network import Conv, Dense, GlobalAveragePool, Network
from automcu.results import EpochPoint
from automcu.training.data import TrainingData
from automcu.training.trainer import Trainer

NETWORK = Network(
    (8, 8, 1),
    (
        Conv("a", "input", 8, 3, 2, "relu"),
        GlobalAveragePool("g", "a"),
        Dense("d", "g", 3, "none"),
    ),
)


def three_classes(seed: int = 0, count: int = 96) -> TrainingData:
    """Small images whose brightness tells their class, with noise on top."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    images = (labels * 80 + 20)[:, None, None, None] + rng.integers(0, 20, (count, 8, 8, 1))
    images = images.astype(np.uint8)
    half = count // 2
    return TrainingData(images[:half], labels[:half], images[half:], labels[half:], ("dark", "grey", "bright"))


class TrainerContract:
    """One suite for all trainers."""

    @pytest.fixture
    def trainer(self) -> Trainer:
        raise NotImplementedError

    def test_curve_is_what_on_epoch_saw(self, trainer):
        seen: list[EpochPoint] = []
        trial = trainer.train(NETWORK, three_classes(), seed=1, seconds=60, on_epoch=seen.append).trial
        assert trial.curve == tuple(seen)
        assert [point.epoch for point in seen] == list(range(1, len(seen) + 1))
        assert all(0 <= point.validation_accuracy <= 1 for point in seen)
        times = [0.0, *(point.seconds for point in seen), trial.seconds]
        assert times == sorted(times)
        assert (trial.ended, trial.seed) == ("completed", 1)

    def test_weights_have_the_networks_names_and_shapes(self, trainer):
        weights = trainer.train(NETWORK, three_classes(), seed=1, seconds=60, on_epoch=lambda _: None).weights
        assert {name: array.shape for name, array in weights.items()} == dict(NETWORK.parameter_shapes)
        assert all(array.dtype == np.float32 and np.isfinite(array).all() for array in weights.values())
        assert all((array >= 0).all() for name, array in weights.items() if name.endswith(".variance"))

    def test_same_seed_same_result(self, trainer):
        first, again, other = (
            trainer.train(NETWORK, three_classes(), seed=seed, seconds=60, on_epoch=lambda _: None)
            for seed in (5, 5, 6)
        )
        accuracies = [[point.validation_accuracy for point in run.trial.curve] for run in (first, again)]
        assert accuracies[0] == accuracies[1]
        for name, array in first.weights.items():
            np.testing.assert_array_equal(array, again.weights[name])
        assert any((array != other.weights[name]).any() for name, array in first.weights.items())

    def test_out_of_time_still_gives_a_point_and_weights(self, trainer):
        trained = trainer.train(NETWORK, three_classes(), seed=1, seconds=0, on_epoch=lambda _: None)
        assert trained.trial.ended == "deadline"
        assert len(trained.trial.curve) == 1
        assert set(trained.weights) == set(NETWORK.parameter_shapes)

    def test_it_ends_after_so_many_epochs(self, trainer):
        trained = trainer.train(NETWORK, three_classes(), seed=1, seconds=60, on_epoch=lambda _: None, epochs=1)
        assert trained.trial.ended == "scheduler" and len(trained.trial.curve) == 1
        assert set(trained.weights) == set(NETWORK.parameter_shapes)

    def test_on_epoch_may_stop_it(self, trainer):
        class Enough(RuntimeError):
            pass

        def stop(point: EpochPoint) -> None:
            raise Enough(point.epoch)

        with pytest.raises(Enough, match="1"):
            trainer.train(NETWORK, three_classes(), seed=1, seconds=60, on_epoch=stop)
