"""A real board: flashed through its debug probe, spoken to over the serial port that the probe offers on USB."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import serial
from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo

from automcu.board import Board
from automcu.deploy.boards.flashing.flasher import Flasher
from automcu.deploy.boards.flashing.tool import PROBE
from automcu.deploy.boards.link import BoardDisconnected, BoardHung, BoardUnavailable, Unit
from automcu.deploy.boards.protocol import ProtocolSession
from automcu.deploy.firmware.project import BAUD_RATE
from automcu.deploy.toolchain.toolchain import Image
from automcu.errors import InfraFailure

_ST_VENDOR_ID = 0x0483
_ST_LINK_PRODUCT_IDS = range(0x3740, 0x3760)
"""ST-LINK/V2-1 and V3, which have a serial port (USB IDs 0483:374a to 0483:3757), and nothing else."""
_WRITE_SLACK_SECONDS = 5.0
_SHA256_BYTES = 32


@dataclass(frozen=True, slots=True)
class Port:
    """A serial port: its device file, and the serial number of the debug probe that it belongs to, where known."""

    device: str
    probe: str | None


def find_port(device: str | None, probe: str | None) -> Port:
    """The port at `device`; without one, that of the only ST-LINK, or of the one with the serial number `probe`.

    Raises `BoardUnavailable` when there is none, or more than one.
    """
    st_links = [port for port in list_ports.comports() if _is_st_link(port)]
    if device is not None:
        same = (port for port in st_links if os.path.realpath(port.device) == os.path.realpath(device))
        return Port(device, probe or next(map(_probe_of, same), None))
    fitting = [port for port in st_links if probe is None or (port.serial_number or "").upper() == probe.upper()]
    if len(fitting) == 1:
        return Port(fitting[0].device, _probe_of(fitting[0]))
    if not fitting:
        which = "" if probe is None else f" with the serial number {probe}"
        raise BoardUnavailable(
            f"no serial port of an ST-LINK{which} is connected; connect the board by USB, or name its port"
        )
    ports = ", ".join(f"{port.device} (probe {port.serial_number})" for port in fitting)
    raise BoardUnavailable(f"several boards are connected: {ports}; name the port, or the probe, of one")


def _is_st_link(port: ListPortInfo) -> bool:
    return port.vid == _ST_VENDOR_ID and port.pid in _ST_LINK_PRODUCT_IDS


def _probe_of(port: ListPortInfo) -> str | None:
    """The serial number of the probe; None for a garbled one, as old firmware of the ST-LINK/V2-1 has."""
    number: str = port.serial_number or ""
    return number if PROBE.fullmatch(number) else None


class SerialTransport:
    """A `Transport` over a serial port, which no other process can open as one while this one lives.

    Raises `BoardUnavailable` when the port cannot be opened.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        try:
            self._port = serial.Serial(device, BAUD_RATE, exclusive=True)
        except (serial.SerialException, OSError) as error:
            raise BoardUnavailable(f"{device} {_why_not_opened(error)}") from error

    def read(self, count: int, timeout_seconds: float) -> bytes:
        """See `Transport`."""
        try:
            self._port.timeout = timeout_seconds
            return bytes(self._port.read(count))
        except (serial.SerialException, OSError) as error:
            raise self._gone() from error

    def write(self, data: bytes) -> None:
        """See `Transport`. The line has no flow control: a port that takes too long is broken, whatever the board."""
        try:
            self._port.write_timeout = _WRITE_SLACK_SECONDS + 2 * 10 * len(data) / BAUD_RATE
            self._port.write(data)
        except (serial.SerialException, OSError) as error:
            raise self._gone() from error

    def close(self) -> None:
        """See `Transport`."""
        with suppress(serial.SerialException, OSError):
            self._port.close()

    def _gone(self) -> BoardDisconnected:
        return BoardDisconnected(f"the board at {self._device} went away; check its cable and power, and deploy anew")


def _why_not_opened(error: OSError) -> str:
    """The part of a message after the name of a port that cannot be opened. pyserial gives no number for some errors,
    but it keeps the one of the system as the context."""
    context = error.__context__
    number = error.errno or (context.errno if isinstance(context, OSError) else None)
    match number:
        case errno.ENOENT | errno.ENODEV | errno.ENXIO | errno.EIO:
            return "is not there; plug the board in, or name another port"
        case errno.EACCES | errno.EPERM:
            return "may not be opened by this user; add the user to the port's group (often dialout)"
        case errno.EBUSY | errno.EAGAIN:
            return "is in use by another process; wait for it, or close it"
        case _:
            return "is no serial port; name another one"


class SerialBoard:
    """The board on the table, as a `BoardLink`. What it counts are clock cycles of the core.

    The port is locked before the part is written and until the context is left, so that two processes never share a
    board. What answers must be the image that was flashed: its network's hash is compared.
    """

    name = "serial"
    unit: Unit = "cycles"

    def __init__(
        self,
        board: Board,
        port: str | None,
        flasher: Flasher,
        probe: str | None = None,
        limit_seconds: float = 60.0,
    ) -> None:
        """`port` is a device such as `/dev/ttyACM0`, `probe` the serial number of the ST-LINK; each finds the other,
        and neither is needed (None) where one board is connected. `limit_seconds` holds for one inference."""
        self._board = board
        self._flasher = flasher
        self._port = port
        self._probe = probe
        self._limit_seconds = limit_seconds

    @contextmanager
    def open(self, image: Image) -> Iterator[ProtocolSession]:
        """See `BoardLink`."""
        expected = network_sha256(image)
        port = find_port(self._port, self._probe)
        transport = SerialTransport(port.device)
        try:
            self._flasher.flash(self._board, image, port.probe)
            session = ProtocolSession(transport, image.symbols, self._limit_seconds)
            self._check(session, port, expected)
            yield session
            session.stop()
        finally:
            transport.close()

    def _check(self, session: ProtocolSession, port: Port, expected: str) -> None:
        try:
            found = session.identify().network_sha256
        except BoardHung as error:  # the image is right: it was compared after it was written
            raise BoardUnavailable(
                f"nothing answers at {port.device}, although {self._board.name} was flashed; "
                "check that the port is that board's"
            ) from error
        if found != expected:
            raise BoardUnavailable(
                f"the firmware at {port.device} holds another network ({found[:8]}) than was flashed "
                f"({expected[:8]}); check that the port is that of the board which was flashed"
            )


def network_sha256(image: Image) -> str:
    """The hash (hex) of the .tflite file whose network `image` holds. Raises `InfraFailure` when it holds none."""
    address = image.symbols.get("network_sha256")
    if address is not None:
        begin = address - image.load_address
        stored = image.binary[begin : begin + _SHA256_BYTES] if begin >= 0 else b""
        if len(stored) == _SHA256_BYTES:
            return stored.hex()
    raise InfraFailure("the image does not say which network it holds; build it from AutoMCU's own firmware")
