"""Learning from a teacher."""

from dataclasses import replace

import numpy as np
import pytest

from automcu.errors import ConfigError
from automcu.training.recipe import Recipe
from automcu.training.teacher import Teacher
from automcu.training.trainer import TorchTrainer
from tests.contracts.trainer import NETWORK, three_classes


def trained(recipe, data, seed=0, **options):
    return TorchTrainer(recipe, 1).train(NETWORK, data, seed=seed, seconds=60, on_epoch=lambda _: None, **options)


@pytest.fixture(scope="module")
def teacher():
    return Teacher(NETWORK, trained(Recipe(epochs=20, batch_size=16), three_classes()).weights)


def with_wrong_labels(teacher):
    """Every image's label is of another class; the validation's are right."""
    data = three_classes(count=192)
    return replace(data, labels=(data.labels + 1) % 3, teacher=teacher)


@pytest.mark.parametrize(("mixup", "batch_size"), [(0.0, 16), (0.2, 32)])
def test_a_pupil_believes_its_teacher_as_far_as_the_recipe_says(teacher, mixup, batch_size):
    recipe = Recipe(epochs=20, batch_size=batch_size, mixup=mixup)
    believed = {
        share: trained(replace(recipe, distillation=share), with_wrong_labels(teacher)).trial.validation_accuracy
        for share in (0.0, 1.0)
    }
    assert believed[0.0] < 0.2
    assert believed[1.0] > 0.9


def test_a_recipe_with_distillation_needs_a_teacher():
    with pytest.raises(ConfigError, match="no teacher"):
        trained(Recipe(distillation=0.5), three_classes())


@pytest.mark.parametrize("wrong", [{"distillation": -0.1}, {"distillation": 1.1}, {"temperature": 0.0}])
def test_what_is_out_of_range_is_refused(wrong):
    with pytest.raises(ConfigError, match="distillation in"):
        Recipe(**wrong)


def test_a_lesson_goes_on_from_its_checkpoint_with_the_same_teacher_only(teacher, tmp_path):
    recipe = Recipe(epochs=4, batch_size=16, learning_rate=0.05, distillation=0.5, averaging=0.9)
    data = replace(three_classes(), teacher=teacher)
    whole = trained(recipe, data)

    class Killed(BaseException):
        pass

    def kill(point):
        if point.epoch == 2:
            raise Killed

    path = tmp_path / "training.safetensors"
    with pytest.raises(Killed):
        TorchTrainer(recipe, 1).train(NETWORK, data, seed=0, seconds=60, on_epoch=kill, checkpoint=path)
    other = Teacher(NETWORK, {name: array + 1 for name, array in teacher.weights.items()})
    copied = tmp_path / "copied.safetensors"
    copied.write_bytes(path.read_bytes())
    with_other = trained(recipe, replace(data, teacher=other))
    begun_anew = trained(recipe, replace(data, teacher=other), checkpoint=copied)
    for name, array in with_other.weights.items():
        np.testing.assert_array_equal(array, begun_anew.weights[name])
    resumed = trained(recipe, data, checkpoint=path)
    for name, array in whole.weights.items():
        np.testing.assert_array_equal(array, resumed.weights[name])


def test_the_teacher_stays_as_it_is(teacher):
    before = {name: array.copy() for name, array in teacher.weights.items()}
    trained(Recipe(epochs=2, batch_size=16, distillation=1.0), replace(three_classes(), teacher=teacher))
    for name, array in before.items():
        np.testing.assert_array_equal(array, teacher.weights[name])
