"""A bundle on disk: a folder of files and `evidence.json`, which holds the size and SHA-256 of every other file."""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from automcu.errors import OutputError

EVIDENCE = "evidence.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)


def digests(files: Mapping[str, bytes]) -> dict[str, dict[str, object]]:
    """Size in bytes and SHA-256 of each file, by name: what `evidence.json` says under `files`."""
    return {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in sorted(files.items())
    }


def write_bundle(folder: Path, files: Mapping[str, bytes]) -> None:
    """Put `files` into `folder`, as a whole or not at all; a bundle that is there already is replaced.

    Raises `OutputError` when a name is not a plain file name, `folder` holds something else than a bundle, or the
    disk refuses.
    """
    for name in files:
        if not _NAME.fullmatch(name):
            raise OutputError(f"{name!r} cannot be the name of a bundle's file; use letters, digits, '.', '_' and '-'")
    if folder.exists() and not (folder / EVIDENCE).is_file():
        raise OutputError(f"{folder} exists and is no bundle; choose another folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
        try:
            fresh, old = staging / "new", staging / "old"
            fresh.mkdir()
            for name, content in files.items():
                (fresh / name).write_bytes(content)
            if folder.exists():
                os.rename(folder, old)
            os.rename(fresh, folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise OutputError(
            f"cannot write the bundle {folder} ({error.strerror}); free disk space or choose a writable folder"
        ) from error


def verify_bundle(folder: Path) -> None:
    """Check that `folder` holds exactly the files that its evidence lists, byte for byte.

    Raises `OutputError`, which names the first file that differs. A change of `evidence.json` itself shows only
    against `Deployment.evidence_sha256`, which the run's journal keeps.
    """
    try:
        listed = json.loads((folder / EVIDENCE).read_bytes())["files"]
        found = {path.name: path for path in folder.iterdir() if path.name != EVIDENCE}
        if strange := [name for name, path in found.items() if path.is_symlink() or not path.is_file()]:
            _refuse(folder, strange[0], "is no plain file")
        if unequal := sorted(set(listed) ^ set(found)):
            _refuse(folder, unequal[0], "is missing" if unequal[0] in listed else "is not in the evidence")
        for name, path in sorted(found.items()):
            if digests({name: path.read_bytes()})[name] != listed[name]:
                _refuse(folder, name, "was changed")
    except OSError as error:
        raise OutputError(f"cannot read the bundle {folder} ({error.strerror}); give the folder of a bundle") from error
    except (ValueError, TypeError, KeyError) as error:
        raise OutputError(f"{folder / EVIDENCE} is damaged; get the bundle again from its source") from error


def _refuse(folder: Path, name: str, why: str) -> NoReturn:
    raise OutputError(f"{name} in {folder} {why}; get the bundle again from its source")
