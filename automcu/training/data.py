"""Data sets by name: where they are looked for, and how they are split into training, validation and test images.

The test images can be had only through `load_test`; `load_training` opens no test shard. `digits` ships inside
scikit-learn, a user's own images come as `own_data` says, the others are Parquet shards
(`<root>/<dataset>/train-*.parquet`) or torchvision's download.
Images are uint8 NHWC, labels int64.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from automcu.architecture import Task
from automcu.errors import ConfigError, DataError
from automcu.training.own_data import OwnData, load_own
from automcu.training.shards import LabelledImages, find_shards, load_shards
from automcu.training.teacher import Teacher

TEST_SHARE = 0.2
TEST_SEED = 20240
"""The seed of the fixed test split of data that comes without one."""
_DOWNLOAD_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True, eq=False)
class TrainingData:
    """What a run may see before its end: images to train on and, apart from them, images to validate on. The search
    trains on the first `search_images`, None for all; the final phase on all. `teacher` is what recipes with
    distillation learn from."""

    images: np.ndarray
    labels: np.ndarray
    validation_images: np.ndarray
    validation_labels: np.ndarray
    class_names: tuple[str, ...]
    search_images: int | None = None
    teacher: Teacher | None = None

    def for_search(self) -> "TrainingData":
        """What the candidates of the search are trained on; no image is copied."""
        count = self.search_images
        return replace(self, images=self.images[:count], labels=self.labels[:count])

    def with_validation_in_training(self) -> "TrainingData":
        """The same, with the validation images among those to train on: for the last training, when all is chosen."""
        return replace(
            self,
            images=np.concatenate([self.images, self.validation_images]),
            labels=np.concatenate([self.labels, self.validation_labels]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class TestData:
    """What only the final evaluation may see."""

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Sharded:
    label: str
    torchvision: str


_SHARDED = {
    "cifar10": _Sharded(label="label", torchvision="CIFAR10"),
    "cifar100": _Sharded(label="fine_label", torchvision="CIFAR100"),
    "mnist": _Sharded(label="label", torchvision="MNIST"),
    "fashion_mnist": _Sharded(label="label", torchvision="FashionMNIST"),
}


def user_cache() -> Path:
    """The user's cache folder for AutoMCU: `$XDG_CACHE_HOME/automcu` or `~/.cache/automcu`."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "automcu"


def data_roots(configured: str | None) -> tuple[Path, ...]:
    """Where data sets are looked for, first hit wins: the configured folder, `$AUTOMCU_DATA`, `./data`,
    `../shared/data`, the user's cache. Absolute, so that they mean the same in every process."""
    named = [root for root in (configured, os.environ.get("AUTOMCU_DATA")) if root]
    here = Path.cwd()
    roots = [Path(root).expanduser().absolute() for root in named]
    return (*roots, here / "data", here.parent / "shared" / "data", user_cache())


def load_training(
    task: Task,
    roots: Sequence[Path],
    *,
    validation_share: float,
    max_images: int | None,
    seed: int,
    own: OwnData | None = None,
) -> TrainingData:
    """The training images of the task's data set, with `validation_share` of each class held out for validation.

    They are looked for by the data set's name below `roots`, unless `own` says where they are. `max_images` has
    the search train on a class-balanced subset of the training part. Split and subset follow from `seed` alone.

    Raises `DataError` when the data is missing, corrupt or disagrees with the task, `ConfigError` for bad settings.
    """
    if not 0 < validation_share < 1:
        raise ConfigError(f"validation_share is {validation_share}; choose it between 0 and 1, for example 0.1")
    if max_images is not None and max_images < task.class_count:
        raise ConfigError(f"max_images is {max_images} for {task.class_count} classes; raise it to at least that")
    found = _load(task, roots, "train", own)
    alone = np.flatnonzero(np.bincount(found.labels) == 1)
    if len(alone):
        raise DataError(
            f"class {found.class_names[alone[0]]} has one image to train and validate on, which is too few; add images"
        )
    rng = np.random.default_rng(seed)
    # In no order, so that the first so many of them are a fair sample: for calibration, for quick measurements.
    training, validation = map(rng.permutation, stratified_split(found.labels, validation_share, rng))
    if max_images is not None:
        chosen = _class_balanced(found.labels[training], max_images, rng)
        training = np.concatenate([rng.permutation(training[chosen]), np.delete(training, chosen)])
    return TrainingData(
        found.images[training],
        found.labels[training],
        found.images[validation],
        found.labels[validation],
        found.class_names,
        max_images,
    )


def load_test(task: Task, roots: Sequence[Path], own: OwnData | None = None) -> TestData:
    """The test images of the task's data set: for the final evaluation only. Raises as `load_training` does."""
    found = _load(task, roots, "test", own)
    return TestData(found.images, found.labels, found.class_names)


