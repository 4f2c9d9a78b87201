import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automcu.deploy.toolchain import objects
from automcu.deploy.toolchain.objects import MAX_OBJECT_BYTES, ObjectCache, cache_folder

SOURCES = {
    "main.c": '#include "a.h"\n',
    "other.c": "#include <stdint.h>\n",
    "computed.c": "#define H <a.h>\n#include H\n",
    "a.h": " #  include <b.h> // the word include\n",
    "b.h": '#include "a.h"\n#include "absent.h"\n',
    "c.h": "int c;\n",
}
NOTHING = ObjectCache(None)


def keys(sources: dict[str, str]) -> dict[str, str]:
    return {unit: NOTHING.key(["cc 1", "-O2"], unit, sources) for unit in sources if unit.endswith(".c")}


@pytest.mark.parametrize(
    ("changed", "units"),
    [
        ("main.c", {"main.c"}),
        ("a.h", {"main.c", "computed.c"}),
        ("b.h", {"main.c", "computed.c"}),
        ("c.h", {"computed.c"}),
        ("other.c", {"other.c"}),
    ],
)
def test_a_unit_is_known_by_all_that_it_can_reach(changed: str, units: set[str]) -> None:
    before, after = keys(SOURCES), keys({**SOURCES, changed: SOURCES[changed] + "int x;\n"})
    assert {unit for unit in before if before[unit] != after[unit]} == units


def test_a_header_that_is_new_hides_the_system_s() -> None:
    before, after = keys(SOURCES), keys({**SOURCES, "stdint.h": ""})
    assert {unit for unit in before if before[unit] != after[unit]} == {"other.c", "computed.c"}


def test_a_unit_is_known_by_its_compiler() -> None:
    assert len({NOTHING.key(compiler, "main.c", SOURCES) for compiler in (["cc 1"], ["cc 2"], ["cc 1", "-O2"])}) == 3


@given(st.binary(max_size=200))
def test_what_is_put_comes_back(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    cache = ObjectCache(tmp_path_factory.getbasetemp() / "objects")
    cache.put("key", content)
    assert cache.get("key") == content


def test_a_damaged_object_is_none(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path)
    cache.put("key", b"object")
    for damaged in (b"", b"x", (tmp_path / "key").read_bytes()[:-1], (tmp_path / "key").read_bytes() + b"x"):
        (tmp_path / "key").write_bytes(damaged)
        assert cache.get("key") is None


def test_weights_are_not_kept(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path)
    cache.put("key", bytes(MAX_OBJECT_BYTES + 1))
    assert cache.get("key") is None and not list(tmp_path.iterdir())


def test_the_oldest_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "MAX_OBJECTS", 8)
    cache = ObjectCache(tmp_path)
    for number in range(8):
        cache.put(str(number), b"object")
        os.utime(tmp_path / str(number), (number, number))
    assert cache.get("0") is not None  # and is therefore the newest now
    cache.put("8", b"object")
    assert {path.name for path in tmp_path.iterdir()} == {"0", "3", "4", "5", "6", "7", "8"}


def test_a_folder_that_cannot_be_used_is_as_good_as_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = ObjectCache(tmp_path / "file" / "objects")
    cache.put("key", b"object")
    assert cache.get("key") is None


def test_without_a_cache_of_the_user_there_is_a_temporary_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unused = cache_folder.__wrapped__
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert unused("zig") == tmp_path / "automcu" / "zig"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    folder = unused("zig")
    assert folder.is_dir() and tmp_path not in folder.parents
