"""The training loop in torch: the whole data set as one uint8 tensor on the device, no loader, no workers.

On the CPU the result follows from the seed and the number of threads; torch's global generator has no part in it. A
training that goes on from a checkpoint ends with the weights of one that never stopped.
"""

import hashlib
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from automcu.errors import CandidateFailure, ConfigError, OutOfMemory
from automcu.graph.network import Network
from automcu.results import EpochPoint, TrialResult
from automcu.training.augment import Batch, batch_of
from automcu.training.checkpoint import load_checkpoint, save_checkpoint
from automcu.training.data import TrainingData
from automcu.training.model import TorchNetwork, normalise
from automcu.training.optimizer import AdamW, Average, NesterovSGD, share_of_peak
from automcu.training.processor import computes_bfloat16, prepare
from automcu.training.recipe import Recipe
from automcu.training.teacher import Teacher
from automcu.training.trainer import TrainedNetwork

_VALIDATION_BATCH = 500
_LOOK_AT_LOSS = 32
"""Steps after which the loss is looked at: each look makes a GPU wait."""


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Images (uint8, NHWC) and labels, on the device."""

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
    checkpoint: Path | None = None,
    epochs: int | None = None,
) -> TrainedNetwork:
    """Train `network` from scratch, or from where `checkpoint` leaves off; see `Trainer.train`."""
    start = time.monotonic()
    if recipe.distillation and data.teacher is None:
        raise ConfigError("the recipe has distillation and the data no teacher; give it one, or set distillation to 0")
    prepare(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with memory_guard(recipe):
        training = on_device(data.images, data.labels, device)
        validation = on_device(data.validation_images, data.validation_labels, device)
        state = State(network, recipe, data.labels, seed, device, data.teacher if recipe.distillation else None)
        if checkpoint is not None:
            state.restore(checkpoint)
    began = start - (state.curve[-1].seconds if state.curve else 0.0)
    late, validating, validated, resumed = False, 0.0, 0.0, state.step
    while state.step < state.steps and not late and len(state.curve) != epochs:
        with memory_guard(recipe):
            losses = []
            for loss in state.epoch(training):
                losses.append(loss)
                if len(losses) % _LOOK_AT_LOSS == 0:
                    _require_finite(loss.item())
                # The validation that must follow will take as long as the last one did.
                late = time.monotonic() - start + validating >= seconds
                if late:
                    break
            mean = torch.stack(losses).mean().item()
            _require_finite(mean)
            before = time.monotonic()
            accuracy = _accuracy(state.kept, validation)
            validating = time.monotonic() - before
            validated += validating
        state.curve.append(EpochPoint(len(state.curve) + 1, mean, accuracy, time.monotonic() - began))
        spent = time.monotonic() - start
        state.fit_into(seconds - spent, (spent - validated) / (state.step - resumed), validating)
        if checkpoint is not None and not late:
            state.save(checkpoint)
        on_epoch(state.curve[-1])
    trial = TrialResult(
        curve=tuple(state.curve),
        ended="completed" if state.step == state.planned else "scheduler" if len(state.curve) == epochs else "deadline",
        seed=seed,
        seconds=time.monotonic() - began,
    )
    return TrainedNetwork(trial, state.kept.parameters_by_name())


class State:
    """All that a training's future depends on. `kept` is the model that is validated and handed over, `teacher` the one
    to learn from where the recipe has distillation.

    `labels` are those of the training images; `step` of `steps` are done, which are as many as the recipe `planned` or,
    where time is short, fewer; `curve` has a point for each epoch.
    """

    def __init__(
        self,
        network: Network,
        recipe: Recipe,
        labels: np.ndarray,
        seed: int,
        device: torch.device,
        teacher: Teacher | None = None,
    ) -> None:
        images = len(labels)
        self._recipe = recipe
        self._device = device.type
        self._bfloat16 = recipe.bfloat16 and computes_bfloat16(device)
        self._batch = min(recipe.batch_size, images)
        self._seen = [max(round(share * images), self._batch) for share in recipe.shares_by_epoch]
        self._ends = list(accumulate(seen // self._batch for seen in self._seen))
        self._generator = torch.Generator().manual_seed(seed)
        self._model = TorchNetwork(network)
        self._model.initialise(self._generator)
        self._model.to(device)
        kind = NesterovSGD if recipe.optimizer == "sgd" else AdamW
        self._optimizer = kind(self._model.parameters(), recipe.weight_decay)
        self.kept = TorchNetwork(network).to(device) if recipe.averaging else self._model
        self._average = Average(self._model, self.kept, recipe.averaging) if recipe.averaging else None
        self.step = 0
        self.planned = self.steps = self._ends[-1]
        self.curve: list[EpochPoint] = []
        self._teacher = None if teacher is None else _frozen(teacher, device)
        # Without the batch size: what runs out of memory goes on with half of it.
        described = f"{network.input_shape} {network.layers} {replace(recipe, batch_size=2)} {self._bfloat16} {seed}"
        described += "" if teacher is None else f" {teacher.fingerprint}"
        self._identity = hashlib.sha256(described.encode() + labels.tobytes()).hexdigest()

    def fit_into(self, seconds: float, step_seconds: float, validation_seconds: float) -> None:
        """Plan as many whole epochs as there is time for, each with its validation, and at most those of the recipe, so
        that the learning rate comes down before the time is over. Where there is always time enough, only the seed
        decides."""
        affordable = [
            end
            for ahead, end in enumerate(self._ends[len(self.curve) :], start=1)
            if (end - self.step) * step_seconds + ahead * validation_seconds <= seconds
        ]
        self.steps = max(affordable, default=self.step)

    def epoch(self, data: Split) -> Iterator[Tensor]:
        """Train for one epoch, and give the loss of each step."""
        self._model.train()
        order = torch.randperm(self._seen[len(self.curve)], generator=self._generator)
        for chosen in torch.split(order, self._batch)[: len(order) // self._batch]:
            loss = self._loss(batch_of(data.images, data.labels, chosen, self._recipe, self._generator))
            loss.backward()  # type: ignore[no-untyped-call]
            rate = self._recipe.learning_rate * share_of_peak(self._recipe.schedule, self.step / self.steps)
            self.step += 1
            self._optimizer.step(rate, self.step)
            if self._average is not None:
                self._average.update(self.step)
            yield loss.detach()

    def _loss(self, batch: Batch) -> Tensor:
        with torch.autocast(self._device, torch.bfloat16, enabled=self._bfloat16):
            logits = self._model(batch.images).float()
            if self._teacher is not None:
                with torch.no_grad():
                    wanted = self._teacher(batch.images).float()
        smoothing = self._recipe.label_smoothing
        loss = F.cross_entropy(logits, batch.labels, label_smoothing=smoothing)
        if batch.share < 1.0:
            others = F.cross_entropy(logits, batch.other_labels, label_smoothing=smoothing)
            loss = torch.lerp(others, loss, batch.share)
        if self._teacher is None:
            return loss
        return torch.lerp(loss, _distance(logits, wanted, self._recipe.temperature), self._recipe.distillation)

    def save(self, path: Path) -> None:
        """Write a checkpoint, between two epochs."""
        curve = [asdict(point) for point in self.curve]
        facts = {"training": self._identity, "epochs": self._ends.index(self.steps) + 1, "curve": curve}
        save_checkpoint(path, {**self._tensors(), "generator": self._generator.get_state()}, facts)

    def restore(self, path: Path) -> None:
        """Go on from the checkpoint at `path`, if there is a whole one of the same training."""
        found = load_checkpoint(path)
        if found is None:
            return
        tensors, facts = found
        own = self._tensors()
        if facts.get("training") != self._identity or tensors.keys() != own.keys() | {"generator"}:
            return
        for name, tensor in own.items():
            tensor.copy_(tensors[name])
        self._generator.set_state(tensors["generator"])
        self.curve = [EpochPoint(**point) for point in facts["curve"]]  # type: ignore[attr-defined]
        self.step = self._ends[len(self.curve) - 1]
        self.steps = self._ends[int(facts["epochs"]) - 1]  # type: ignore[call-overload]

    def _tensors(self) -> dict[str, Tensor]:
        """Live tensors by name."""
        found = {f"model.{name}": tensor for name, tensor in self._model.state_dict().items()}
        if self._average is not None:
            found |= {f"average.{name}": tensor for name, tensor in self.kept.state_dict().items()}
        for slot, tensors in enumerate(self._optimizer.state):
            found |= {f"optimizer.{slot}.{number}": tensor for number, tensor in enumerate(tensors)}
        return found


def _frozen(teacher: Teacher, device: torch.device) -> TorchNetwork:
    model = TorchNetwork(teacher.network)
    model.load(teacher.weights)
    return model.to(device).eval()


def _distance(logits: Tensor, wanted: Tensor, temperature: float) -> Tensor:
    """The divergence of two softened outputs, in the gradients' unsoftened scale."""
    own, others = (F.log_softmax(one / temperature, dim=1) for one in (logits, wanted))
    return temperature**2 * F.kl_div(own, others, reduction="batchmean", log_target=True)


def on_device(images: np.ndarray, labels: np.ndarray, device: torch.device) -> Split:
    """Images and labels as tensors; on the CPU they share the arrays' memory."""
    with warnings.catch_warnings():
        # The arrays may be read-only shared memory; they are only read here.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return Split(torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device))


def _require_finite(loss: float) -> None:
    if not np.isfinite(loss):
        raise CandidateFailure(f"the training loss became {loss}; lower the learning rate or change the network")


def _accuracy(model: TorchNetwork, data: Split) -> float:
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
def memory_guard(recipe: Recipe) -> Iterator[None]:
    """Tell lack of memory as `OutOfMemory`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # The CPU allocator has no exception type of its own.
        text = str(error).lower()
        if isinstance(error, RuntimeError) and "allocate memory" not in text and "out of memory" not in text:
            raise
        raise OutOfMemory(
            f"out of memory with batches of {recipe.batch_size}; run fewer trials at once or lower batch_size"
        ) from error
