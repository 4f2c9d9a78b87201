"""memory.c against Python's slices: every alignment, length and overlap, on a core with and one without words at odd
addresses; and under each name that compilers call."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from automcu.board_table import load_board
from tests.deploy.firmware.core import Core
from tests.deploy.firmware.small import image

AREA, BYTES = 0x2000_1000, 256
PLACES = st.integers(0, 80)
COUNTS = st.integers(0, 90)


@pytest.fixture(scope="module", params=["nucleo_g071rb", "nucleo_f446re"])
def core(request: pytest.FixtureRequest) -> Core:
    return Core(load_board(request.param), image(request.param))


def called(core: Core, function: str, *arguments: int) -> tuple[int, bytes, bytearray]:
    """What the function returns, the area after it, and the area as it was."""
    before = bytes(range(BYTES))
    core.engine.mem_write(AREA, before)
    result = core.call(function, *arguments)
    return result & 0xFFFF_FFFF, bytes(core.engine.mem_read(AREA, BYTES)), bytearray(before)


@given(PLACES, PLACES, COUNTS)
@example(1, 0, 90)
@example(0, 1, 90)
@example(4, 0, 16)
@example(7, 7, 33)
def test_memmove(core: Core, to: int, start: int, count: int) -> None:
    result, after, expected = called(core, "memmove", AREA + to, AREA + start, count)
    expected[to : to + count] = expected[start : start + count]
    assert (result, after) == (AREA + to, expected)


@given(PLACES, PLACES, COUNTS)
def test_memcpy(core: Core, to: int, start: int, count: int) -> None:
    result, after, expected = called(core, "memcpy", AREA + to, AREA + 128 + start % 32, count)
    expected[to : to + count] = expected[128 + start % 32 : 128 + start % 32 + count]
    assert (result, after) == (AREA + to, expected)


@given(PLACES, COUNTS, st.integers(0, 255))
def test_memset(core: Core, to: int, count: int, value: int) -> None:
    result, after, expected = called(core, "memset", AREA + to, value | 0x1234_5600, count)
    expected[to : to + count] = bytes([value]) * count
    assert (result, after) == (AREA + to, expected)


@given(st.binary(max_size=20), st.binary(max_size=20))
@example(b"\x7f", b"\x80")
def test_memcmp(core: Core, left: bytes, right: bytes) -> None:
    count = min(len(left), len(right))
    core.engine.mem_write(AREA, left + bytes(1))
    core.engine.mem_write(AREA + 64, right + bytes(1))
    result = core.call("memcmp", AREA, AREA + 64, count) & 0xFFFF_FFFF
    sign = (result > 0) - 2 * (result >> 31)
    assert sign == (left[:count] > right[:count]) - (left[:count] < right[:count])


def test_arms_names_take_their_arguments_in_arms_order(core: Core) -> None:
    for names, arguments, value in (
        (("__aeabi_memset", "__aeabi_memset4", "__aeabi_memset8"), (AREA + 8, 40, 0x5A), 0x5A),
        (("__aeabi_memclr", "__aeabi_memclr4", "__aeabi_memclr8"), (AREA + 8, 40), 0),
    ):
        for name in names:
            _, after, expected = called(core, name, *arguments)
            expected[8:48] = bytes([value]) * 40
            assert after == expected, name
    for name in ("memcpy", "memmove"):
        for bytes_aligned in ("", "4", "8"):
            assert core.symbols[f"__aeabi_{name}{bytes_aligned}"] == core.symbols[name]
