import subprocess
import sys
import time
import weakref
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from automcu.errors import CandidateFailure, ConfigError, InfraFailure
from automcu.graph.network import Add, Conv, Dense, GlobalAveragePool, Network
from automcu.results import EpochPoint
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

    def test_no_memory_for_half_the_batch_either_is_the_candidates_failure(self):
        # Weights of 4e15 bytes are more than an address space holds.
        network = Network((1000, 1000, 1), (Dense("d", "input", 10**9, "none"),))
        with pytest.raises(CandidateFailure, match="out of memory with batches of 32"):
            TorchTrainer(Recipe(), 1).train(network, three_classes(), seed=1, seconds=60, on_epoch=lambda _: None)

    @pytest.mark.parametrize("fits", [True, False])
    def test_what_runs_out_of_memory_is_begun_again_with_half_the_batch(self, fits, monkeypatch, tmp_path):
        from automcu.training import loop

        seen, batch_of = [], loop.batch_of

        def scarce(images, labels, chosen, recipe, generator):
            seen.append(len(chosen))
            if len(chosen) > 8 or (not fits and len(seen) > 5):
                raise RuntimeError("[enforce fail at alloc_cpu.cpp] can't allocate memory: you tried to allocate")
            return batch_of(images, labels, chosen, recipe, generator)

        monkeypatch.setattr(loop, "batch_of", scarce)
        trainer, path = TorchTrainer(Recipe(epochs=2, batch_size=16), 1), tmp_path / "checkpoint.safetensors"
        points = []

        def train():
            return trainer.train(NETWORK, three_classes(), seed=1, seconds=60, on_epoch=points.append, checkpoint=path)

        if fits:
            assert train().trial.halved_batch
            assert seen == [16, *[8] * 12] and len(points) == 2
        else:
            with pytest.raises(CandidateFailure, match="out of memory with batches of 8"):
                train()

    def test_what_runs_out_of_memory_half_way_goes_on_from_there_and_goes_on_once_more_after_a_kill(
        self, monkeypatch, tmp_path
    ):
        from automcu.training import loop

        class Killed(BaseException):
            pass

        seen, points, batch_of = [], [], loop.batch_of

        def scarce(images, labels, chosen, recipe, generator):
            seen.append(len(chosen))
            if len(chosen) > 8 and len(points) > 1:
                raise RuntimeError("[enforce fail at alloc_cpu.cpp] can't allocate memory: you tried to allocate")
            return batch_of(images, labels, chosen, recipe, generator)

        def note(point):
            points.append(point)
            if len(points) == 3:
                raise Killed

        monkeypatch.setattr(loop, "batch_of", scarce)
        trainer, path = TorchTrainer(Recipe(epochs=4, batch_size=16, averaging=0.9), 1), tmp_path / "checkpoint"

        def train():
            return trainer.train(NETWORK, three_classes(), seed=1, seconds=60, on_epoch=note, checkpoint=path)

        with pytest.raises(Killed):
            train()
        trial = train().trial
        assert [point.epoch for point in points] == [1, 2, 3, 4] == [point.epoch for point in trial.curve]
        assert seen == [*[16] * 6, 16, *[8] * 6, 16, *[8] * 6] and trial.halved_batch and trial.ended == "completed"

    def test_the_second_attempt_is_not_made_while_the_first_one_is_kept_alive(self, monkeypatch):
        from automcu.training import loop

        batch_of, attempts = loop.batch_of, []

        def scarce(images, labels, chosen, recipe, generator):
            if len(chosen) > 8:
                raise RuntimeError("CUDA out of memory")
            return batch_of(images, labels, chosen, recipe, generator)

        class Watched(loop.State):
            def __init__(self, *args):
                alive = [one() for one in attempts]
                assert alive == [None] * len(attempts)
                super().__init__(*args)
                attempts.append(weakref.ref(self))

        monkeypatch.setattr(loop, "batch_of", scarce)
        monkeypatch.setattr(loop, "State", Watched)
        trainer = TorchTrainer(Recipe(epochs=1, batch_size=16), 1)
        trainer.train(NETWORK, three_classes(), seed=1, seconds=60, on_epoch=lambda _: None)
        assert len(attempts) == 2

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

    @pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
    def test_a_training_goes_on_from_its_checkpoint_as_if_it_had_never_stopped(self, optimizer, tmp_path):
        recipe = Recipe(
            epochs=4, batch_size=16, optimizer=optimizer, schedule="cosine", learning_rate=0.01, averaging=0.9,
            flip=True, crop_padding=1, cutout=3, mixup=0.2, shares=(0.5, 0.5, 0.75),
        )  # fmt: skip
        trainer, data = TorchTrainer(recipe, 1), three_classes()
        whole = trainer.train(NETWORK, data, seed=3, seconds=60, on_epoch=lambda _: None)

        class Killed(BaseException):
            pass

        def kill(point):
            if point.epoch == 2:
                raise Killed

        path = tmp_path / "new folder" / "training.safetensors"
        with pytest.raises(Killed):
            trainer.train(NETWORK, data, seed=3, seconds=60, on_epoch=kill, checkpoint=path)
        seen = []
        resumed = trainer.train(NETWORK, data, seed=3, seconds=60, on_epoch=seen.append, checkpoint=path)
        assert [point.epoch for point in seen] == [3, 4]
        assert [one.train_loss for one in resumed.trial.curve] == [one.train_loss for one in whole.trial.curve]
        for name, array in whole.weights.items():
            np.testing.assert_array_equal(array, resumed.weights[name])
        # Once more, there is nothing left to do.
        again = trainer.train(NETWORK, data, seed=3, seconds=60, on_epoch=seen.append, checkpoint=path)
        assert len(seen) == 2 and again.trial.curve == resumed.trial.curve
        np.testing.assert_array_equal(again.weights["a.kernel"], whole.weights["a.kernel"])

    def test_with_a_checkpoint_of_another_training_or_a_broken_one_it_begins_anew(self, trainer, tmp_path):
        path, data = tmp_path / "training.safetensors", three_classes()

        def train(seed):
            return trainer.train(NETWORK, data, seed=seed, seconds=60, on_epoch=lambda _: None, checkpoint=path)

        first, other = train(1), train(2)
        path.write_bytes(path.read_bytes()[:-100])
        again = train(1)
        np.testing.assert_array_equal(again.weights["a.kernel"], first.weights["a.kernel"])
        assert (again.weights["a.kernel"] != other.weights["a.kernel"]).any()
        with pytest.raises(InfraFailure, match="cannot be written"):
            trainer.train(
                NETWORK, three_classes(), seed=1, seconds=60, on_epoch=lambda _: None, checkpoint=path / "below"
            )

    def test_where_time_is_short_the_learning_rate_comes_down_before_it_is_over(self, monkeypatch):
        from automcu.training import loop

        rates = []

        class Slow(loop.NesterovSGD):
            def step(self, rate, count):
                rates.append(rate)
                time.sleep(0.005)
                super().step(rate, count)

        monkeypatch.setattr(loop, "NesterovSGD", Slow)
        data, recipe = three_classes(count=320), Recipe(epochs=1000, batch_size=16, learning_rate=1.0)
        trial = TorchTrainer(recipe, 1).train(NETWORK, data, seed=0, seconds=1.5, on_epoch=lambda _: None).trial
        assert trial.ended == "deadline" and trial.seconds < 3
        assert 5 < len(trial.curve) < 40 and max(rates) > 0.3 and rates[-1] < 0.3 * max(rates)

    def test_the_first_epochs_see_the_first_of_the_images(self, monkeypatch):
        from automcu.training import loop

        seen = []
        batch_of = loop.batch_of

        def noted(images, labels, chosen, *rest):
            seen.append(sorted(chosen.tolist()))
            return batch_of(images, labels, chosen, *rest)

        monkeypatch.setattr(loop, "batch_of", noted)
        recipe = Recipe(epochs=4, batch_size=16, learning_rate=0.05, shares=(0.25, 0.01, 0.5))
        train = TorchTrainer(recipe, 1).train
        trained = train(NETWORK, three_classes(count=192), seed=0, seconds=60, on_epoch=lambda _: None)
        assert len(trained.trial.curve) == 4 and trained.trial.ended == "completed"
        # Batches of 16; an incomplete one is left out, and there is always one.
        last = [max(map(max, batches)) for batches in (seen[:1], seen[1:2], seen[2:5])]
        assert 0 < last[0] < 24 and last[1] == 15 and 24 < last[2] < 48
        assert sorted(chain(*seen[5:])) == list(range(96))

    @given(st.lists(st.floats(0.05, 1), max_size=6), st.integers(0, 3), st.floats(0, 100))
    def test_what_is_shortened_ends_with_a_whole_epoch_that_there_is_time_for(self, shares, done, seconds):
        from automcu.training.loop import State

        recipe = Recipe(epochs=6, batch_size=8, shares=tuple(shares))
        state = State(NETWORK, recipe, np.arange(200) % 3, 0, torch.device("cpu"))
        seen = [max(round(share * 200), 8) // 8 for share in [*shares, *[1.0] * 6][:6]]
        state.curve = [EpochPoint(1, 0.0, 0.0, 0.0)] * done
        state.step = sum(seen[:done])
        state.fit_into(seconds, step_seconds=0.5, validation_seconds=2.0)
        kept = [sum(seen[:epochs]) for epochs in range(done, 7)].index(state.steps)
        cost = [0.5 * count + 2.0 for count in seen[done:]]
        assert sum(cost[:kept]) <= seconds
        assert kept == 6 - done or sum(cost[: kept + 1]) > seconds
        state.fit_into(1e6, step_seconds=0.5, validation_seconds=2.0)  # the machine was only busy for a while
        assert state.steps == state.planned == sum(seen)

    def test_fewer_images_than_a_batch(self):
        data = three_classes(count=12)
        trained = TorchTrainer(Recipe(epochs=2, batch_size=128), 1).train(
            NETWORK, data, seed=0, seconds=60, on_epoch=lambda _: None
        )
        assert len(trained.trial.curve) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch_size": 1},
        {"learning_rate": 0},
        {"label_smoothing": 1},
        {"averaging": 1},
        {"crop_padding": -1},
        {"cutout": -1},
        {"shares": (0.5, 0.0)},
        {"shares": (1.5,)},
        {"epochs": 2, "shares": (0.5, 0.5, 0.5)},
        {"mixup": -0.1},
    ],
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
