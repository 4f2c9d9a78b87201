"""A serial board over a pseudo-terminal, at whose other end a board written in Python speaks the protocol."""

import errno
import os
import pty
import select
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import serial
from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo

from automcu.board import Board
from automcu.board_table import load_board
from automcu.deploy.boards.emulator import Emulator
from automcu.deploy.boards.link import (
    BoardDisconnected,
    BoardFault,
    BoardHung,
    BoardLink,
    BoardUnavailable,
    FlashFailed,
    Inference,
    Statistics,
)
from automcu.deploy.boards.protocol import frame
from automcu.deploy.boards.serial import Port, SerialBoard, SerialTransport, find_port, network_sha256
from automcu.deploy.toolchain.toolchain import Image
from automcu.deploy.toolchain.zig import ZigToolchain
from automcu.errors import InfraFailure
from tests.contracts.board_link import BoardLinkContract, firmware
from tests.deploy.boards.test_protocol import SHA256, answer
from tests.deploy.boards.test_protocol import Board as SimulatedBoard

BOARD = load_board("nucleo_f446re")
LOAD_ADDRESS = 0x0800_0000
IMAGE = Image(
    b"", bytes(100) + SHA256 + bytes(20), LOAD_ADDRESS, 152, 0, 0, {"network_sha256": LOAD_ADDRESS + 100}, "t"
)
OTHER = Image(b"", bytes(152), LOAD_ADDRESS, 152, 0, 0, IMAGE.symbols, "t")


class Desk:
    """A board at a serial port: the firmware runs, or not, in a thread, once it is flashed."""

    def __init__(self) -> None:
        self._master, self._slave = pty.openpty()
        tty.setraw(self._master)
        self.device = os.ttyname(self._slave)
        self.change: Callable[[bytes], bytes] = lambda data: data
        """What the line does to what the board sends."""
        self.silent = False
        self._firmware: SimulatedBoard | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    @property
    def runs(self) -> int:
        return 0 if self._firmware is None else self._firmware.runs

    def start(self) -> None:
        self._firmware = SimulatedBoard(self._send)

    def send(self, data: bytes) -> None:
        os.write(self._master, data)

    def _send(self, data: bytes) -> None:
        with suppress(OSError):
            self.send(self.change(data))

    def _serve(self) -> None:
        while not self._ended.is_set():
            with suppress(OSError, ValueError):
                if select.select([self._master], [], [], 0.02)[0]:
                    for byte in os.read(self._master, 4096):
                        if self._firmware and not self.silent:
                            self._firmware.receive(byte)

    def unplug(self) -> None:
        """As when the USB cable is pulled: the port is still open, but dead."""
        if not self._ended.is_set():
            self._ended.set()
            if threading.current_thread() is not self._thread:
                self._thread.join()
            os.close(self._slave)
            os.close(self._master)

    def close(self) -> None:
        self.unplug()
        self._thread.join()


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    made = Desk()
    monkeypatch.setattr(list_ports, "comports", lambda: [st_link(made.device)])
    yield made
    made.close()


@dataclass
class Flashed:
    """A flasher that does what it is told, and starts the firmware."""

    then: Callable[[], None]
    probes: list[str | None] = field(default_factory=list)
    name: str = "fake"

    def flash(self, board: Board, image: Image, probe: str | None) -> None:
        self.probes.append(probe)
        self.then()


def link(desk: Desk, limit_seconds: float = 0.2, then: Callable[[], None] | None = None) -> SerialBoard:
    return SerialBoard(BOARD, None, Flashed(then or desk.start), limit_seconds=limit_seconds)


def st_link(device: str, serial_number: str | None = "066D", vid: int = 0x0483, pid: int = 0x374B) -> ListPortInfo:
    port = ListPortInfo(device)
    port.vid, port.pid, port.serial_number = vid, pid, serial_number
    return port


def free(device: str) -> bool:
    """Whether the port can be opened by one process alone."""
    with serial.Serial(device, exclusive=True):
        return True


