"""A second opinion on the virtual board: QEMU (`qemu-system-arm`), where it is installed and models the part.

With `-icount shift=0` QEMU's clock advances by a nanosecond for each instruction, so that a counter which the firmware
reads before and after an inference tells how many were executed. QEMU has no cycle counter (DWT); the firmware falls
back to SysTick, which runs at the clock of the machine.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from automcu.board import Board
from automcu.deploy.boards.link import (
    BoardDisconnected,
    BoardSession,
    BoardUnavailable,
    Identity,
    Inference,
    Statistics,
    Unit,
)
from automcu.deploy.boards.protocol import ProtocolSession
from automcu.deploy.toolchain.toolchain import Image
from automcu.errors import InfraFailure
from automcu.feasibility.program import child_environment
from automcu.feasibility.temporary import temporary_folder

_START_SECONDS = 20.0
_POLL_SECONDS = 0.05
_SHOWN_CHARACTERS = 200
_GUARD = 'ulimit -f 2048; exec 3<&0; { read -r _ <&3; kill -KILL 0; } & exec "$@" </dev/null 3<&-'
"""QEMU runs until it is killed. A shell beside it waits for a line that never comes: when this process dies, however it
does, the pipe ends, and the shell kills their process group. No file that QEMU writes, such as the log, gets larger
than 1 MiB (2,048 blocks of 512 bytes)."""

_MACHINE = "netduinoplus2"
_SERIES = "STM32F4"
_UARTS = (0x4001_1000, 0x4000_4400, 0x4000_4800, 0x4000_4C00, 0x4000_5000, 0x4001_1400)
"""In the order of QEMU's options `-serial`."""
_SYSTICK_HZ = 168_000_000
_MEMORIES = {"flash": (0x0800_0000, 1 << 20), "ram": (0x2000_0000, 128 << 10)}
"""Address and size of what the machine has."""


def models(board: Board) -> bool:
    """Whether QEMU has a machine that runs the board's firmware.

    That machine is an STM32F405. It stands for those other parts of the series that have no more Flash and RAM: core
    and addresses are the same, and how much memory the part has is checked by the linker. QEMU's STM32L475
    (`b-l475e-iot01a`, in 10.0) is of no use: its UART hands over a first byte and no second one, unless something else
    wakes QEMU up.
    """
    return (
        board.part.startswith(_SERIES)
        and board.uart.address in _UARTS
        and all(
            _MEMORIES[region.kind][0] <= region.address
            and region.address + region.size_bytes <= sum(_MEMORIES[region.kind])
            for region in board.regions
        )
    )


