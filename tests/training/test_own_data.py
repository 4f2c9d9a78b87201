"""A user's own images, in all three forms: what is in them comes out, and whatever is wrong is told by name."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from automcu.architecture import Task
from automcu.errors import DataError
from automcu.training.data import TestData, TrainingData, load_test, load_training, require_test
from automcu.training.own_data import OwnData

TASK = Task("own", "own", (6, 5, 3), 3, "Classify images.")
NAMES = ("apple", "pear", "plum")


def pixels(number: int, shape=(6, 5, 3)) -> np.ndarray:
    """An image by which its number can be told."""
    return np.full(shape, number, np.uint8)


def train(own: OwnData, task: Task = TASK) -> TrainingData:
    return load_training(task, (), validation_share=0.25, max_images=None, seed=0, own=own)


def opened(own: OwnData, task: Task = TASK) -> TestData:
    return load_test(task, (), own)


def folders(root: Path, first: int, count: int, names=NAMES) -> None:
    for label, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(pixels(first + 10 * label + number)).save(root / name / f"{number}.png")


def numbers(images: np.ndarray) -> list[int]:
    return sorted(images[:, 0, 0, 0].tolist())


def make_images(root: Path, with_test: bool) -> OwnData:
    folders(root / "train" if with_test else root, 0, 8)
    if with_test:
        folders(root / "test", 100, 2)
    (root / "notes.txt").write_text("no image")
    (root / ".hidden").mkdir()
    return OwnData(root)


def make_npz(root: Path, with_test: bool) -> OwnData:
    arrays = {
        "x_train": np.stack([pixels(10 * label + number) for label in range(3) for number in range(8)]),
        "y_train": np.repeat(np.arange(3, dtype=np.uint8), 8)[:, None],
    }
    if with_test:
        arrays["x_test"] = np.stack([pixels(100 + 10 * label + number) for label in range(3) for number in range(2)])
        arrays["y_test"] = np.repeat(np.arange(3), 2)
    np.savez(root / "data.npz", **arrays)
    return OwnData(root / "data.npz")


def make_parquet(root: Path, with_test: bool, columns: Sequence[str] = ("img", "image")) -> OwnData:
    for split, first, count in (("train", 0, 8), ("test", 100, 2)):
        rows = []
        for label in range(3):
            for number in range(count):
                file = io.BytesIO()
                Image.fromarray(pixels(first + 10 * label + number)).save(file, "png")
                rows.append({column: {"bytes": file.getvalue()} for column in columns} | {"kind": label})
        pq.write_table(pa.Table.from_pylist(rows), root / f"{split}-00000-of-00001.parquet")
    return OwnData(root, label="kind")


def make_parquet_with_img(root: Path, with_test: bool) -> OwnData:
    return make_parquet(root, with_test, ["img"])


MAKERS = {"images": make_images, "npz": make_npz, "parquet": make_parquet, "img": make_parquet_with_img}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_set_with_a_test_set_is_read_whole(kind: str, tmp_path: Path) -> None:
    own = MAKERS[kind](tmp_path, True)
    require_test(TASK, (), own)
    found, test = train(own), opened(own)
    everything = [10 * label + number for label in range(3) for number in range(8)]
    assert numbers(np.concatenate([found.images, found.validation_images])) == everything
    assert len(found.validation_images) == 6  # two of each class
    assert numbers(test.images) == [100 + 10 * label + number for label in range(3) for number in range(2)]
    for images, labels in ((found.images, found.labels), (test.images, test.labels)):
        assert (images[:, 0, 0, 0] % 100 // 10 == labels).all() and labels.dtype == np.int64
    assert len(set(found.labels[:6])) > 1, "in the order of the classes, the first images would be of one class"
    assert found.class_names == (NAMES if kind == "images" else ("0", "1", "2"))


@pytest.mark.parametrize("kind", ["images", "npz"])
def test_without_a_test_set_a_fixed_fifth_of_each_class_is_one(kind: str, tmp_path: Path) -> None:
    own = MAKERS[kind](tmp_path, False)
    found, test = train(own), opened(own)
    seen = numbers(np.concatenate([found.images, found.validation_images]))
    assert np.bincount(test.labels).tolist() == [2, 2, 2]
    assert sorted(seen + numbers(test.images)) == [10 * label + number for label in range(3) for number in range(8)]
    other = load_training(TASK, (), validation_share=0.25, max_images=None, seed=9, own=own)
    assert not set(numbers(np.concatenate([other.images, other.validation_images]))) & set(numbers(test.images))


def test_images_of_other_sizes_and_modes_are_fitted_when_asked(tmp_path: Path) -> None:
    own = make_images(tmp_path, True)
    odd = tmp_path / "train" / "apple" / "photo.jpeg"
    Image.fromarray(pixels(200, (31, 40, 3))).convert("L").save(odd, quality=95)
    with pytest.raises(DataError, match=r"photo.jpeg is 31x40 of mode L.*data.fit=true"):
        train(own)
    found = train(OwnData(tmp_path, fit=True))
    assert 200 in np.concatenate([found.images, found.validation_images])[:, 0, 0, 0]


def broken_image(root: Path) -> OwnData:
    own = make_images(root, True)
    (root / "train" / "pear" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    return own


def extra_class(root: Path) -> OwnData:
    own = make_images(root, True)
    (root / "test" / "quince").mkdir()
    return own


def two_classes(root: Path) -> OwnData:
    folders(root, 0, 3, NAMES[:2])
    return OwnData(root)


def empty_class(root: Path) -> OwnData:
    own = make_images(root, True)
    for file in (root / "train" / "plum").iterdir():
        file.unlink()
    return own


def one_image(root: Path) -> OwnData:
    own = make_images(root, True)
    for file in sorted((root / "train" / "plum").iterdir())[1:]:
        file.unlink()
    return own


def no_images(root: Path) -> OwnData:
    for name in NAMES:
        (root / name).mkdir()
        (root / name / "photo.gif").write_bytes(b"GIF89a")
    return OwnData(root)


def train_and_val(root: Path) -> OwnData:
    for split in ("train", "val"):
        folders(root / split, 0, 3)
    return OwnData(root)


def damaged_npz(root: Path) -> OwnData:
    np.savez_compressed(root / "data.npz", x_train=np.arange(540).astype(np.uint8), y_train=np.arange(6))
    content = bytearray((root / "data.npz").read_bytes())
    content[100:400] = bytes(300)
    (root / "data.npz").write_bytes(content)
    return OwnData(root / "data.npz")


def npz(**arrays: object):
    def make(root: Path) -> OwnData:
        good = {"x_train": np.zeros((6, 6, 5, 3), np.uint8), "y_train": np.arange(6) % 3}
        np.savez(root / "data.npz", **{**good, **arrays})
        return OwnData(root / "data.npz")

    return make


def no_npz(root: Path) -> OwnData:
    (root / "data.npz").write_bytes(b"PK rubbish")
    return OwnData(root / "data.npz")


def no_train_shards(root: Path) -> OwnData:
    own = make_parquet(root, True)
    (root / "train-00000-of-00001.parquet").unlink()
    return own


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda root: OwnData(root / "missing"), r"missing.*data\.path"),
        (lambda root: OwnData(root), r"has 0 folders of images \(none\).*task\.class_count"),
        (two_classes, r"2 folders of images \(apple, pear\).*3 classes"),
        (broken_image, r"bad\.png is no PNG, "),
        (extra_class, r"quince is of a class"),
        (empty_class, r"no train image of class 2 \(plum\)"),
        (one_image, r"class plum has one image"),
        (no_images, r"hold no image file \(\.bmp, "),
        (train_and_val, r"folder train but no folder test"),
        (lambda root: OwnData(root / "missing.npz"), r"missing\.npz.*data\.path"),
        (no_npz, r"cannot read .*data\.npz"),
        (damaged_npz, r"cannot read .*data\.npz"),
        (npz(x_train=np.zeros((0, 6, 5, 3), np.uint8), y_train=np.zeros(0, int)), r"x_train of .* holds no image"),
        (npz(x_train=np.zeros((6, 6, 5, 3), np.float32)), r"float32; save pixels as uint8"),
        (npz(x_train=np.zeros((6, 5, 5, 3), np.uint8)), r"shape \(5, 5, 3\).*task\.input_shape"),
        (npz(x_train=np.zeros((5, 6, 5, 3), np.uint8)), r"save one whole number an image"),
        (npz(y_train=np.zeros(6)), r"save one whole number an image"),
        (npz(y_train=np.arange(6)), r"goes from 0 to 5"),
        (npz(y_train=np.arange(6) % 3 - 1), r"goes from -1 to 1"),
        (npz(y_train=np.array([None] * 6)), r"cannot read"),
        (no_train_shards, r"holds no train-\*\.parquet"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_by_name(make, told: str, tmp_path: Path) -> None:
    own = make(tmp_path)
    with pytest.raises(DataError, match=told):
        train(own)


def no_test_shards(root: Path) -> OwnData:
    own = make_parquet(root, True)
    (root / "test-00000-of-00001.parquet").unlink()
    return own


def broken_test_image(root: Path) -> OwnData:
    own = make_images(root, True)
    (root / "test" / "pear" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    return own


def no_test_image_of_a_class(root: Path) -> OwnData:
    own = make_images(root, True)
    for file in (root / "test" / "plum").iterdir():
        file.unlink()
    return own


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (no_test_shards, "no test-"),
        (broken_test_image, r"bad\.png is no PNG, "),
        (no_test_image_of_a_class, r"no test image of class 2 \(plum\)"),
        (npz(x_test=np.zeros((1, 6, 5, 3), np.uint8)), "no array"),
    ],
)
def test_what_is_wrong_with_the_test_set_is_told_before_the_search(make, told: str, tmp_path: Path) -> None:
    own = make(tmp_path)
    train(own)
    with pytest.raises(DataError, match=told):
        require_test(TASK, (), own)