class EmulatedDesk:
    """The real firmware at a serial port: flashing starts a virtual board, whose line is the pseudo-terminal."""

    name = "virtual"

    def __init__(self) -> None:
        self._master, self._slave = pty.openpty()
        tty.setraw(self._master)
        self.device = os.ttyname(self._slave)
        self._emulator: Emulator | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def flash(self, board: Board, image: Image, probe: str | None) -> None:
        while select.select([self._master], [], [], 0)[0]:  # a part in reset hears nothing
            os.read(self._master, 4096)
        self._emulator = Emulator(board, image, limit_seconds=0.5)

    def _serve(self) -> None:
        while not self._ended.is_set():
            ready = select.select([self._master], [], [], 0.01)[0]
            running = self._emulator
            if running is not None:
                try:
                    if ready:
                        running.write(os.read(self._master, 4096))
                    os.write(self._master, running.read(4096, 0.5))
                except BoardFault:  # a core's own handler would have sent this
                    os.write(self._master, frame(b"f", bytes(20)))
                    self._emulator = None
                except BoardHung:
                    self._emulator = None

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        os.close(self._slave)
        os.close(self._master)


@pytest.mark.slow
class TestTheRealFirmware(BoardLinkContract):
    @pytest.fixture
    def link_of(self) -> Iterator[Callable[[float], BoardLink]]:
        desk = EmulatedDesk()
        yield lambda limit_seconds: SerialBoard(BOARD, desk.device, desk, limit_seconds=limit_seconds)
        desk.close()

    @pytest.fixture
    def image(self) -> Image:
        return ZigToolchain().build(firmware(BOARD))


# --- a board that works ------------------------------------------------------------------------------------------


def test_flash_identify_infer_measure_stop(desk: Desk) -> None:
    flasher = Flashed(desk.start)
    board: BoardLink = SerialBoard(BOARD, None, flasher, limit_seconds=0.2)
    assert board.unit == "cycles" and board.name == "serial"
    with board.open(IMAGE) as session:
        assert session.identify().network_sha256 == SHA256.hex()
        assert session.infer(b"abcdef") == Inference(answer(b"abcdef"), 7)
        assert session.statistics() == Statistics(300, 2048, 99)
    assert flasher.probes == ["066D"]  # that of the port's own probe, so that no other board is written
    assert free(desk.device)


def test_what_came_before_the_reset_does_no_harm(desk: Desk) -> None:
    desk.send(b"\xa5i\x38\0\0\0" + os.urandom(3000))
    with link(desk).open(IMAGE) as session:
        assert session.infer(b"abcdef").outputs == answer(b"abcdef")


def test_a_corrupted_byte_is_healed(desk: Desk) -> None:
    with link(desk).open(IMAGE) as session:
        whole = iter([False])

        def damage(data: bytes) -> bytes:
            return data if next(whole, True) else data[:-1] + bytes([data[-1] ^ 1])

        desk.change = damage
        assert session.infer(b"abcdef") == Inference(answer(b"abcdef"), 7)
    assert desk.runs == 2


# --- a board that does not ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_garbage_for_ever(desk: Desk) -> None:
    with link(desk, limit_seconds=0.2).open(IMAGE) as session:
        desk.change = lambda data: os.urandom(len(data)).replace(b"\xa5", b"x")
        with pytest.raises(BoardDisconnected, match="not the protocol; check the cable"):
            session.infer(b"abcdef")
    assert free(desk.device)


def test_a_board_that_hangs(desk: Desk) -> None:
    with link(desk, limit_seconds=0.1).open(IMAGE) as session:
        desk.silent = True
        with pytest.raises(BoardHung, match=r"does not answer within 0\.1 s"):
            session.infer(b"abcdef")
    assert free(desk.device)


def test_a_fault(desk: Desk) -> None:
    with link(desk).open(IMAGE) as session:
        desk.change = lambda data: frame(b"f", bytes(20))
        with pytest.raises(BoardFault):
            session.infer(b"abcdef")


def test_unplugged_in_the_middle_of_an_inference(desk: Desk) -> None:
    def pull(data: bytes) -> bytes:
        desk.send(data[:4])
        time.sleep(0.05)
        desk.unplug()
        return b""

    with link(desk).open(IMAGE) as session:
        desk.change = pull
        with pytest.raises(BoardDisconnected, match="went away; check its cable"):
            session.infer(b"abcdef")


def test_unplugged_between_two_requests(desk: Desk) -> None:
    with link(desk).open(IMAGE) as session:
        assert session.identify()
        desk.unplug()
        with pytest.raises(BoardDisconnected, match="went away"):
            session.infer(b"abcdef")


def test_flashing_that_fails_leaves_the_port_free_and_is_not_repeated(desk: Desk) -> None:
    def fail() -> None:
        raise FlashFailed("x; y")

    board = SerialBoard(BOARD, None, flasher := Flashed(fail))
    with pytest.raises(FlashFailed), board.open(IMAGE):
        raise AssertionError
    assert len(flasher.probes) == 1 and free(desk.device)


