"""The same loop on an accelerator: close to the CPU's result, and resumed as if it had never stopped."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from automcu.results import EpochPoint
from automcu.training.recipe import Recipe
from automcu.training.trainer import TorchTrainer
from tests.contracts.trainer import NETWORK, three_classes

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU that torch can use"),
]
RECIPE = Recipe(
    epochs=4, batch_size=16, learning_rate=0.05, averaging=0.9, flip=True, crop_padding=1, cutout=3, mixup=0.2
)


def test_a_gpu_trains_as_a_cpu_does(monkeypatch: pytest.MonkeyPatch) -> None:
    def losses() -> list[float]:
        trained = TorchTrainer(RECIPE, 1).train(NETWORK, three_classes(), seed=3, seconds=60, on_epoch=lambda _: None)
        return [point.train_loss for point in trained.trial.curve]

    on_gpu = losses()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    np.testing.assert_allclose(on_gpu, losses(), rtol=0.02)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_a_training_on_a_gpu_goes_on_from_its_checkpoint(bfloat16: bool, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def kill(point: EpochPoint) -> None:
        if point.epoch == 2:
            raise Killed

    trainer, path = TorchTrainer(replace(RECIPE, bfloat16=bfloat16), 1), tmp_path / "checkpoint"
    with pytest.raises(Killed):
        trainer.train(NETWORK, three_classes(), seed=3, seconds=60, on_epoch=kill, checkpoint=path)
    trial = trainer.train(NETWORK, three_classes(), seed=3, seconds=60, on_epoch=lambda _: None, checkpoint=path).trial
    assert [point.epoch for point in trial.curve] == [1, 2, 3, 4] and trial.ended == "completed"
    assert trial.validation_accuracy > 0.8
