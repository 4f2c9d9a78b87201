"""The protocol between host and firmware; its other half is `automcu/deploy/firmware/protocol.c`.

A frame, in both directions: `0xA5`, type (one ASCII letter), length (u32), payload, CRC-32 (u32; zlib's, over type,
length and payload). All numbers are little-endian. A request has a capital letter, its reply the small one.

| request | reply |
|---|---|
| `I` | `i`: u8 version, counter, u16 0, u32 input, output, arena, stack bytes, clock in Hz; SHA-256 of the file |
| `X` inputs | `x`: ticks u64, outputs |
| `S` | `s`: u32 stack peak, stack, static RAM bytes |
| `Q` | `q`, then the firmware stops |

Unasked, the firmware sends `r` at start, `e` (code u8) for a request that arrived damaged, and `f` (u32: exception, pc,
lr, cfsr, address) from its fault handler. It answers one request at a time, in order, and has no receive buffer.

Nothing that the line does to the bytes gives a wrong answer. A frame counts only with the length that its type has and
its CRC; every request may be repeated without harm; and before one is, `_synchronise` asks who is there and throws
away all that comes earlier, so that a late answer is never taken for that to the next request.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from struct import Struct
from typing import Protocol
from zlib import crc32

from automcu.deploy.boards.faults import fault
from automcu.deploy.boards.link import BoardDisconnected, BoardFault, BoardHung, Identity, Inference, Statistics
from automcu.errors import DataError

VERSION = 1
START = 0xA5
_HEADER = Struct("<BcI")
_CRC = Struct("<I")
_IDENTITY = Struct("<BBHIIIII32s")
_TICKS = Struct("<Q")
_STATISTICS = Struct("<III")
_FAULT = Struct("<IIIII")
_LENGTHS = {
    b"i": _IDENTITY.size,
    b"s": _STATISTICS.size,
    b"q": 0,
    b"r": 0,
    b"e": 1,
    b"f": _FAULT.size,
}
"""Payload bytes of every type of frame that a board sends, but `x`, which has the network's outputs."""
_LARGEST_BYTES = 1 << 24
"""No part has as much RAM: an identity with larger sizes is none."""

_ATTEMPTS = 3
_SHORT_SECONDS = 2.0
"""Everything but an inference is answered at once; this leaves room for a busy host."""
_QUIET_SECONDS = 0.5
"""A pause this long inside a frame means that bytes were lost: a board sends a frame in one go."""
_BYTE_SECONDS = 0.002
"""Time for a byte on the slowest line (9,600 baud), twice."""


class Transport(Protocol):
    """A two-way line of bytes to a board. Raises `BoardDisconnected` when the other end is gone, and, where it can see
    the core itself, `BoardFault`."""

    def read(self, count: int, timeout_seconds: float) -> bytes:
        """The next `count` bytes; fewer when no more came within the time, or where none can come any more."""
        ...

    def write(self, data: bytes) -> None:
        """Send all of `data`."""
        ...

    def close(self) -> None:
        """Free the line; harmless when done twice."""
        ...


def frame(kind: bytes, payload: bytes = b"") -> bytes:
    """A whole frame of type `kind`."""
    head = _HEADER.pack(START, kind, len(payload))
    return b"".join((head, payload, _CRC.pack(crc32(payload, crc32(head[1:])))))


@dataclass(frozen=True, slots=True)
class _Frame:
    kind: bytes
    payload: bytes


class _FrameReader:
    """Finds frames in what a board sends, among any other bytes."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._buffer = bytearray()
        self.output_bytes: int | None = None
        """What the network answers, once that is known."""
        self.heard = False
        """Whether any byte came since this was last set to False."""

    def next(self, deadline: float) -> _Frame | None:
        """The next whole frame; None when there was none until `deadline` (of `time.monotonic`), or when what came was
        a frame before the line damaged it."""
        while True:
            start = self._buffer.find(START)
            del self._buffer[: start if start >= 0 else len(self._buffer)]
            if not self._fill(1, deadline):
                return None
            if self._buffer[0] != START:
                continue
            end = self._end(deadline)
            if end is not None and self._fill(end, self._inside(end, deadline)) and self._intact(end):
                found = _Frame(bytes(self._buffer[1:2]), bytes(self._buffer[_HEADER.size : end - _CRC.size]))
                del self._buffer[:end]
                return found
            del self._buffer[0]
            if end is not None:
                return None

    def _end(self, deadline: float) -> int | None:
        """Where the frame at the buffer's begin ends; None when there is none."""
        if not self._fill(_HEADER.size, self._inside(_HEADER.size, deadline)):
            return None
        _, kind, length = _HEADER.unpack_from(self._buffer)
        expected = _LENGTHS.get(kind)
        if kind == b"x" and self.output_bytes is not None:
            expected = _TICKS.size + self.output_bytes
        return _HEADER.size + length + _CRC.size if length == expected else None

    def _intact(self, end: int) -> bool:
        told: int = _CRC.unpack_from(self._buffer, end - _CRC.size)[0]
        return crc32(self._buffer[1 : end - _CRC.size]) == told

    @staticmethod
    def _inside(count: int, deadline: float) -> float:
        """Inside a frame the bytes follow one another: an earlier deadline than for its begin."""
        return min(deadline, time.monotonic() + _QUIET_SECONDS + count * _BYTE_SECONDS)

    def _fill(self, count: int, deadline: float) -> bool:
        """Whether the buffer holds `count` bytes, after reading what it lacks."""
        missing = count - len(self._buffer)
        seconds = deadline - time.monotonic()
        if missing > 0 and seconds > 0:
            data = self._transport.read(missing, seconds)
            self.heard = self.heard or bool(data)
            self._buffer += data
        return len(self._buffer) >= count


