"""A bundle: files by name and `evidence.json`, which holds the size and SHA-256 of every other file; on disk a folder,
and a zip file of the same.

A bundle from elsewhere is untrusted. It is read into memory and never unpacked, so that no name in it is ever a path.
"""

import hashlib
import io
import os
import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn

from automcu.errors import OutputError

EVIDENCE = "evidence.json"
MAX_FILES = 1_000
MAX_BYTES = 256_000_000
"""Of all files of a bundle together, unpacked."""
MAX_EVIDENCE_BYTES = 4_000_000
"""Of `evidence.json`: parsing JSON takes a hundred times its size in memory."""
_NAME = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]{0,99}/)?[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip file can state: equal bundles give equal zip files
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_AGAIN = "get the bundle again from its source"


def is_name(name: str) -> bool:
    """Whether a file of a bundle may be called `name`: a plain file name, or one in a plain folder."""
    return _NAME.fullmatch(name) is not None


def digests(files: Mapping[str, bytes]) -> dict[str, dict[str, object]]:
    """Size in bytes and SHA-256 of each file, by name: what `evidence.json` says under `files`."""
    return {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in sorted(files.items())
    }


def write_bundle(folder: Path, files: Mapping[str, bytes]) -> None:
    """Put `files` into `folder`, as a whole or not at all, and the same as a zip file beside it; a bundle that is there
    already is replaced.

    Raises `OutputError` when a name is not a plain file name, or one in a plain folder; `folder` holds something else
    than a bundle; or the disk refuses.
    """
    for name in files:
        if not is_name(name):
            raise OutputError(f"{name!r} cannot be the name of a bundle's file; use letters, digits, '.', '_' and '-'")
    require_place(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
        try:
            fresh, old, packed = staging / "new", staging / "old", staging / "zip"
            fresh.mkdir()
            for name, content in files.items():
                (fresh / name).parent.mkdir(exist_ok=True)
                (fresh / name).write_bytes(content)
            packed.write_bytes(zip_bundle(files))
            if folder.exists():
                os.rename(folder, old)
            os.rename(fresh, folder)
            os.replace(packed, folder.with_name(f"{folder.name}.zip"))
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise OutputError(
            f"cannot write the bundle {folder} ({error.strerror}); free disk space or choose a writable folder"
        ) from error


def require_place(folder: Path) -> None:
    """Raises `OutputError` where no bundle can be put: what is there already is something else than a bundle."""
    try:
        taken = folder.exists() and not (folder / EVIDENCE).is_file()
    except OSError as error:
        raise OutputError(
            f"cannot write the bundle {folder!s:.200} ({error.strerror}); choose another folder"
        ) from error
    if taken or not folder.name:
        raise OutputError(f"{folder} exists and is no bundle; choose another folder")


def zip_bundle(files: Mapping[str, bytes]) -> bytes:
    """The bundle as a zip file; equal files give equal bytes."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(files.items()):
            info = zipfile.ZipInfo(name, _ZIP_DATE)
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return sink.getvalue()


def read_bundle(path: Path) -> dict[str, bytes]:
    """The files of the bundle in a folder or a zip file, by name.

    Raises `OutputError` when there is none, when it holds anything but plain files of plain names (links, devices,
    names that lead out of it, a name twice), or more than `MAX_FILES` or `MAX_BYTES`.
    """
    try:
        files: dict[str, bytes] = {}
        left = MAX_BYTES
        for name, content in _unzip(path) if path.is_file() else _walk(path):
            left -= len(content)
            if left < 0 or len(files) == MAX_FILES:
                _refuse(path, f"holds more than {MAX_FILES:,} files or {MAX_BYTES:,} bytes")
            if name in files:
                _refuse(path, f"holds {name} twice")
            files[name] = content
    except OSError as error:
        raise OutputError(
            f"cannot read the bundle {path} ({error.strerror}); give the folder or the zip file of a bundle"
        ) from error
    if EVIDENCE not in files:
        _refuse(path, f"holds no {EVIDENCE}")
    if len(files[EVIDENCE]) > MAX_EVIDENCE_BYTES:
        _refuse(path, f"holds an {EVIDENCE} of more than {MAX_EVIDENCE_BYTES:,} bytes")
    return files


def _walk(folder: Path) -> Iterator[tuple[str, bytes]]:
    pending = [(folder, "")]
    while pending:
        here, prefix = pending.pop()
        for entry in sorted(os.scandir(here), key=lambda entry: entry.name):
            name = prefix + entry.name
            if entry.is_dir(follow_symlinks=False) and not prefix:
                pending.append((Path(entry.path), f"{name}/"))
            else:
                plain = entry.is_file(follow_symlinks=False)
                if not plain or not is_name(name):
                    _refuse(folder, f"holds {name!r:.120}, which is no plain file of a plain name")
                with open(entry.path, "rb") as file:
                    yield name, file.read(MAX_BYTES + 1)


def _unzip(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                plain = stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG) and not info.flag_bits & 1
                if not plain or not is_name(info.filename) or info.compress_type not in _COMPRESSIONS:
                    _refuse(path, f"holds {info.filename!r:.120}, which is no plain file of a plain name")
                with archive.open(info) as file:  # the size that the zip file states is not believed
                    yield info.filename, file.read(MAX_BYTES + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError) as error:
        raise OutputError(f"{path} is no whole zip file; {_AGAIN}") from error


def require_digests(path: Path, files: Mapping[str, bytes], listed: Mapping[str, object]) -> None:
    """Check that `files`, read from `path`, are exactly those that the evidence lists, byte for byte.

    Raises `OutputError`, which names the first file that differs. A change of `evidence.json` itself shows only
    against `Deployment.evidence_sha256`, which the run's journal keeps.
    """
    found = {name: content for name, content in files.items() if name != EVIDENCE}
    if unequal := sorted(set(listed) ^ set(found)):
        _refuse(
            path, f"{'lacks' if unequal[0] in listed else 'holds, not listed in the evidence,'} {unequal[0]!r:.120}"
        )
    for name, digest in digests(found).items():
        if digest != listed[name]:
            _refuse(path, f"holds a changed {name}")


def _refuse(path: Path, what: str) -> NoReturn:
    raise OutputError(f"{path} {what}; {_AGAIN}")
