"""Fault handlers, as the core would enter them: the frame that the host reads, also when the stack has overflowed."""

from struct import pack

import pytest

from automcu.board_table import load_board
from automcu.deploy.boards.protocol import frame
from tests.deploy.firmware.core import Core
from tests.deploy.firmware.small import BOARDS, image

CFSR, MMFAR, BFAR = 0xE000ED28, 0xE000ED34, 0xE000ED38
SAVED = (10, 11, 12, 13, 14, 0x0800_0101, 0x0800_0202, 0x0100_0000)


def core(name: str) -> Core:
    return Core(load_board(name), image(name))


@pytest.mark.parametrize("name", BOARDS)
@pytest.mark.parametrize(("cfsr", "address"), [(0x8200, 0x6000_0000), (0x82, 0x5000_0000), (0x2_0000, 0)])
def test_a_fault_tells_where_and_why(name: str, cfsr: int, address: int) -> None:
    there = core(name)
    stack_pointer = there.symbols["__stack_top"] - 64
    there.engine.mem_write(stack_pointer, pack("<8I", *SAVED))
    there.registers |= {CFSR: cfsr, BFAR: 0x6000_0000, MMFAR: 0x5000_0000}
    if "m0" in load_board(name).core:
        cfsr = address = 0  # Armv6-M has no such registers
    assert there.fault(3, stack_pointer) == frame(b"f", pack("<5I", 3, SAVED[6], SAVED[5], cfsr, address))


@pytest.mark.parametrize("name", BOARDS)
@pytest.mark.parametrize("below", [-8, 100, 2**20])
def test_a_stack_that_has_overflowed_is_told_by_its_pointer(name: str, below: int) -> None:
    there = core(name)
    stack_pointer = there.symbols["__stack_start"] - below
    assert there.fault(3, stack_pointer)[:14] == frame(b"f", pack("<5I", 3, 0, 0, 0, 0))[:14]
    assert there.sent[-8:-4] == pack("<I", stack_pointer)


@pytest.mark.parametrize("number", [2, 4, 5, 6, 7, 11, 12, 14])
def test_every_exception_but_systick_is_reported(number: int) -> None:
    there = core("nucleo_f446re")
    vectors = there.engine.mem_read(0x0800_0000, 64)
    assert vectors[4 * number : 4 * number + 4] == vectors[12:16]
    assert there.fault(number, there.symbols["__stack_top"] - 64)[6] == number
