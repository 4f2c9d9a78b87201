import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automcu.deploy.toolchain.elf import UnreadableElf, read_image
from automcu.deploy.toolchain.toolchain import Image
from automcu.deploy.toolchain.zig import ZigToolchain
from tests.contracts.toolchain import project


@pytest.fixture(scope="module")
def image() -> Image:
    return ZigToolchain().build(project())


def test_an_elf_is_read_as_it_was_built(image: Image) -> None:
    again = read_image(image.elf)
    assert (again.flash_bytes, again.constant_bytes, again.ram_bytes) == (len(image.binary), 1_000, 3_520)
    assert (again.elf, again.binary, again.symbols) == (image.elf, image.binary, image.symbols)


def test_bytes_that_are_no_firmware_are_refused() -> None:
    for other in (b"", b"\x7fELF", b"MZ" * 500, Path("/bin/true").read_bytes()):
        with pytest.raises(UnreadableElf, match="; build it again"):
            read_image(other)


@given(st.data())
def test_a_damaged_elf_is_read_or_refused(image: Image, data: st.DataObject) -> None:
    """Wherever the damage is, in the headers above all."""
    elf = bytearray(image.elf)
    headers = struct.unpack_from("<II", elf, 28)
    starts = (0, headers[0], headers[1])
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.sampled_from(starts)) + data.draw(st.integers(0, 200))
        elf[min(at, len(elf) - 1)] = data.draw(st.integers(0, 255))
    del elf[data.draw(st.integers(0, len(elf)) | st.just(len(elf))) :]
    try:
        read = read_image(bytes(elf))
    except UnreadableElf as error:
        assert "\n" not in str(error)
    else:
        assert read.flash_bytes == len(read.binary) > 0


def with_segment(elf: bytes, index: int, field: int, value: int) -> bytes:
    changed = bytearray(elf)
    start = struct.unpack_from("<I", elf, 28)[0] + 32 * index
    struct.pack_into("<I", changed, start + 4 * field, value)
    return bytes(changed)


def test_segments_must_make_one_flash(image: Image) -> None:
    address, size = 3, 4
    with pytest.raises(UnreadableElf, match="overlap"):
        read_image(with_segment(image.elf, 1, address, image.load_address))
    with pytest.raises(UnreadableElf, match="not in one Flash"):
        read_image(with_segment(image.elf, 1, address, 0x2000_0000))
    with pytest.raises(UnreadableElf, match="cut off"):
        read_image(with_segment(image.elf, 1, size, 2**31))


def test_a_gap_is_erased_flash(image: Image) -> None:
    moved = read_image(with_segment(image.elf, 0, 3, image.load_address - 8))
    assert moved.load_address == image.load_address - 8
    assert moved.binary == image.binary[:8] + b"\xff" * 8 + image.binary[8:]