class QemuBoard:
    """A board in QEMU, as a `BoardLink`. What it counts are executed instructions, within a tick of SysTick (6) of the
    true number."""

    name = "qemu"
    unit: Unit = "instructions"

    def __init__(self, board: Board, limit_seconds: float = 60.0) -> None:
        """`limit_seconds` holds for one inference.

        Raises `BoardUnavailable` when QEMU models no such part, or is not installed.
        """
        if not models(board):
            raise BoardUnavailable(f"QEMU has no machine that stands for {board.name}; use the virtual board")
        program = shutil.which("qemu-system-arm")
        if program is None:
            raise BoardUnavailable("qemu-system-arm is not on PATH; install QEMU for Arm, or use the virtual board")
        self._program = program
        self._ports_before = _UARTS.index(board.uart.address)
        self._limit_seconds = limit_seconds

    @contextmanager
    def open(self, image: Image) -> Iterator[BoardSession]:
        """See `BoardLink`. QEMU is gone at the end, whatever happens, even when this process is killed."""
        with temporary_folder() as folder, _listen(folder) as listener:
            try:
                (folder / "image.elf").write_bytes(image.elf)
                log = (folder / "log").open("w+b")
            except OSError as error:
                raise InfraFailure(f"no temporary file can be written ({error.strerror}); free disk space") from error
            with log, self._run(folder, log.fileno()) as process:
                line = _Line(self._accept(process, listener, folder), self._limit_seconds)
                try:
                    session = ProtocolSession(line, image.symbols, self._limit_seconds)
                    yield _Counting(session)
                finally:
                    line.close()

    @contextmanager
    def _run(self, folder: Path, log: int) -> Iterator[subprocess.Popen[bytes]]:
        arguments = [self._program, "-machine", _MACHINE, "-nodefaults", "-display", "none", "-no-reboot"]
        arguments += ["-icount", "shift=0", "-kernel", "image.elf", "-chardev", "socket,id=uart,path=uart"]
        arguments += ["-serial", "null"] * self._ports_before + ["-serial", "chardev:uart"]
        try:
            process = subprocess.Popen(
                ["/bin/sh", "-c", _GUARD, "sh", *arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=folder,
                env=child_environment(),
                start_new_session=True,
            )
        except OSError as error:
            raise BoardUnavailable(f"QEMU cannot be started ({error.strerror}); check its installation") from error
        assert process.stdin is not None
        try:
            yield process
        finally:
            # Before the process is reaped, so that its group's number cannot belong to another.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            process.stdin.close()

    def _accept(self, process: subprocess.Popen[bytes], listener: socket.socket, folder: Path) -> socket.socket:
        """The connection that QEMU makes when it starts."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            with suppress(TimeoutError):
                return listener.accept()[0]
            if process.poll() is not None:
                break
        told = (folder / "log").read_text("utf-8", "replace").strip().splitlines()
        reason = "".join(c if c.isprintable() else " " for c in (told or ["it printed nothing"])[-1])
        raise BoardUnavailable(
            f"QEMU does not start ({reason[:_SHOWN_CHARACTERS]}); check its installation, or use the virtual board"
        )


@contextmanager
def _listen(folder: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            listener.bind(str(folder / "uart"))
            listener.listen(1)
        except OSError as error:
            raise InfraFailure(
                f"no socket can be made at {folder} ({error.strerror or error}); set TMPDIR to a short local path"
            ) from error
        listener.settimeout(_POLL_SECONDS)
        yield listener


class _Line:
    """The `Transport` to QEMU's UART: a socket."""

    def __init__(self, line: socket.socket, limit_seconds: float) -> None:
        self._line = line
        self._limit_seconds = limit_seconds

    def read(self, count: int, timeout_seconds: float) -> bytes:
        """See `Transport`."""
        data = bytearray()
        deadline = time.monotonic() + timeout_seconds
        while len(data) < count and (seconds := deadline - time.monotonic()) > 0:
            try:
                self._line.settimeout(seconds)
                chunk = self._line.recv(count - len(data))
            except TimeoutError:
                break
            except OSError as error:
                raise _gone() from error
            if not chunk:
                raise _gone()
            data += chunk
        return bytes(data)

    def write(self, data: bytes) -> None:
        """See `Transport`. A board that takes nothing in is one that will not answer: that is told when it does not."""
        try:
            self._line.settimeout(self._limit_seconds)
            self._line.sendall(data)
        except TimeoutError:
            return
        except OSError as error:
            raise _gone() from error

    def close(self) -> None:
        """See `Transport`."""
        self._line.close()


def _gone() -> BoardDisconnected:
    return BoardDisconnected("QEMU ended before the board was done with; try again, or use the virtual board")


class _Counting:
    """A `BoardSession` whose ticks are instructions."""

    def __init__(self, session: ProtocolSession) -> None:
        self._session = session

    def identify(self) -> Identity:
        """See `BoardSession`."""
        return self._session.identify()

    def infer(self, inputs: bytes) -> Inference:
        """See `BoardSession`."""
        found = self._session.infer(inputs)
        return replace(found, ticks=round(found.ticks * 1e9 / _SYSTICK_HZ))

    def statistics(self) -> Statistics:
        """See `BoardSession`."""
        return self._session.statistics()
