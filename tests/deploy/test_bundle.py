import hashlib
import json
import os
import stat
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automcu.deploy.bundle import (
    EVIDENCE,
    MAX_BYTES,
    MAX_FILES,
    digests,
    read_bundle,
    require_digests,
    require_place,
    write_bundle,
    zip_bundle,
)
from automcu.errors import OutputError

FILES = {"a.bin": bytes(range(256)), "b.txt": b"text", "firmware/network.c": b"int x;\n"}


def bundle(files: dict[str, bytes]) -> dict[str, bytes]:
    return {**files, EVIDENCE: json.dumps({"files": digests(files)}).encode()}


def verify(path: Path) -> None:
    files = read_bundle(path)
    require_digests(path, files, json.loads(files[EVIDENCE])["files"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "run" / "best", bundle(FILES))
    return tmp_path / "run" / "best"


def test_a_written_bundle_reads_back_from_folder_and_zip_and_leaves_nothing_else(folder: Path) -> None:
    assert read_bundle(folder) == read_bundle(folder.with_name("best.zip")) == bundle(FILES)
    verify(folder)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["best", "best.zip"]
    assert digests(FILES)["b.txt"] == {"bytes": 4, "sha256": hashlib.sha256(b"text").hexdigest()}


def test_a_bundle_is_replaced_as_a_whole(folder: Path) -> None:
    write_bundle(folder, bundle({"c.bin": b"new"}))
    assert sorted(path.name for path in folder.iterdir()) == ["c.bin", EVIDENCE]
    assert read_bundle(folder.with_name("best.zip")) == bundle({"c.bin": b"new"})
    assert sorted(path.name for path in folder.parent.iterdir()) == ["best", "best.zip"]


def test_equal_bundles_give_equal_zip_files() -> None:
    assert zip_bundle(bundle(FILES)) == zip_bundle(dict(reversed(bundle(FILES).items())))


HOSTILE = ["../x", "a/../b", "a/b/c", "a\\b", "..", ".", "", ".hidden", "a/.hidden", "/etc/x", "a\0b", "a\nb",
           "a" * 101, "é.txt", "-rf", "C:x", "a//b", "a/"]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
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


@given(st.data())
def test_any_changed_byte_is_found(data: st.DataObject) -> None:
    files = bundle(FILES)
    name = data.draw(st.sampled_from(sorted(FILES)))
    content = bytearray(files[name])
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(OutputError, match=f"changed {name}"):
        require_digests(Path("best"), {**files, name: bytes(content)}, digests(FILES))


def test_missing_added_and_linked_files_are_found_and_named(folder: Path, tmp_path: Path) -> None:
    (folder / "firmware" / "extra.txt").write_bytes(b"")
    with pytest.raises(OutputError, match=r"not listed in the evidence, 'firmware/extra\.txt'"):
        verify(folder)
    (folder / "firmware" / "extra.txt").unlink()
    (folder / "b.txt").rename(tmp_path / "b.txt")
    with pytest.raises(OutputError, match=r"lacks 'b\.txt'"):
        verify(folder)
    (folder / "b.txt").symlink_to(tmp_path / "b.txt")
    with pytest.raises(OutputError, match=r"'b\.txt', which is no plain file"):
        verify(folder)
    (folder / "b.txt").unlink()
    (folder / "b.txt").symlink_to(tmp_path)
    with pytest.raises(OutputError, match=r"'b\.txt', which is no plain file"):
        verify(folder)
    (folder / "b.txt").unlink()
    os.mkfifo(folder / "b.txt")  # reading it would wait for ever
    with pytest.raises(OutputError, match=r"'b\.txt', which is no plain file"):
        verify(folder)


def zipped(path: Path, *entries: tuple[zipfile.ZipInfo | str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for info, content in entries:
            archive.writestr(info, content)
    return path


@pytest.mark.parametrize("name", [name for name in HOSTILE if name and "\0" not in name])
def test_a_zip_file_with_a_hostile_name_is_refused(tmp_path: Path, name: str) -> None:
    path = zipped(tmp_path / "bad.zip", (EVIDENCE, b"{}"), (name, b"x"))
    with pytest.raises(OutputError, match="no plain file of a plain name"):
        read_bundle(path)
    assert list(tmp_path.iterdir()) == [path]


def test_links_in_a_zip_file_and_names_given_twice_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(OutputError, match="'link', which is no plain file"):
        read_bundle(zipped(tmp_path / "link.zip", (EVIDENCE, b"{}"), (link, b"/etc/passwd")))
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = zipped(tmp_path / "twice.zip", (EVIDENCE, b"{}"), ("a", b"1"), ("a", b"2"))
    with pytest.raises(OutputError, match="holds a twice"):
        read_bundle(twice)


def test_a_place_that_holds_something_else_is_told_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for taken in (tmp_path, tmp_path / "file", Path(), Path("/"), tmp_path / ("x" * 300)):
        with pytest.raises(OutputError, match="choose another folder"):
            require_place(taken)
    require_place(tmp_path / "new" / "best")


def test_a_zip_file_that_wants_a_later_version_is_no_bundle(tmp_path: Path) -> None:
    path = zipped(tmp_path / "later.zip", (EVIDENCE, b"{}"))
    central = path.read_bytes().rindex(b"PK\x01\x02")
    path.write_bytes(path.read_bytes()[: central + 6] + b"\xff" + path.read_bytes()[central + 7 :])
    with pytest.raises(OutputError, match="no whole zip file"):
        read_bundle(path)


def test_evidence_that_would_take_gigabytes_to_parse_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="more than 4,000,000 bytes"):
        read_bundle(zipped(tmp_path / "long.zip", (EVIDENCE, b" " * 4_000_001)))


def test_bombs_are_refused_by_what_they_unpack_to(tmp_path: Path) -> None:
    bomb = zipped(tmp_path / "bomb.zip", (EVIDENCE, b"{}"), ("zeros", bytes(MAX_BYTES)))
    assert bomb.stat().st_size < 1_000_000
    with pytest.raises(OutputError, match="holds more than"):
        read_bundle(bomb)
    many = zipped(tmp_path / "many.zip", *((f"f{index}", b"") for index in range(MAX_FILES + 1)))
    with pytest.raises(OutputError, match="holds more than"):
        read_bundle(many)


@given(st.integers(0, 10_000), st.integers(1, 255), st.integers(0, 10_000))
def test_a_damaged_zip_file_is_a_typed_error_or_a_bundle(place: int, change: int, cut: int) -> None:
    content = bytearray(zip_bundle(bundle(FILES)))
    content[place % len(content)] ^= change
    for damaged in (bytes(content), bytes(content[: cut % len(content)])):
        with tempfile.NamedTemporaryFile() as file:
            Path(file.name).write_bytes(damaged)
            try:
                files = read_bundle(Path(file.name))
                require_digests(Path(file.name), files, digests(FILES))
            except OutputError:
                continue
            assert {name: files[name] for name in FILES} == FILES


def test_encrypted_zip_files_are_refused(tmp_path: Path) -> None:
    content = bytearray(zip_bundle(bundle(FILES)))
    central = content.rindex(b"PK\x01\x02")
    content[central + 8] |= 1  # the flag of encryption
    (tmp_path / "locked.zip").write_bytes(content)
    with pytest.raises(OutputError):
        read_bundle(tmp_path / "locked.zip")


def test_what_is_no_bundle_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="give the folder or the zip file of a bundle"):
        read_bundle(tmp_path / "none")
    with pytest.raises(OutputError, match=f"holds no {EVIDENCE}"):
        read_bundle(tmp_path)
    (tmp_path / "text.zip").write_bytes(b"text")
    with pytest.raises(OutputError, match="no whole zip file"):
        read_bundle(tmp_path / "text.zip")
    (tmp_path / "bare.zip").write_bytes(zip_bundle(FILES))
    with pytest.raises(OutputError, match=f"holds no {EVIDENCE}"):
        read_bundle(tmp_path / "bare.zip")
