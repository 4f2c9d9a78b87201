"""The protocol against a board written in Python, over a line that damages what it carries."""

import time
from collections import deque
from collections.abc import Callable
from struct import pack, unpack
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automcu.deploy.boards.link import BoardDisconnected, BoardFault, BoardHung, Identity, Inference, Statistics
from automcu.deploy.boards.protocol import ProtocolSession, frame
from automcu.errors import AutoMCUError, DataError

INPUT_BYTES = 6
SHA256 = bytes(range(32))
IDENTITY = Identity(SHA256.hex(), INPUT_BYTES, 3, 64, 168_000_000)


def answer(inputs: bytes) -> bytes:
    """The 'network': three bytes that depend on every byte of the input."""
    return crc32(inputs).to_bytes(4, "little")[:3]


class Board:
    """The device's half of the protocol, byte by byte, as the firmware does it; `send` gets what it says."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._got = bytearray()
        self.runs = 0
        send(frame(b"r"))

    def receive(self, byte: int) -> None:
        self._got.append(byte)
        if self._got[0] != 0xA5:
            self._got.clear()
        if len(self._got) < 6:
            return
        kind, length = unpack("<BcI", self._got[:6])[1:]
        if kind not in (b"I", b"X", b"S", b"Q") or length != (INPUT_BYTES if kind == b"X" else 0):
            self._got.clear()
            self._send(frame(b"e", b"\2"))
        elif len(self._got) == 10 + length:
            payload, told = bytes(self._got[6:-4]), self._got[-4:]
            intact = crc32(self._got[1:-4]).to_bytes(4, "little") == told
            self._got.clear()
            self._send(self._reply(kind, payload) if intact else frame(b"e", b"\1"))

    def _reply(self, kind: bytes, payload: bytes) -> bytes:
        match kind:
            case b"I":
                return frame(b"i", pack("<BBHIIIII", 1, 1, 0, INPUT_BYTES, 3, 64, 2048, 168_000_000) + SHA256)
            case b"X":
                self.runs += 1
                return frame(b"x", pack("<Q", 7) + answer(payload))
            case b"S":
                return frame(b"s", pack("<III", 300, 2048, 99))
            case _:
                return frame(b"q")


class Line:
    """A transport to a `Board`. `damage` is what happens to the next bytes, both ways, one after the other: None lets
    a byte pass; bytes take its place (none: it is lost). After the last one all is well."""

    def __init__(self, damage: list[bytes | None] = (), board: bool = True) -> None:
        self._damage = deque(damage)
        self._waiting = bytearray()
        self.board = Board(self.send) if board else None

    def _carry(self, byte: int) -> bytes:
        damage = self._damage.popleft() if self._damage else None
        return bytes([byte]) if damage is None else damage

    def send(self, data: bytes) -> None:
        for byte in data:
            self._waiting += self._carry(byte)

    def write(self, data: bytes) -> None:
        for sent in data:
            for byte in self._carry(sent):
                if self.board:
                    self.board.receive(byte)

    def read(self, count: int, timeout_seconds: float) -> bytes:
        data = bytes(self._waiting[:count])
        del self._waiting[:count]
        return data

    def close(self) -> None: ...


def session(line: Line, limit_seconds: float = 5.0) -> ProtocolSession:
    return ProtocolSession(line, {"network_run": 0x08000101, "reset": 0x08000041}, limit_seconds)


def test_a_good_line():
    line = Line()
    board = session(line)
    assert board.identify() == IDENTITY
    assert board.infer(b"abcdef") == Inference(answer(b"abcdef"), 7)
    assert board.statistics() == Statistics(300, 2048, 99)
    assert line.board.runs == 1
    board.stop()


@given(st.lists(st.none() | st.binary(max_size=3), max_size=300))
def test_damage_never_gives_a_wrong_answer(damage):
    board = session(Line(damage))
    for inputs in (b"abcdef", b"\xa5XXXXX", b"\0\0\0\0\0\0"):
        try:
            inference = board.infer(inputs)
        except BoardDisconnected:
            continue
        assert inference == Inference(answer(inputs), 7)


@given(st.data())
def test_a_damaged_byte_is_healed(data):
    """Any one byte, lost or changed, at any time: every call still gets its answer."""
    damage = [None] * data.draw(st.integers(0, 220)) + [data.draw(st.binary(max_size=2))]
    board = session(Line(damage))
    assert board.identify() == IDENTITY
    for inputs in (b"abcdef", b"\xa5XXXXX"):
        assert board.infer(inputs).outputs == answer(inputs)
    assert board.statistics() == Statistics(300, 2048, 99)


def test_a_late_reply_is_not_taken_for_the_next_one():
    """A false header swallows the reply to the first request, which comes out of the buffer later on."""
    line = Line()
    board = session(line)
    board.identify()
    line._waiting += frame(b"x", bytes(11))[:6]
    assert board.infer(b"abcdef").outputs == answer(b"abcdef")
    assert board.infer(b"ghijkl").outputs == answer(b"ghijkl")


class Garbage(Line):
    """Sends `data` over and over, whatever it is asked."""

    def __init__(self, data: bytes) -> None:
        super().__init__(board=False)
        self._data = data
        self._at = 0

    def read(self, count: int, timeout_seconds: float) -> bytes:
        found = bytes(self._data[(self._at + offset) % len(self._data)] for offset in range(count))
        self._at += count
        return found


FRAGMENTS = st.sampled_from(
    [b"\xa5", b"\xa5x\xff\xff\xff\xff", b"\xa5i\x38\0\0\0", b"\xa5x\x0b\0\0\0", frame(b"e", b"\1"), frame(b"r")]
)


@settings(max_examples=20)  # each waits
@given(st.lists(FRAGMENTS | st.binary(min_size=1, max_size=20), min_size=1, max_size=6).map(b"".join))
def test_endless_garbage_ends_in_time(data):
    board = session(Garbage(data), limit_seconds=0.002)
    start = time.monotonic()
    for call in (board.identify, board.statistics, lambda: board.infer(bytes(INPUT_BYTES))):
        with pytest.raises(BoardDisconnected, match="not the protocol"):
            call()
    assert time.monotonic() - start < 5


def test_silence_is_a_hung_board():
    with pytest.raises(BoardHung, match=r"does not answer within 0\.01 s"):
        session(Line(board=False), limit_seconds=0.01).identify()


def test_a_length_of_four_gigabytes_is_not_waited_for():
    line = Line()
    board = session(line)
    board.identify()
    line._waiting += b"\xa5x\xff\xff\xff\xff" + b"\xa5i\xff\xff\xff\xff"
    assert board.infer(b"abcdef").outputs == answer(b"abcdef")
    assert line.board.runs == 1


@pytest.mark.parametrize("version, arena_bytes", [(2, 64), (1, 0xFFFF_FFFF)])
def test_another_firmware(version, arena_bytes):
    line = Line(board=False)
    line._waiting += frame(b"i", pack("<BBHIIIII", version, 1, 0, 6, 3, arena_bytes, 0, 1) + SHA256)
    line._waiting = bytearray(frame(b"e", b"\1")) + line._waiting
    with pytest.raises(BoardDisconnected, match="put firmware built by this AutoMCU"):
        session(line).identify()


def test_wrong_size_of_the_input():
    board = session(Line())
    with pytest.raises(DataError, match="takes 6 bytes of input, not 5"):
        board.infer(b"abcde")
    assert board.infer(b"abcdef").outputs == answer(b"abcdef")


def test_a_fault_in_words():
    line = Line()
    board = session(line)
    board.identify()
    line._waiting += frame(b"f", pack("<IIIII", 3, 0x08000110, 0, 1 << 9 | 1 << 15, 0x2005A7E8))
    with pytest.raises(BoardFault, match=r"HardFault.*outside.*0x2005a7e8.*pc 0x08000110 \(network_run \+ 16\)"):
        board.infer(b"abcdef")


@given(st.integers(0, 0xFFFF_FFFF), st.integers(0, 0xFFFF_FFFF), st.integers(0, 0xFFFF_FFFF))
def test_any_fault_has_words(exception, pc, cfsr):
    line = Line(board=False)
    line._waiting += frame(b"f", pack("<IIIII", exception, pc, 0, cfsr, 0xFFFF_FFFF))
    with pytest.raises(BoardFault) as caught:
        session(line, 0.01).identify()
    assert f"0x{pc:08x}" in str(caught.value) and isinstance(caught.value, AutoMCUError)
