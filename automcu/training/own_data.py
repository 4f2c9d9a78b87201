"""A user's own images: a folder of image files, an `.npz` file, or Hugging Face-style Parquet shards.

All of it is untrusted: it becomes a `LabelledImages` with at least one image, or a `DataError` that names the file.
"""

import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from automcu.architecture import Task
from automcu.errors import DataError
from automcu.training.image_file import decode
from automcu.training.shards import LabelledImages, find_shards, load_shards

_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
_MOST_BYTES = 8_000_000_000
# A damaged or encrypted archive; NotImplementedError is a RuntimeError.
_BROKEN_NPZ = (OSError, ValueError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True, slots=True)
class OwnData:
    """Images at `path`:

    - a folder with a folder of image files for each class, in `train` and `test`, or by themselves, in which case a
      fixed fifth of each class is the test set. With `fit`, images of another size or colour mode than the task's are
      scaled and converted; else they are refused.
    - an `.npz` file with `x_train` (uint8, NHWC or NHW) and `y_train`, and `x_test` and `y_test` where there is a test
      set; where there is none, a fixed fifth of each class is.
    - a folder of `train-*.parquet` and `test-*.parquet` with the columns `image` (or `img`) and `label`.
    """

    path: Path
    fit: bool = False
    label: str = "label"

    @property
    def in_shards(self) -> bool:
        """Whether these are Parquet files."""
        return any(self.path.glob("*.parquet"))


def load_own(own: OwnData, task: Task, split: Literal["train", "test"], cache: Path) -> tuple[LabelledImages, bool]:
    """The images of one split; or all there are, and True, where the source has no test set of its own.

    Raises `DataError` for what is missing, corrupt, or not as the task says.
    """
    if not own.path.exists():
        raise DataError(f"{own.path} does not exist; correct data.path")
    if own.path.is_file():
        return _npz(own.path, task, split)
    if not own.in_shards:
        return _image_folder(own, task, split)
    shards = find_shards(own.path, split)
    if not shards:
        raise DataError(f"{own.path} holds no {split}-*.parquet; put the {split} shards there")
    return load_shards(shards, own.label, task.input_shape, task.class_count, cache), False


def _image_folder(own: OwnData, task: Task, split: str) -> tuple[LabelledImages, bool]:
    train = own.path / "train"
    whole = not (train.is_dir() and (own.path / "test").is_dir())
    if whole and train.is_dir() and _folders(train):
        raise DataError(
            f"{own.path} has a folder train but no folder test; name one test, or move the folders of classes from "
            "train up into it, and a fifth of each will be the test set"
        )
    classes = _folders(own.path if whole else train)
    folder = own.path if whole else own.path / split
    if len(classes) != task.class_count:
        shown = ", ".join(classes[:5]) + (", ..." if len(classes) > 5 else "")
        raise DataError(
            f"{own.path} has {len(classes)} folders of images ({shown or 'none'}), but the task has {task.class_count} "
            "classes; correct data.path or task.class_count"
        )
    # Names alone, so that an odd one is told before a search and not after it.
    if not whole and (unknown := sorted(set(_folders(own.path / "test")) - set(classes))):
        raise DataError(
            f"{own.path / 'test' / unknown[0]} is of a class that {train} does not have; add it there or remove it"
        )
    files = [(path, label) for label, name in enumerate(classes) for path in _images_in(folder / name)]
    if not files:
        raise DataError(
            f"the folders of classes in {folder} hold no image file ({', '.join(sorted(_SUFFIXES))}); put the images "
            "right into them"
        )
    images = np.empty((len(files), *task.input_shape), np.uint8)

    def fill(row: int) -> None:
        path, _ = files[row]
        images[row] = decode(path, str(path), task.input_shape, fit=own.fit)

    with ThreadPoolExecutor() as pool:
        for _ in pool.map(fill, range(len(files))):
            pass
    return LabelledImages(images, np.array([label for _, label in files], np.int64), tuple(classes)), whole


def _folders(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise DataError(f"cannot read {folder} ({error.strerror}); correct data.path") from None


def _images_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES and path.name[0] != ".")


def _npz(path: Path, task: Task, split: str) -> tuple[LabelledImages, bool]:
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {info.filename.removesuffix(".npy"): info.file_size for info in archive.infolist()}
        whole = "x_test" not in sizes
        images_name, labels_name = ("x_train", "y_train") if whole else (f"x_{split}", f"y_{split}")
        if sizes.get(images_name, 0) + sizes.get(labels_name, 0) > _MOST_BYTES:
            raise DataError(f"{images_name} and {labels_name} of {path} take over {_MOST_BYTES:,} bytes; keep fewer")
        with np.load(path, allow_pickle=False) as arrays:
            images, labels = arrays[images_name], arrays[labels_name]
    except DataError:
        raise
    except KeyError as error:
        raise DataError(f"{path} has no array {error}; save x_train, y_train, x_test and y_test in it") from None
    except _BROKEN_NPZ as error:
        raise DataError(f"cannot read {path} ({error}); save it again with numpy.savez, or correct data.path") from None
    images = images[..., None] if images.ndim == 3 else images
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    _require(path, images_name, images, labels_name, labels, task)
    names = tuple(str(number) for number in range(task.class_count))
    return LabelledImages(images, labels.astype(np.int64), names), whole


def _require(path: Path, images_name: str, images: Any, labels_name: str, labels: Any, task: Task) -> None:
    if not len(images):
        raise DataError(f"{images_name} of {path} holds no image; save some in it")
    if images.dtype != np.uint8:
        raise DataError(f"{images_name} of {path} is {images.dtype}; save pixels as uint8, from 0 to 255")
    if images.shape[1:] != task.input_shape:
        raise DataError(
            f"{images_name} of {path} holds images of shape {images.shape[1:]}, but the task takes {task.input_shape}; "
            "correct task.input_shape"
        )
    if labels.ndim != 1 or len(labels) != len(images) or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"{labels_name} of {path} is {labels.dtype} of shape {labels.shape}; save one whole number an image"
        )
    if len(labels) and not (labels.min() >= 0 and labels.max() < task.class_count):
        raise DataError(
            f"{labels_name} of {path} goes from {labels.min()} to {labels.max()}, but the task has {task.class_count} "
            "classes, counted from 0; correct task.class_count or the labels"
        )
