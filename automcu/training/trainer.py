"""The seam between a search and the training of one network, and its two implementations.

Importing this loads no torch; `TorchTrainer` does when it trains.
"""

import hashlib
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Protocol

import numpy as np

from automcu.errors import CandidateFailure, OutOfMemory
from automcu.graph.network import Network
from automcu.messages import RecipeChoice
from automcu.results import EpochPoint, TrialResult
from automcu.training.data import TrainingData
from automcu.training.recipe import Recipe, applied
from automcu.training.weights import parameter_count


@dataclass(frozen=True, slots=True, eq=False)
class TrainedNetwork:
    """A finished training and the weights it ended with, named and shaped as `Network.parameter_shapes` says."""

    trial: TrialResult
    weights: dict[str, np.ndarray]


class Trainer(Protocol):
    """Trains networks from scratch; contract suite: `tests/contracts/trainer.py`."""

    def train(
        self,
        network: Network,
        data: TrainingData,
        *,
        seed: int,
        seconds: float,
        on_epoch: Callable[[EpochPoint], None],
        checkpoint: Path | None = None,
        epochs: int | None = None,
    ) -> TrainedNetwork:
        """Train `network` for at most about `seconds`, and as if by a scheduler end it after so many `epochs`.

        `on_epoch` sees each point of the learning curve as it is known, and may raise to stop: what it raises is
        passed on. There is always at least one point, and the last one is of the weights returned. The same seed on
        the same CPU gives the same weights, unless time ran out. Where there is a file at `checkpoint`, the training
        goes on from it, unless it is broken or of another training; it is written after each epoch. Raises
        `CandidateFailure` when the network cannot be trained, for lack of memory with half the batch too, and
        `InfraFailure` when the checkpoint cannot be written.
        """
        ...

    def with_recipe(self, choice: RecipeChoice) -> "Trainer":
        """One that trains with what the training agent chose."""
        ...


@dataclass(frozen=True, slots=True)
class TorchTrainer:
    """Trains with torch on the GPU where there is one, else on `threads` CPU threads."""

    recipe: Recipe
    threads: int

    def train(
        self,
        network: Network,
        data: TrainingData,
        *,
        seed: int,
        seconds: float,
        on_epoch: Callable[[EpochPoint], None],
        checkpoint: Path | None = None,
        epochs: int | None = None,
    ) -> TrainedNetwork:
        """See `Trainer.train`. What runs out of memory goes on with half the batch and the time that is left, from
        the last checkpoint if there is one."""
        from automcu.training.loop import train_network

        start = time.monotonic()

        def train(recipe: Recipe) -> TrainedNetwork:
            return train_network(
                network,
                data,
                recipe,
                threads=self.threads,
                seed=seed,
                seconds=seconds - (time.monotonic() - start),
                on_epoch=on_epoch,
                checkpoint=checkpoint,
                epochs=epochs,
            )

        with suppress(OutOfMemory):
            return train(self.recipe)
        # Here, and not while the error is handled, which keeps alive what the memory was needed for.
        try:
            trained = train(replace(self.recipe, batch_size=max(self.recipe.batch_size // 2, 2)))
        except OutOfMemory as error:
            raise CandidateFailure(str(error)) from None
        return replace(trained, trial=replace(trained.trial, halved_batch=True))

    def with_recipe(self, choice: RecipeChoice) -> "TorchTrainer":
        """See `Trainer.with_recipe`."""
        return replace(self, recipe=applied(self.recipe, choice))


@dataclass(frozen=True, slots=True)
class DummyTrainer:
    """Trains nothing: random weights, and an accuracy that grows with the number of parameters, plus noise.

    For tests and benchmarks of everything around a training. It looks at no image.
    """

    epochs: int = 3
    noise: float = 0.01

    def train(
        self,
        network: Network,
        data: TrainingData,
        *,
        seed: int,
        seconds: float,
        on_epoch: Callable[[EpochPoint], None],
        checkpoint: Path | None = None,
        epochs: int | None = None,
    ) -> TrainedNetwork:
        """See `Trainer.train`."""
        start = time.monotonic()
        digest = hashlib.sha256(f"{seed} {network.input_shape} {network.layers}".encode()).digest()
        rng = np.random.default_rng(list(digest))
        parameters = parameter_count(network)
        best = parameters / (parameters + 20_000) + self.noise * rng.standard_normal()
        curve: list[EpochPoint] = []
        while len(curve) < self.epochs and len(curve) != epochs:
            epoch = len(curve) + 1
            accuracy = float(np.clip(best * epoch / (epoch + 0.5), 0, 1))
            curve.append(EpochPoint(epoch, 1 - accuracy, accuracy, time.monotonic() - start))
            on_epoch(curve[-1])
            if time.monotonic() - start >= seconds:
                break
        trial = TrialResult(
            curve=tuple(curve),
            ended="completed" if len(curve) == self.epochs else "scheduler" if len(curve) == epochs else "deadline",
            seed=seed,
            seconds=time.monotonic() - start,
        )
        return TrainedNetwork(trial, _random_weights(network, rng))

    def with_recipe(self, choice: RecipeChoice) -> "DummyTrainer":
        """The same one: it has no recipe."""
        return self


def _random_weights(network: Network, rng: np.random.Generator) -> dict[str, np.ndarray]:
    found = {}
    for name, shape in network.parameter_shapes.items():
        match name.rsplit(".", 1)[1]:
            case "kernel":
                found[name] = rng.normal(0, (2 / prod(shape[1:])) ** 0.5, shape).astype(np.float32)
            case "gamma" | "variance":
                found[name] = np.ones(shape, np.float32)
            case _:
                found[name] = np.zeros(shape, np.float32)
    return found
