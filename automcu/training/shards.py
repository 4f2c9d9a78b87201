"""Image data sets in Hugging Face's Parquet convention, decoded once and kept decoded in the user's cache.

A shard is a Parquet file with a column `image`, or `img` as some sets call it (struct with `bytes`: one encoded PNG,
WebP, JPEG or BMP file), and an integer label column. Everything in it is untrusted: it becomes a `LabelledImages` or a
`DataError` that names file and row. The cache is a convenience: a corrupt one is rebuilt, an unwritable one is left
out.
"""

import hashlib
import json
import os
import re
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from automcu.architecture import Shape
from automcu.errors import DataError
from automcu.training.image_file import decode

_CACHE_VERSION = 1
_CHUNK = 256
_SHARD_NAME = re.compile(r"-\d+-of-(\d+)\.parquet$")


@dataclass(frozen=True, slots=True, eq=False)
class LabelledImages:
    """Images (uint8, NHWC), their labels (int64), and the name of each label."""

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]


def find_shards(folder: Path, split: str) -> tuple[Path, ...]:
    """The shards of one split (`train` or `test`) in `folder`, in order; empty when there are none.

    Raises `DataError` when the names say that there should be more of them.
    """
    shards = tuple(sorted(folder.glob(f"{split}-*.parquet")))
    for shard in shards:
        counted = _SHARD_NAME.search(shard.name)
        if counted and int(counted[1]) != len(shards):
            raise DataError(
                f"{folder} holds {len(shards)} {split} shards, but {shard.name} is one of {int(counted[1])}; "
                "copy all shards of one version there"
            )
    return shards


def load_shards(shards: Sequence[Path], label: str, shape: Shape, class_count: int, cache: Path) -> LabelledImages:
    """All rows of `shards`, in order. Images must have `shape`, and the column `label` values below `class_count`.

    Raises `DataError` where a shard breaks this or cannot be read.
    """
    cached = cache / f"{_fingerprint(shards, label, shape, class_count)}.npz"
    found = _from_cache(cached)
    if found is None:
        with ThreadPoolExecutor() as pool:
            parts = [_read_shard(shard, label, shape, class_count, pool) for shard in shards]
        found = LabelledImages(
            np.concatenate([part.images for part in parts]),
            np.concatenate([part.labels for part in parts]),
            parts[0].class_names,
        )
        _to_cache(cached, found)
    return found


def _fingerprint(shards: Sequence[Path], label: str, shape: Shape, class_count: int) -> str:
    try:
        files = [(str(shard.resolve()), shard.stat().st_size, shard.stat().st_mtime_ns) for shard in shards]
    except OSError as error:
        raise DataError(f"cannot read {error.filename} ({error.strerror}); check the data folder") from None
    key = json.dumps([_CACHE_VERSION, label, shape, class_count, files])
    return hashlib.sha256(key.encode()).hexdigest()[:24]


def _from_cache(path: Path) -> LabelledImages | None:
    try:
        # Reading a member to its end checks its CRC, so a damaged cache shows itself here.
        with np.load(path, allow_pickle=False) as arrays:
            return LabelledImages(arrays["images"], arrays["labels"], tuple(arrays["class_names"].tolist()))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _to_cache(path: Path, data: LabelledImages) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    except OSError:
        return
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, images=data.images, labels=data.labels, class_names=np.array(data.class_names))
        os.replace(temporary, path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)


def _read_shard(path: Path, label: str, shape: Shape, class_count: int, pool: ThreadPoolExecutor) -> LabelledImages:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            image = "img" if "image" not in schema.names and "img" in schema.names else "image"
            table = file.read(columns=[f"{image}.bytes", label])
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"cannot read {path} ({reason}); replace the file with an intact copy") from None
    image_bytes = pa.struct([pa.field("bytes", pa.binary())])
    types = {field.name: field.type for field in table.schema}
    if types.get(image) != image_bytes or not pa.types.is_integer(types.get(label, pa.null())):
        raise DataError(
            f"{path} needs a column {image}: struct<bytes: binary> and an integer column {label}; convert it to that"
        )
    encoded = pc.struct_field(table[image], 0).to_pylist()
    labels = table[label].to_pylist()
    for row, value in enumerate(labels):
        if value is None or not 0 <= value < class_count:
            raise DataError(
                f"{path}, row {row}: {label} is {value}, but the task has classes 0 to {class_count - 1}; "
                "correct task.class_count or the file"
            )
    images = np.empty((len(labels), *shape), np.uint8)

    def fill(start: int) -> None:
        for row in range(start, min(start + _CHUNK, len(labels))):
            images[row] = decode(BytesIO(encoded[row] or b""), f"{path}, row {row},", shape)

    for _ in pool.map(fill, range(0, len(labels), _CHUNK)):
        pass
    return LabelledImages(
        images, np.array(labels, np.int64), _class_names(schema.metadata or {}, label, class_count, path)
    )


def _class_names(metadata: Mapping[bytes, bytes], label: str, class_count: int, path: Path) -> tuple[str, ...]:
    """The names that Hugging Face keeps in the schema's metadata; the labels as numbers where it has none."""
    try:
        names = json.loads(metadata[b"huggingface"])["info"]["features"][label]["names"]
        names = tuple(str(name) for name in names)
    except (KeyError, TypeError, ValueError):
        return tuple(str(number) for number in range(class_count))
    if len(names) != class_count:
        raise DataError(
            f"{path} names {len(names)} classes in {label}, but the task has {class_count}; correct task.class_count"
        )
    return names
