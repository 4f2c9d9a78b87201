import hashlib
import json
import os
from pathlib import Path

import pytest

from automcu.deploy.bundle import EVIDENCE, digests, verify_bundle, write_bundle
from automcu.errors import OutputError

FILES = {"a.bin": bytes(range(256)), "b.txt": b"text"}


def bundle(files: dict[str, bytes]) -> dict[str, bytes]:
    return {**files, EVIDENCE: json.dumps({"files": digests(files)}).encode()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "run" / "best", bundle(FILES))
    return tmp_path / "run" / "best"


def test_a_written_bundle_verifies_and_leaves_nothing_beside_it(folder: Path) -> None:
    verify_bundle(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == bundle(FILES)
    assert [path.name for path in folder.parent.iterdir()] == ["best"]
    assert digests(FILES)["b.txt"] == {"bytes": 4, "sha256": hashlib.sha256(b"text").hexdigest()}


def test_a_bundle_is_replaced_as_a_whole(folder: Path) -> None:
    write_bundle(folder, bundle({"c.bin": b"new"}))
    verify_bundle(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["c.bin", EVIDENCE]
    assert [path.name for path in folder.parent.iterdir()] == ["best"]


@pytest.mark.parametrize(
    "name",
    ["../x", "a/b", "a\\b", "..", ".", "", ".hidden", "/etc/x", "a\0b", "a\nb", "a" * 101, "é.txt", "-rf", "C:x"],
)
def test_hostile_names_are_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match="cannot be the name"):
        write_bundle(tmp_path / "best", {"fine.txt": b"", name: b"x"})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_bundle_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"photo")
    with pytest.raises(OutputError, match="is no bundle; choose another folder"):
        write_bundle(tmp_path, bundle(FILES))
    assert (tmp_path / "holiday.jpg").read_bytes() == b"photo"


def test_a_place_that_cannot_be_written_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="free disk space or choose a writable folder"):
        write_bundle(tmp_path / "file" / "best", bundle(FILES))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_missing_permission_is_a_typed_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        write_bundle(tmp_path / "best", bundle(FILES))


def test_a_changed_byte_is_found_and_named(folder: Path) -> None:
    content = bytearray(FILES["a.bin"])
    content[77] ^= 1
    (folder / "a.bin").write_bytes(content)
    with pytest.raises(OutputError, match=r"a\.bin .* was changed"):
        verify_bundle(folder)


def test_missing_added_and_linked_files_are_found_and_named(folder: Path, tmp_path: Path) -> None:
    (folder / "extra.txt").write_bytes(b"")
    with pytest.raises(OutputError, match=r"extra\.txt .* is not in the evidence"):
        verify_bundle(folder)
    (folder / "extra.txt").unlink()
    (folder / "b.txt").rename(tmp_path / "b.txt")
    with pytest.raises(OutputError, match=r"b\.txt .* is missing"):
        verify_bundle(folder)
    (folder / "b.txt").symlink_to(tmp_path / "b.txt")
    with pytest.raises(OutputError, match=r"b\.txt .* is no plain file"):
        verify_bundle(folder)


@pytest.mark.parametrize("evidence", [b"", b"[]", b"{}", b'{"files": 3}', b'{"files": {"a.bin": null}}', b"\xff"])
def test_damaged_evidence_is_a_typed_error(folder: Path, evidence: bytes) -> None:
    (folder / EVIDENCE).write_bytes(evidence)
    with pytest.raises(OutputError):
        verify_bundle(folder)


def test_a_folder_that_is_not_there_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="give the folder of a bundle"):
        verify_bundle(tmp_path / "none")
