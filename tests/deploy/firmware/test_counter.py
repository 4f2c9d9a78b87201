"""The cycle counter: 64 bits from SysTick's 24 and its exceptions, or from CYCCNT's 32."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from automcu.board_table import load_board
from tests.deploy.firmware.core import Core
from tests.deploy.firmware.small import image

SYST_CSR, SYST_CVR, ICSR = 0xE000E010, 0xE000E018, 0xE000ED04
DWT_CTRL, DWT_CYCCNT, DWT_LAR, DEMCR = 0xE0001000, 0xE0001004, 0xE0001FB0, 0xE000EDFC
NONE, DWT, SYSTICK = 0, 1, 2
PENDING = 1 << 26
WRAP = 1 << 24
LOOK = 3
"""Cycles from one look at a counter to the next."""


class Clock:
    """A core whose counters tell `cycles`, and whose SysTick exception is pending until it is taken."""

    def __init__(self, name: str, systick: bool, dwt: bool) -> None:
        self.core = Core(load_board(name), image(name))
        self.cycles = self.taken = 0
        if systick:
            self.core.reads[SYST_CVR] = lambda: -self._look() & (WRAP - 1)
            self.core.reads[ICSR] = lambda: PENDING if self._look() // WRAP > self.taken else 0
        if dwt:
            self.core.reads[DWT_CYCCNT] = lambda: self._look() & 0xFFFF_FFFF

    def start(self) -> int:
        """The counter that is chosen."""
        return self.core.call("counter_start") & 0xFF

    def pass_to(self, cycles: int) -> None:
        """Time passes, and the exceptions that it brings are taken."""
        self.cycles = cycles
        while self.taken < cycles // WRAP:
            self.core.call("counter_wrapped")
            self.taken += 1

    def _look(self) -> int:
        self.cycles += LOOK
        return self.cycles


@pytest.mark.parametrize("name", ["nucleo_f446re", "nucleo_h743zi2"])
@pytest.mark.parametrize(
    ("systick", "dwt", "chosen"), [(False, False, NONE), (True, False, SYSTICK), (True, True, DWT)]
)
def test_the_best_counter_that_moves_is_chosen(name: str, systick: bool, dwt: bool, chosen: int) -> None:
    clock = Clock(name, systick, dwt)
    assert clock.start() == chosen
    registers = clock.core.registers
    assert registers[SYST_CSR] == 0b111  # on, with its exception, at the core's clock
    assert (registers[DEMCR], registers[DWT_CTRL], registers[DWT_LAR]) == (1 << 24, 1, 0xC5ACCE55)
    if chosen == NONE:
        assert clock.core.call("counter_cycles") == 0


def test_a_core_without_dwt_never_touches_it() -> None:
    clock = Clock("nucleo_g071rb", systick=True, dwt=True)
    assert clock.start() == SYSTICK
    assert not clock.core.registers.keys() & {DEMCR, DWT_CTRL, DWT_LAR}


@pytest.fixture(scope="module", params=["nucleo_g071rb", "nucleo_f446re"])
def systick(request: pytest.FixtureRequest) -> Clock:
    clock = Clock(request.param, systick=True, dwt=False)
    assert clock.start() == SYSTICK
    return clock


@given(st.integers(-4 * LOOK, 4 * LOOK) | st.integers(0, WRAP - 1))
@example(-LOOK)
@example(-2 * LOOK)
@example(0)
def test_systick_is_right_around_its_wraps(systick: Clock, place: int) -> None:
    cycles = (systick.taken + 2) * WRAP + place
    systick.pass_to(cycles)
    counted = systick.core.call("counter_cycles")
    assert cycles < counted <= systick.cycles


def test_cyccnt_is_extended_past_its_wrap() -> None:
    clock = Clock("nucleo_f446re", systick=True, dwt=True)
    assert clock.start() == DWT
    for cycles in (1000, 2**31 - 5, 2**31, 2**32 - 2, 2**32 - LOOK, 2**32 + 7, 3 * 2**31 - 1):
        clock.pass_to(cycles)
        assert clock.core.call("counter_cycles") == cycles + LOOK
