"""Objects that were compiled before, kept between builds and runs: kernels and firmware hardly ever change.

An object is found by all that decides its bytes: the compiler and its flags, the source, and every header that the
source can reach. Several builds may use one folder at the same time.
"""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

MAX_OBJECT_BYTES = 64 * 1024
"""Larger objects hold a network's weights, which seldom come twice."""
MAX_OBJECTS = 2_000
_INCLUDE = re.compile(r'#\s*include\s*[<"]([^>"\n]+)[>"]')
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_DIGEST_BYTES = 32


class ObjectCache:
    """Objects in the folder `path`, at most `MAX_OBJECTS` of at most `MAX_OBJECT_BYTES`; None keeps nothing.

    A folder that cannot be read or written is as good as an empty one, and so is an object that was damaged.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def key(self, compiler: Sequence[str], unit: str, sources: Mapping[str, str]) -> str:
        """The name under which the object of `unit` is kept, built by `compiler` (program and flags)."""
        reached = {unit: sources[unit]} | {name: sources[name] for name in _headers(unit, sources)}
        return hashlib.sha256(json.dumps([list(compiler), unit, sorted(reached.items())]).encode()).hexdigest()

    def get(self, key: str) -> bytes | None:
        """The object, or None."""
        if self._path is None:
            return None
        try:
            kept = (self._path / key).read_bytes()
        except OSError:
            return None
        digest, content = kept[:_DIGEST_BYTES], kept[_DIGEST_BYTES:]
        if hashlib.sha256(content).digest() != digest:
            return None
        with suppress(OSError):
            os.utime(self._path / key)  # the oldest are thrown away first
        return content

    def put(self, key: str, content: bytes) -> None:
        """Keep an object."""
        if self._path is None or len(content) > MAX_OBJECT_BYTES:
            return
        with suppress(OSError):
            self._path.mkdir(parents=True, exist_ok=True)
            self._make_room()
            with tempfile.NamedTemporaryFile(dir=self._path, delete=False) as file:
                file.write(hashlib.sha256(content).digest() + content)
            os.replace(file.name, self._path / key)  # others see all of it or nothing

    def _make_room(self) -> None:
        assert self._path is not None
        kept = list(self._path.iterdir())
        if len(kept) >= MAX_OBJECTS:
            kept.sort(key=lambda path: path.stat().st_mtime_ns)
            for path in kept[: MAX_OBJECTS // 4]:
                path.unlink(missing_ok=True)


def _headers(unit: str, sources: Mapping[str, str]) -> set[str]:
    """The project's headers that `unit` can include, directly or through others, whatever its conditions say; all of
    them where an `include` is not plain to see."""
    reached: set[str] = set()
    pending = [unit]
    while pending:
        text = sources[pending.pop()]
        if "include" in _INCLUDE.sub("", _COMMENT.sub("", text)):
            return {name for name in sources if name.endswith(".h")}
        new = {name for name in _INCLUDE.findall(text) if name in sources} - reached
        reached |= new
        pending += new
    return reached


def user_objects() -> ObjectCache:
    """The cache of this user."""
    return ObjectCache(cache_folder("objects"))


@cache
def cache_folder(name: str) -> Path:
    """A folder of the user's cache for `name`, that can be written; a temporary one, which ends with this process,
    where there is none."""
    root = Path(os.environ.get("XDG_CACHE_HOME", ""))
    folder = (root if root.is_absolute() else Path(os.path.expanduser("~/.cache"))) / "automcu" / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        temporary = tempfile.TemporaryDirectory(prefix="automcu-")
        _held.append(temporary)
        return Path(temporary.name)


_held: list[tempfile.TemporaryDirectory[str]] = []
"""Temporary cache folders; they are deleted when this list is."""
