import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from automcu.architecture import Task
from automcu.errors import ConfigError, DataError
from automcu.training import data as data_module
from automcu.training.data import data_roots, load_test, load_training, require_test, stratified_split, user_cache

DIGITS = Task("digits", "digits", (8, 8, 1), 10, "")
CIFAR10 = Task("cifar10", "cifar10", (32, 32, 3), 10, "")
MNIST = Task("mnist", "mnist", (4, 6, 1), 3, "")
"""The name of a known data set, with small images and few classes of our own."""

SHARED = next(
    (
        root
        for root in (Path(os.environ.get("AUTOMCU_DATA", "absent")), Path(__file__).parents[3] / "shared" / "data")
        if (root / "cifar10").is_dir()
    ),
    None,
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    return tmp_path / "xdg" / "automcu"


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """The download fails as it does without a network."""
    import socket

    def refuse(*_args, **_kwargs):
        raise OSError("Network is unreachable")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def encode(pixels, kind="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(buffer, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return buffer.getvalue()


def pixels(count, shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def write_shard(path, encoded, labels, names=("a", "b", "c"), column="label"):
    path.parent.mkdir(parents=True, exist_ok=True)
    images = pa.array([None if one is None else {"bytes": one, "path": "x.png"} for one in encoded])
    table = pa.table({"image": images, column: labels})
    if names:
        features = {column: {"names": list(names), "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path)


@pytest.fixture
def root(tmp_path):
    """A root with two training shards of 15 images of three classes each, and no test shard."""
    for shard in range(2):
        encoded = [encode(image) for image in pixels(15, (4, 6, 1), seed=shard)]
        write_shard(tmp_path / f"root/mnist/train-0000{shard}-of-00002.parquet", encoded, [0, 1, 2] * 5)
    return tmp_path / "root"


def train(task, root, **changes):
    settings_ = {"validation_share": 0.2, "max_images": None, "seed": 0} | changes
    return load_training(task, [root], **settings_)


def rows(images):
    return {image.tobytes() for image in images}


class TestRoots:
    def test_order(self, tmp_path, monkeypatch, cache):
        monkeypatch.setenv("AUTOMCU_DATA", str(tmp_path / "env"))
        monkeypatch.chdir(tmp_path)
        expected = (tmp_path / "set", tmp_path / "env", tmp_path / "data", tmp_path.parent / "shared/data", cache)
        assert data_roots("set") == expected

    def test_unset_folders_are_left_out(self, tmp_path, monkeypatch, cache):
        monkeypatch.delenv("AUTOMCU_DATA", raising=False)
        monkeypatch.chdir(tmp_path)
        assert data_roots(None) == (tmp_path / "data", tmp_path.parent / "shared/data", cache)
        monkeypatch.setenv("AUTOMCU_DATA", "")
        assert len(data_roots("")) == 3

    def test_home_is_expanded(self):
        assert data_roots("~/sets")[0] == Path.home() / "sets"

    def test_cache_without_a_usable_xdg(self, monkeypatch):
        for value in ("", "relative"):
            monkeypatch.setenv("XDG_CACHE_HOME", value)
            assert user_cache() == Path.home() / ".cache" / "automcu"

    def test_first_root_that_has_shards_wins(self, tmp_path, root):
        (tmp_path / "empty/mnist").mkdir(parents=True)
        other = tmp_path / "other"
        white = [encode(np.full((4, 6, 1), 255, np.uint8))] * 30
        write_shard(other / "mnist/train-00000-of-00001.parquet", white, [0, 1, 2] * 10)
        roots = [tmp_path / "absent", tmp_path / "empty", other, root]
        found = load_training(MNIST, roots, validation_share=0.2, max_images=None, seed=0)
        assert (found.images == 255).all()


class TestDigits:
    def test_shapes_and_range(self):
        found, test = train(DIGITS, Path("absent")), load_test(DIGITS, [])
        assert len(found.images) + len(found.validation_images) + len(test.images) == 1797
        assert found.images.shape[1:] == (8, 8, 1)
        for split in (found, test):
            assert split.images.dtype == np.uint8 and split.labels.dtype == np.int64
            assert split.images.min() == 0 and split.images.max() == 255
            assert split.class_names == tuple("0123456789")
            assert set(split.labels) == set(range(10))

    def test_test_split_is_the_same_for_every_seed_and_never_trained_on(self):
        test = rows(load_test(DIGITS, []).images)
        for seed in range(3):
            found = train(DIGITS, Path("absent"), seed=seed)
            assert not test & (rows(found.images) | rows(found.validation_images))

    def test_wrong_task(self):
        for task in (
            Task("t", "digits", (8, 8, 3), 10, ""),
            Task("t", "digits", (16, 16, 1), 10, ""),
            Task("t", "digits", (8, 8, 1), 9, ""),
        ):
            with pytest.raises(DataError, match=r"task\.input_shape or task\.class_count"):
                train(task, Path("absent"))


class TestSplits:
    def test_stratified_and_disjoint(self):
        found = train(DIGITS, Path("absent"), validation_share=0.25)
        whole = np.bincount(found.labels) + np.bincount(found.validation_labels)
        assert np.abs(np.bincount(found.validation_labels) - 0.25 * whole).max() <= 0.5
        assert not rows(found.images) & rows(found.validation_images)

    def test_follows_from_the_seed(self):
        first, again, other = (train(DIGITS, Path("absent"), seed=seed, max_images=200) for seed in (1, 1, 2))
        np.testing.assert_array_equal(first.images, again.images)
        np.testing.assert_array_equal(first.validation_images, again.validation_images)
        assert rows(first.images) != rows(other.images)
        assert rows(first.validation_images) != rows(other.validation_images)

    def test_max_images_is_balanced_and_leaves_validation_alone(self):
        whole, part = train(DIGITS, Path("absent")), train(DIGITS, Path("absent"), max_images=103)
        searched = part.for_search()
        assert len(searched.images) == len(searched.labels) == 103
        assert set(np.bincount(searched.labels)) == {10, 11}
        np.testing.assert_array_equal(part.validation_images, whole.validation_images)
        assert rows(part.images) == rows(whole.images) and len(part.images) == len(whole.images)
        assert len(whole.for_search().images) == len(whole.images)
        merged = part.with_validation_in_training()
        assert rows(merged.images) == rows(whole.images) | rows(whole.validation_images)
        assert len(merged.images) == len(merged.labels) == len(whole.images) + len(whole.validation_images)

    def test_max_images_beyond_what_there_is(self):
        assert len(train(DIGITS, Path("absent"), max_images=10**6).images) == len(train(DIGITS, Path("absent")).images)

    @settings(deadline=None)
    @given(st.lists(st.integers(2, 30), min_size=1, max_size=6), st.floats(0.01, 0.99), st.integers(0, 99))
    def test_every_class_is_on_both_sides(self, counts, share, seed):
        labels = np.repeat(np.arange(len(counts)), counts)
        kept, held_out = stratified_split(labels, share, np.random.default_rng(seed))
        assert sorted([*kept, *held_out]) == list(range(len(labels)))
        assert set(labels[kept]) == set(labels[held_out]) == set(range(len(counts)))

    def test_single_image_of_a_class(self):
        kept, held_out = stratified_split(np.array([0, 0, 1]), 0.9, np.random.default_rng(0))
        assert kept.tolist()[1:] == [2] and len(held_out) == 1

    @pytest.mark.parametrize(
        "changes",
        [{"validation_share": 0}, {"validation_share": 1}, {"validation_share": float("nan")}, {"max_images": 9}],
    )
    def test_bad_settings(self, changes):
        with pytest.raises(ConfigError):
            train(DIGITS, Path("absent"), **changes)


class TestShards:
    def test_pixels_labels_and_names(self, root):
        found = train(MNIST, root)
        expected = np.concatenate([pixels(15, (4, 6, 1), seed=shard) for shard in range(2)])
        by_pixels = {image.tobytes(): index % 15 % 3 for index, image in enumerate(expected)}
        images = np.concatenate([found.images, found.validation_images])
        labels = np.concatenate([found.labels, found.validation_labels])
        assert {image.tobytes(): label for image, label in zip(images, labels, strict=True)} == by_pixels
        assert found.class_names == ("a", "b", "c")

    def test_colour_webp_and_fine_labels(self, tmp_path):
        task = Task("t", "cifar100", (5, 5, 3), 2, "")
        images = pixels(6, (5, 5, 3))
        path = tmp_path / "cifar100/train-00000-of-00001.parquet"
        write_shard(path, [encode(image, "WEBP") for image in images], [0, 1] * 3, names=None, column="fine_label")
        found = train(task, tmp_path, validation_share=0.34)
        assert rows(found.images) | rows(found.validation_images) == rows(images)
        assert found.class_names == ("0", "1")

    def test_the_test_shard_is_never_opened_by_load_training(self, root, monkeypatch):
        (root / "mnist/test-00000-of-00001.parquet").write_bytes(b"never to be read")
        opened = []
        real = pq.ParquetFile

        def recording(source, *args, **kwargs):
            opened.append(Path(source).name)
            return real(source, *args, **kwargs)

        monkeypatch.setattr(pq, "ParquetFile", recording)
        train(MNIST, root)
        assert opened == ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]
        with pytest.raises(DataError, match="test-00000-of-00001"):
            load_test(MNIST, [root])

    def test_training_data_has_no_test_images(self):
        assert not any("test" in name for name in data_module.TrainingData.__slots__)

    def test_load_test(self, root):
        images = pixels(6, (4, 6, 1), seed=9)
        write_shard(root / "mnist/test-00000-of-00001.parquet", [encode(image) for image in images], [0, 1, 2] * 2)
        found = load_test(MNIST, [root])
        np.testing.assert_array_equal(found.images, images)
        np.testing.assert_array_equal(found.labels, [0, 1, 2] * 2)


class TestCache:
    def test_is_used(self, root, monkeypatch):
        first = train(MNIST, root)
        monkeypatch.setattr(pq, "ParquetFile", None)
        again = train(MNIST, root)
        np.testing.assert_array_equal(first.images, again.images)
        assert again.class_names == first.class_names

    @pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "rubbish", "folder"])
    def test_corrupt_cache_is_rebuilt(self, root, cache, damage):
        first = train(MNIST, root)
        (path,) = (cache / "decoded").glob("*.npz")
        good = path.read_bytes()
        if damage == "truncate":
            path.write_bytes(good[: len(good) // 2])
        elif damage == "flip":
            at = good.index(first.images[0].tobytes())
            path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        elif damage == "folder":
            path.unlink()
            path.mkdir()
        else:
            path.write_bytes(b"" if damage == "empty" else b"PK\3\4 rubbish")
        np.testing.assert_array_equal(train(MNIST, root).images, first.images)
        assert damage == "folder" or len(path.read_bytes()) == len(good)
        assert not list((cache / "decoded").glob("*.tmp"))

    def test_changed_shard_is_read_again(self, root):
        train(MNIST, root)
        path = root / "mnist/train-00000-of-00002.parquet"
        black = [encode(np.zeros((4, 6, 1), np.uint8))] * 15
        write_shard(path, black, [0, 1, 2] * 5)
        found = train(MNIST, root)
        assert sum(not image.any() for image in [*found.images, *found.validation_images]) == 15

    def test_cache_that_cannot_be_made(self, root, cache):
        cache.parent.mkdir(parents=True, exist_ok=True)
        cache.write_text("a file where the folder should be")
        assert len(train(MNIST, root).images) == 24


class TestFaults:
    def fault(self, root, *words, task=MNIST):
        with pytest.raises(DataError) as caught:
            train(task, root)
        text = str(caught.value)
        assert all(word in text for word in words), text
        assert ";" in text, "no remedy"

    def shard(self, root, index=1, **changes):
        encoded = [encode(image) for image in pixels(15, (4, 6, 1))]
        labels = [0, 1, 2] * 5
        for row, value in changes.get("encoded", {}).items():
            encoded[row] = value
        for row, value in changes.get("labels", {}).items():
            labels[row] = value
        path = root / f"mnist/train-0000{index}-of-00002.parquet"
        write_shard(path, encoded, labels, changes.get("names", ("a", "b", "c")), changes.get("column", "label"))
        return path

    def test_truncated_shard(self, root):
        path = root / "mnist/train-00001-of-00002.parquet"
        good = path.read_bytes()
        for length in (0, 3, len(good) // 2, len(good) - 1):
            path.write_bytes(good[:length])
            self.fault(root, path.name, "intact copy")

    def test_damaged_pages(self, root):
        path = root / "mnist/train-00001-of-00002.parquet"
        good = path.read_bytes()
        for at in range(4, len(good), 97):
            path.write_bytes(good[:at] + bytes([good[at] ^ 0x5A]) + good[at + 1 :])
            try:
                train(MNIST, root)
            except DataError as error:
                assert path.name in str(error)

    def test_undecodable_images(self, root):
        good = encode(pixels(1, (4, 6, 1))[0])
        for bad in (b"", None, b"no image", good[:20], good[:60], b"%!PS-Adobe-3.0 EPSF-3.0\n"):
            path = self.shard(root, encoded={7: bad})
            self.fault(root, path.name, "row 7", "or remove it")

    def test_wrong_size_and_wrong_channels(self, root):
        path = self.shard(root, encoded={3: encode(pixels(1, (4, 7, 1))[0])})
        self.fault(root, path.name, "row 3", "4x7", "4x6x1")
        path = self.shard(root, encoded={4: encode(pixels(1, (4, 6, 3))[0])})
        self.fault(root, path.name, "row 4", "mode RGB", "4x6x1")

    @pytest.mark.parametrize("label", [3, -1, 2**40, None])
    def test_label_out_of_range(self, root, label):
        path = self.shard(root, labels={5: label})
        self.fault(root, path.name, "row 5", str(label), "0 to 2")

    def test_class_count_that_disagrees(self, root):
        path = self.shard(root, 0, names=("a", "b", "c", "d"))
        self.fault(root, path.name, "4 classes", "3", "task.class_count")

    def test_a_class_without_images(self, root):
        for index in (0, 1):
            self.shard(root, index, labels={row: 0 for row in range(15)})
        self.fault(root, "class 1 (b)")

    def test_missing_column(self, root):
        path = self.shard(root, 0, column="target")
        self.fault(root, path.name, "column label")

    def test_column_of_another_type(self, root):
        path = root / "mnist/train-00000-of-00002.parquet"
        pq.write_table(pa.table({"image": ["text"] * 3, "label": [0, 1, 2]}), path)
        self.fault(root, path.name, "image: struct")
        pq.write_table(pa.table({"image": [{"bytes": b"x"}] * 3, "label": ["0", "1", "2"]}), path)
        self.fault(root, path.name, "integer column label")

    def test_missing_shard_of_a_set(self, root):
        (root / "mnist/train-00001-of-00002.parquet").unlink()
        self.fault(root, "holds 1 train shards", "one of 2")

    def test_unknown_data_set(self, tmp_path):
        with pytest.raises(ConfigError, match="digits, cifar10, cifar100, mnist"):
            train(Task("t", "../cifar10", (32, 32, 3), 10, ""), tmp_path)

    def test_no_data_and_no_network(self, tmp_path):
        with pytest.raises(DataError) as caught:
            load_training(CIFAR10, [tmp_path / "one", tmp_path / "two"], validation_share=0.1, max_images=None, seed=0)
        text = str(caught.value)
        for part in (str(tmp_path / "one/cifar10"), str(tmp_path / "two/cifar10"), "data.root", "$AUTOMCU_DATA"):
            assert part in text
        assert "Network is unreachable" in text and "\n" not in text


def test_torchvisions_copy_is_used_when_no_root_has_shards(cache):
    """The official MNIST files, made small, where torchvision keeps them; those of the other split hold rubbish."""
    raw = cache / "torchvision/MNIST/raw"
    raw.mkdir(parents=True)
    images, labels = pixels(40, (4, 6, 1)), np.arange(40, dtype=np.uint8) % 10
    header = b"\0\0\x08\x03" + b"".join(number.to_bytes(4, "big") for number in (40, 4, 6))
    (raw / "train-images-idx3-ubyte").write_bytes(header + images.tobytes())
    (raw / "train-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + (40).to_bytes(4, "big") + labels.tobytes())
    for name in ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        (raw / name).write_bytes(b"rubbish")
    task = Task("mnist", "mnist", (4, 6, 1), 10, "")
    found = load_training(task, [], validation_share=0.25, max_images=None, seed=0)
    assert rows(found.images) | rows(found.validation_images) == rows(images)
    assert found.labels.dtype == np.int64 and len(found.class_names) == 10


@pytest.mark.skipif(SHARED is None, reason="needs cifar10 shards in ../shared/data or $AUTOMCU_DATA")
def test_real_cifar10_test_shard_without_training_shards(tmp_path):
    """One shard of 10,000 real images: means as published, and training is not to be had from it."""
    (tmp_path / "cifar10").mkdir()
    name = "cifar10/test-00000-of-00001.parquet"
    shutil.copy(SHARED / name, tmp_path / name)
    found = load_test(CIFAR10, [tmp_path])
    assert found.images.shape == (10_000, 32, 32, 3)
    assert set(np.bincount(found.labels)) == {1000}
    assert found.class_names[:2] == ("airplane", "automobile")
    np.testing.assert_allclose(found.images.mean((0, 1, 2)) / 255, (0.4942, 0.4851, 0.4504), atol=1e-4)
    with pytest.raises(DataError, match="train"):
        train(CIFAR10, tmp_path)


def test_missing_or_torn_test_shards_are_told_before_a_search(tmp_path):
    source = (SHARED or Path("absent")) / "mnist"
    if not source.is_dir():
        pytest.skip("the shared data folder with mnist is not there")
    task = Task("mnist", "mnist", (28, 28, 1), 10, "digits")
    folder = tmp_path / "mnist"
    folder.mkdir()
    for shard in source.glob("train-*"):
        (folder / shard.name).symlink_to(shard)
    with pytest.raises(DataError, match="put them beside"):
        require_test(task, [tmp_path])
    (shard,) = source.glob("test-*")
    (folder / shard.name).write_bytes(shard.read_bytes()[:1000])
    with pytest.raises(DataError, match="intact copy"):
        require_test(task, [tmp_path])
    (folder / shard.name).write_bytes(shard.read_bytes())
    require_test(task, [tmp_path])