class ProtocolSession:
    """The `BoardSession` of every link whose board runs AutoMCU's firmware.

    An inference has `limit_seconds` each time it is tried, everything else two seconds at the most. `symbols` are the
    image's, to say in words where a fault happened.
    """

    def __init__(self, transport: Transport, symbols: Mapping[str, int], limit_seconds: float) -> None:
        self._transport = transport
        self._symbols = symbols
        self._limit_seconds = limit_seconds
        self._short_seconds = min(_SHORT_SECONDS, limit_seconds)
        self._reader = _FrameReader(transport)
        self._input_bytes = 0
        self._asked = False
        self._identity: Identity | None = None
        """Who is there; None while it is not certain that every request has had its answer."""

    def identify(self) -> Identity:
        """See `BoardSession`; also raises `BoardDisconnected` when the firmware speaks another version."""
        return self._identified(self._exchange(b"I", b"", self._short_seconds))

    def infer(self, inputs: bytes) -> Inference:
        """See `BoardSession`; also raises `DataError` when `inputs` has not the size that the network takes."""
        expected = self._synchronise().input_bytes
        if len(inputs) != expected:
            raise DataError(
                f"the network takes {expected:,} bytes of input, not {len(inputs):,}; "
                "give inputs of the shape and type that the network has"
            )
        payload = self._exchange(b"X", inputs, self._limit_seconds)
        return Inference(payload[_TICKS.size :], _TICKS.unpack_from(payload)[0])

    def statistics(self) -> Statistics:
        """See `BoardSession`."""
        return Statistics(*_STATISTICS.unpack(self._exchange(b"S", b"", self._short_seconds)))

    def stop(self) -> None:
        """Ask the firmware to stop, without insisting: a board that does not answer is no error here."""
        with suppress(BoardDisconnected, BoardFault):
            self._transport.write(frame(b"Q"))
            self._await(b"q", self._short_seconds)

    def _exchange(self, request: bytes, payload: bytes, seconds: float) -> bytes:
        """The reply's payload. A request that has no reply in time is repeated: none changes the board."""
        for _ in range(_ATTEMPTS):
            identity = self._synchronise()
            self._identity = None
            self._reader.heard = False
            self._transport.write(frame(request, payload))
            reply = self._await(request.lower(), seconds)
            if reply is not None:
                self._identity = identity
                return reply
        raise self._no_answer()

    def _synchronise(self) -> Identity:
        """Who is there. While it is not certain that every request has had its answer: ask, and throw away what comes
        before the reply.

        The first time, a board that starts says `r` before it can hear. Later, zero bytes go first: a firmware that
        waits for the rest of a damaged request takes them for it, finds the CRC wrong, and says so.
        """
        if self._identity is not None:
            return self._identity
        self._reader.heard = False
        for _ in range(_ATTEMPTS):
            if self._asked:
                self._transport.write(bytes(self._input_bytes + 16))
            self._await(b"e" if self._asked else b"r", min(_QUIET_SECONDS, self._limit_seconds))
            self._asked = True
            self._transport.write(frame(b"I"))
            payload = self._await(b"i", self._short_seconds)
            if payload is not None:
                return self._identified(payload)
        raise self._no_answer()

    def _identified(self, payload: bytes) -> Identity:
        version, _, _, inputs, outputs, arena, _, clock_hz, sha256 = _IDENTITY.unpack(payload)
        if version != VERSION or max(inputs, outputs, arena) > _LARGEST_BYTES:
            raise BoardDisconnected(
                f"the firmware on the board speaks version {version} of the protocol, not {VERSION}; "
                "put firmware built by this AutoMCU on it"
            )
        self._input_bytes = inputs
        self._reader.output_bytes = outputs
        self._identity = Identity(sha256.hex(), inputs, outputs, arena, clock_hz)
        return self._identity

    def _await(self, kind: bytes, seconds: float) -> bytes | None:
        """The payload of the next frame of type `kind`. None when there is none in time, or what came says that there
        will be none: an `e`, a damaged frame, or an `r` in the middle (the board has restarted)."""
        deadline = time.monotonic() + seconds
        while (found := self._reader.next(deadline)) is not None:
            if found.kind == b"f":
                exception, pc, _, cfsr, address = _FAULT.unpack(found.payload)
                raise fault(exception, pc, cfsr, address, self._symbols)
            if found.kind == kind:
                return found.payload
            if found.kind == b"e" or (found.kind == b"r" and kind in b"xs"):
                return None
        return None

    def _no_answer(self) -> BoardDisconnected | BoardHung:
        if self._reader.heard:
            return BoardDisconnected(
                "what comes from the board is not the protocol; check the cable, the port and its speed"
            )
        return BoardHung(
            f"the firmware does not answer within {self._limit_seconds:g} s; "
            "raise the time limit if the network is large, else reset the board and report the network"
        )
