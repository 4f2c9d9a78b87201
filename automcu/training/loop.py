"""The training loop in torch: the whole data set as one uint8 tensor, augmentation as one gather per batch.

On the CPU the result follows from the seed and the number of threads; torch's global generator has no part in it.
"""

import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from automcu.errors import CandidateFailure, InfraFailure
from automcu.graph.network import Network
from automcu.results import EpochPoint, TrialResult
from automcu.training.data import TrainingData
from automcu.training.model import TorchNetwork, normalise
from automcu.training.recipe import Recipe
from automcu.training.trainer import TrainedNetwork

_MOMENTUM = 0.9
_WARM_UP = 0.25
_VALIDATION_BATCH = 500


@dataclass(frozen=True, slots=True, eq=False)
class _Split:
    images: Tensor
    labels: Tensor


def train_network(
    network: Network,
    data: TrainingData,
    recipe: Recipe,
    *,
    threads: int,
    seed: int,
    seconds: float,
    on_epoch: Callable[[EpochPoint], None],
) -> TrainedNetwork:
    """Train `network` from scratch; see `Trainer.train`."""
    start = time.monotonic()
    torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    generator = torch.Generator().manual_seed(seed)
    with _memory_guard(recipe):
        model = TorchNetwork(network)
        model.initialise(generator)
        model.to(device)
        training = _on_device(data.images, data.labels, device)
        validation = _on_device(data.validation_images, data.validation_labels, device)
        optimizer = _NesterovSGD(model.parameters(), recipe)
    batch = min(recipe.batch_size, len(training.labels))
    steps_per_epoch = len(training.labels) // batch
    total = recipe.epochs * steps_per_epoch
    curve: list[EpochPoint] = []
    step, late, validating = 0, False, 0.0
    while step < total and not late:
        with _memory_guard(recipe):
            model.train()
            losses = []
            order = torch.randperm(len(training.labels), generator=generator)
            for chosen in torch.split(order, batch)[:steps_per_epoch]:
                losses.append(_loss(model, training, chosen, recipe, generator))
                optimizer.step(step / total)
                step += 1
                # The validation that must follow will take as long as the last one did.
                late = time.monotonic() - start + validating >= seconds
                if late:
                    break
            loss = torch.stack(losses).mean().item()
            if not np.isfinite(loss):
                raise CandidateFailure(
                    f"the training loss became {loss}; lower the learning rate or change the network"
                )
            before = time.monotonic()
            accuracy = _accuracy(model, validation)
            validating = time.monotonic() - before
        curve.append(EpochPoint(len(curve) + 1, loss, accuracy, time.monotonic() - start))
        on_epoch(curve[-1])
    trial = TrialResult(
        curve=tuple(curve),
        ended="completed" if step == total else "deadline",
        seed=seed,
        seconds=time.monotonic() - start,
    )
    return TrainedNetwork(trial, model.parameters_by_name())


def _on_device(images: np.ndarray, labels: np.ndarray, device: torch.device) -> _Split:
    with warnings.catch_warnings():
        # The arrays may be read-only shared memory; they are only read here.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return _Split(torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device))


class _NesterovSGD:
    """Stochastic gradient descent with Nesterov momentum (the update of `torch.optim.SGD`), decay on kernels only.

    Its own, because the first optimizer of `torch.optim` in a process loads torch's compiler, which takes seconds:
    far longer than a step, and every trial is a process.
    """

    def __init__(self, parameters: Iterable[Tensor], recipe: Recipe) -> None:
        self._pairs = [(parameter, torch.zeros_like(parameter)) for parameter in parameters]
        self._recipe = recipe

    @torch.no_grad()
    def step(self, progress: float) -> None:
        """Update by the gradients and drop them; `progress` is the share of all steps already taken."""
        rate = self._recipe.learning_rate * _triangle(progress)
        for parameter, velocity in self._pairs:
            gradient = parameter.grad
            if gradient is None:
                continue
            if parameter.ndim > 1:
                gradient = gradient.add(parameter, alpha=self._recipe.weight_decay)
            velocity.mul_(_MOMENTUM).add_(gradient)
            parameter.sub_(gradient.add(velocity, alpha=_MOMENTUM), alpha=rate)
            parameter.grad = None


def _triangle(progress: float) -> float:
    """Share of the peak learning rate: up from a tenth over the first quarter of all steps, then down to zero."""
    return min(0.1 + 0.9 * progress / _WARM_UP, (1 - progress) / (1 - _WARM_UP))


def _loss(model: TorchNetwork, data: _Split, chosen: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """The loss of one batch, with its gradients left on the parameters."""
    images = normalise(_augmented(data.images, chosen, recipe, generator))
    labels = data.labels[chosen.to(data.labels.device)]
    loss = F.cross_entropy(model(images), labels, label_smoothing=recipe.label_smoothing)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def _augmented(images: Tensor, chosen: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """The chosen images (uint8, NHWC), each shifted and mirrored at random: one gather by row and column."""
    rows = _positions(images.shape[1], len(chosen), recipe.crop_padding, generator)
    columns = _positions(images.shape[2], len(chosen), recipe.crop_padding, generator)
    if recipe.flip:
        mirrored = torch.rand(len(chosen), 1, generator=generator) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    where = (chosen[:, None, None], rows[:, :, None], columns[:, None, :])
    return images[tuple(index.to(images.device) for index in where)]


def _positions(extent: int, count: int, padding: int, generator: torch.Generator) -> Tensor:
    """For each of `count` images the `extent` source positions of a crop, reflected at the borders."""
    shift = torch.randint(-padding, padding + 1, (count, 1), generator=generator)
    last = extent - 1
    return (last - (last - (torch.arange(extent) + shift).abs()).abs()).clamp(min=0)


def _accuracy(model: TorchNetwork, data: _Split) -> float:
    """Share of `data` that is classified correctly. Raises `CandidateFailure` when the logits are not finite."""
    model.eval()
    correct = 0
    with torch.inference_mode():
        batches = (torch.split(tensor, _VALIDATION_BATCH) for tensor in (data.images, data.labels))
        for images, labels in zip(*batches, strict=True):
            logits = model(normalise(images))
            if not logits.isfinite().all():
                raise CandidateFailure("the trained network's logits are not finite; lower the learning rate")
            correct += int((logits.argmax(1) == labels).sum())
    return correct / len(data.labels)


@contextmanager
def _memory_guard(recipe: Recipe) -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # The CPU allocator has no exception type of its own.
        text = str(error).lower()
        if isinstance(error, RuntimeError) and "allocate memory" not in text and "out of memory" not in text:
            raise
        raise InfraFailure(
            f"out of memory with batches of {recipe.batch_size}; run fewer trials at once or lower batch_size"
        ) from error