def test_stale_firmware(desk: Desk) -> None:
    reason = r"another network \(00010203\) than was flashed \(00000000\)"
    with pytest.raises(BoardUnavailable, match=reason), link(desk).open(OTHER):
        raise AssertionError
    assert free(desk.device)


def test_nothing_answers_after_flashing(desk: Desk) -> None:
    """Some other board's port: the network is not at fault."""
    board = link(desk, 0.05, lambda: None)
    with pytest.raises(BoardUnavailable, match="check that the port is that board's"), board.open(IMAGE):
        raise AssertionError


def test_an_error_of_the_caller_frees_the_port(desk: Desk) -> None:
    with pytest.raises(ZeroDivisionError), link(desk).open(IMAGE):
        raise ZeroDivisionError
    assert free(desk.device)


# --- the port ----------------------------------------------------------------------------------------------------


def test_two_processes_never_share_a_board(desk: Desk) -> None:
    flasher = Flashed(desk.start)
    code = f"import serial; port = serial.Serial({desk.device!r}, exclusive=True); print(1, flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline()
        board = SerialBoard(BOARD, None, flasher, limit_seconds=0.2)
        with pytest.raises(BoardUnavailable, match="in use by another process"), board.open(IMAGE):
            raise AssertionError
    assert flasher.probes == []  # nothing was written to a board that another one uses
    with SerialBoard(BOARD, None, flasher, limit_seconds=0.2).open(IMAGE):
        pass


def test_a_port_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BoardUnavailable, match="is not there; plug the board in"):
        SerialTransport(str(tmp_path / "ttyACM9"))


def test_a_file_that_is_no_port(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path):
        with pytest.raises(BoardUnavailable, match="is no serial port"):
            SerialTransport(str(path))


def test_no_permission(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's own answer, which a super-user would not get."""

    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("serial.serialposix.os.open", refuse)
    with pytest.raises(BoardUnavailable, match=r"add the user to the port's group \(often dialout\)"):
        SerialTransport(desk.device)


def test_the_port_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    ports = [
        st_link("/dev/ttyS0", None, 0, 0),
        st_link("/dev/ttyUSB0", "A1", 0x10C4),
        st_link("/dev/ttyACM0", "C3", pid=0x5740),
    ]
    monkeypatch.setattr(list_ports, "comports", lambda: ports)
    with pytest.raises(BoardUnavailable, match="no serial port of an ST-LINK is connected; connect the board by USB"):
        find_port(None, None)
    ports.append(st_link("/dev/ttyACM1", "066DFF"))
    assert find_port(None, None) == find_port("/dev/ttyACM1", None) == Port("/dev/ttyACM1", "066DFF")
    assert find_port("/dev/ttyUSB0", None) == Port("/dev/ttyUSB0", None)
    ports[-1].serial_number = "W\xffo\x06"
    assert find_port(None, None) == Port("/dev/ttyACM1", None)
    ports[-1].serial_number = "066DFF"
    assert find_port("/dev/ttyUSB0", "066DFF") == Port("/dev/ttyUSB0", "066DFF")
    ports.append(st_link("/dev/ttyACM2", "002C002B", pid=0x374E))
    with pytest.raises(BoardUnavailable, match=r"/dev/ttyACM1 \(probe 066DFF\), /dev/ttyACM2 \(probe 002C002B\); name"):
        find_port(None, None)
    assert find_port(None, "002c002b") == Port("/dev/ttyACM2", "002C002B")
    with pytest.raises(BoardUnavailable, match="with the serial number 066E"):
        find_port(None, "066E")


def test_a_port_by_another_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "by-id").symlink_to("/dev/null")
    monkeypatch.setattr(list_ports, "comports", lambda: [st_link("/dev/null")])
    assert find_port(str(tmp_path / "by-id"), None).probe == "066D"


@pytest.mark.parametrize(
    "symbols", [{}, {"network_sha256": 0x2000_0000}, {"network_sha256": LOAD_ADDRESS + 130}, {"network_sha256": 0}]
)
def test_an_image_without_a_network(symbols: dict[str, int]) -> None:
    with pytest.raises(InfraFailure, match="which network"):
        network_sha256(Image(b"", IMAGE.binary, LOAD_ADDRESS, 152, 0, 0, symbols, "t"))
