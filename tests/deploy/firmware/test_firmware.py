"""The firmware on virtual boards of every core: its answers to good, bad and broken frames, and what it measures."""

from collections.abc import Iterator
from contextlib import contextmanager
from struct import unpack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automcu.board import Board
from automcu.board_table import load_board, load_boards
from automcu.deploy.boards.emulator import Emulator
from automcu.deploy.boards.link import BoardFault
from automcu.deploy.boards.protocol import frame
from automcu.deploy.boards.virtual import VirtualBoard
from automcu.deploy.firmware.linker_script import STATIC_BYTES
from automcu.deploy.firmware.project import firmware_project
from tests.deploy.firmware.small import (
    BOARDS,
    DATA_BYTES,
    INPUT_BYTES,
    OUT_OF_RAM,
    OUTPUT_BYTES,
    OVERFLOW,
    image,
    network,
    outputs,
    toolchain,
)

BAD_CRC, WRONG_LENGTH, UNKNOWN_TYPE = (frame(b"e", bytes([code])) for code in (1, 2, 3))
INPUTS = bytes(range(1, INPUT_BYTES + 1))
INFER = frame(b"X", INPUTS)
SECONDS = 20.0


class Line:
    """The serial line to a virtual board."""

    def __init__(self, name: str) -> None:
        self._emulator = Emulator(load_board(name), image(name), SECONDS)

    def ask(self, data: bytes) -> bytes:
        """All that the board sends before it waits again."""
        self._emulator.write(data)
        answer = bytearray()
        while more := self._emulator.read(4096, SECONDS):
            answer += more
        return bytes(answer)

    def close(self) -> None:
        self._emulator.close()


@contextmanager
def line(name: str) -> Iterator[Line]:
    opened = Line(name)
    try:
        yield opened
    finally:
        opened.close()


def answer(payload: bytes) -> bytes:
    """The outputs of an `x` frame."""
    assert payload[:6] == b"\xa5x" + (8 + OUTPUT_BYTES).to_bytes(4, "little")
    return payload[14 : 14 + OUTPUT_BYTES]


@pytest.mark.parametrize("name", BOARDS)
def test_it_identifies_itself_infers_and_measures(name: str) -> None:
    board = load_board(name)
    with VirtualBoard(board).open(image(name)) as session:
        identity = session.identify()
        assert identity.network_sha256 == "010203ff" + "00" * 28
        assert (identity.input_bytes, identity.output_bytes, identity.arena_bytes) == (INPUT_BYTES, OUTPUT_BYTES, 64)
        assert identity.clock_hz == board.reset_clock_hz
        before = session.statistics()
        for inputs in (INPUTS, INPUTS[::-1]):
            assert session.infer(inputs).outputs == outputs(inputs)
        after = session.statistics()
        assert after.stack_bytes == before.stack_bytes == board.reserved_ram_bytes - STATIC_BYTES
        assert 0 < before.stack_peak_bytes <= after.stack_peak_bytes < 200
        assert DATA_BYTES < after.static_ram_bytes <= STATIC_BYTES
        with pytest.raises(BoardFault, match="0x60000000, outside the part's memory"):
            session.infer(bytes([OUT_OF_RAM]) * INPUT_BYTES)


@pytest.mark.parametrize("name", BOARDS)
def test_a_frame_that_it_cannot_take_is_refused_and_the_next_is_answered(name: str) -> None:
    broken = bytes([*INFER[:9], INFER[9] ^ 1, *INFER[10:]])
    with line(name) as board:
        assert board.ask(b"") == frame(b"r")
        assert board.ask(broken) == BAD_CRC
        assert board.ask(broken[:-4] + INFER[-4:]) == BAD_CRC
        for length in (INPUT_BYTES - 1, INPUT_BYTES + 1, 0, 2**32 - 1):
            header = b"\xa5X" + length.to_bytes(4, "little")
            assert board.ask(header) == WRONG_LENGTH
            assert board.ask(INPUTS) == b""  # it looks for the next frame, and there is none in it
        assert board.ask(frame(b"I", b"more")[:6]) == WRONG_LENGTH
        assert board.ask(frame(b"Z")) == UNKNOWN_TYPE
        assert answer(board.ask(INFER)) == outputs(INPUTS)
        assert board.ask(frame(b"Q")) == frame(b"q")
        assert board.ask(frame(b"I")) == b""  # it sleeps


@settings(max_examples=25, deadline=None)
@given(st.binary(max_size=80), st.integers(0, len(INFER)))
def test_zeros_bring_it_back_whatever_came_before(garbage: bytes, cut: int) -> None:
    with line("nucleo_f446re") as board:
        board.ask(garbage)
        board.ask(INFER[:cut])
        board.ask(bytes(INPUT_BYTES + 16))
        assert answer(board.ask(INFER)) == outputs(INPUTS)


def test_statistics_tell_the_deepest_stack() -> None:
    with line("nucleo_f446re") as board:
        board.ask(frame(b"X", INPUTS))
        peak, stack, static = unpack("<III", board.ask(frame(b"S"))[6:18])
        assert 0 < peak < stack and DATA_BYTES < static <= STATIC_BYTES
        with pytest.raises(BoardFault, match="outside the part's memory"):
            board.ask(frame(b"X", bytes([OVERFLOW]) * INPUT_BYTES))


@pytest.mark.slow
@pytest.mark.parametrize("board", load_boards(), ids=lambda board: board.name)
def test_every_board_of_the_table_boots_and_infers(board: Board) -> None:
    with VirtualBoard(board).open(image(board.name)) as session:
        assert session.infer(INPUTS).outputs == outputs(INPUTS)


def test_an_image_is_the_same_each_time() -> None:
    project = firmware_project(load_board("nucleo_f446re"), network())
    assert toolchain().build(project).elf == image("nucleo_f446re").elf