def require_test(task: Task, roots: Sequence[Path], own: OwnData | None = None) -> None:
    """Make sure that `load_test` will do: better told now than after a search. The images are read and forgotten.

    Raises as `load_test` does, and `DataError` when training shards are there but no test shards.
    """
    if own is None and task.dataset in _SHARDED:
        folders = [root / task.dataset for root in roots]
        shards = {split: any(find_shards(folder, split) for folder in folders) for split in ("train", "test")}
        if shards["train"] and not shards["test"]:  # before a download is tried
            raise DataError(
                f"{task.dataset} has training shards but no test-*.parquet; put them beside the training shards"
            )
    load_test(task, roots, own)


def stratified_split(labels: np.ndarray, share: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Indices (kept, held out) with `share` of every class held out: of a class of several images at least one, and
    never all; of a class of one image none."""
    kept, held_out = [], []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        count = min(max(round(len(members) * share), 1), len(members) - 1)
        held_out.append(members[:count])
        kept.append(members[count:])
    return np.sort(np.concatenate(kept)), np.sort(np.concatenate(held_out))


def _class_balanced(labels: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Indices of `count` images, drawn from the classes in turn: as equal a number of each as there is."""
    turn = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        turn[members] = rng.permutation(len(members))
    return np.sort(np.lexsort((labels, turn))[:count])


def _load(task: Task, roots: Sequence[Path], split: Literal["train", "test"], own: OwnData | None) -> LabelledImages:
    if own is not None:
        found, whole = load_own(own, task, split, user_cache() / "decoded")
        found = _part(found, split) if whole else found
    elif task.dataset == "digits":
        found = _part(_load_digits(), split)
    elif task.dataset in _SHARDED:
        found = _load_sharded(task, _SHARDED[task.dataset], roots, split)
    elif task.dataset == "own":
        raise DataError(
            "images of your own are anywhere; say where with data=own data.path=PATH, or verify --data PATH"
        )
    else:
        known = ", ".join(["digits", *_SHARDED])
        raise ConfigError(f"data set {task.dataset!r} is unknown; choose one of {known}")
    if found.images.shape[1:] != task.input_shape or len(found.class_names) != task.class_count:
        raise DataError(
            f"{task.dataset} has images of shape {found.images.shape[1:]} in {len(found.class_names)} classes, but the "
            f"task says {task.input_shape} and {task.class_count}; correct task.input_shape or task.class_count"
        )
    empty = np.flatnonzero(np.bincount(found.labels, minlength=task.class_count) == 0)
    if len(empty):
        raise DataError(
            f"{task.dataset} has no {split} image of class {empty[0]} ({found.class_names[empty[0]]}); "
            "add some, or correct task.class_count"
        )
    return found


def _part(whole: LabelledImages, split: Literal["train", "test"]) -> LabelledImages:
    """One split of data that comes without a test set."""
    training, test = stratified_split(whole.labels, TEST_SHARE, np.random.default_rng(TEST_SEED))
    chosen = training if split == "train" else test
    return LabelledImages(whole.images[chosen], whole.labels[chosen], whole.class_names)


def _load_digits() -> LabelledImages:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = digits.target.astype(np.int64)
    return LabelledImages(images, labels, tuple(str(name) for name in digits.target_names))


def _load_sharded(task: Task, source: _Sharded, roots: Sequence[Path], split: str) -> LabelledImages:
    for root in roots:
        shards = find_shards(root / task.dataset, split)
        if shards:
            return load_shards(shards, source.label, task.input_shape, task.class_count, user_cache() / "decoded")
    try:
        return _download(source.torchvision, user_cache() / "torchvision", split)
    except (OSError, RuntimeError) as error:
        searched = ", ".join(str(root / task.dataset) for root in roots)
        raise DataError(
            f"no {split} shards of {task.dataset} in {searched}, and the download failed ({error}); put "
            f"{split}-*.parquet into one of these folders, name their parent as data.root or in $AUTOMCU_DATA, "
            "or connect to the network"
        ) from None


def _download(name: str, folder: Path, split: str) -> LabelledImages:
    """torchvision's copy; its archive holds both splits, of which only the one asked for is read into memory."""
    import socket

    from torchvision import datasets

    make: Callable[..., Any] = getattr(datasets, name)
    patience = socket.getdefaulttimeout()
    # torchvision sets none of its own, and a stalled download would hang for ever.
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT_SECONDS)
    try:
        found = make(str(folder), train=split == "train", download=True)
    finally:
        socket.setdefaulttimeout(patience)
    images = np.asarray(found.data)
    return LabelledImages(
        images if images.ndim == 4 else images[..., None],
        np.asarray(found.targets, np.int64),
        tuple(found.classes),
    )
