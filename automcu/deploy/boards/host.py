"""The board `host`: a program that `HostToolchain` built, run on this machine, the protocol on its stdin and stdout."""

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from automcu.deploy.boards.link import BoardDisconnected, BoardFault, BoardUnavailable, Unit
from automcu.deploy.boards.protocol import ProtocolSession
from automcu.deploy.toolchain.toolchain import Image
from automcu.errors import InfraFailure
from automcu.feasibility.program import ProgramFailure, child_environment, started
from automcu.feasibility.temporary import temporary_folder

_CHUNK_BYTES = 65_536
_PIPE_BYTES = 4_096  # a pipe that is ready takes at least this much without waiting (PIPE_BUF of POSIX, on Linux)


class HostBoard:
    """Runs images of `HostToolchain`; each inference has `limit_seconds`."""

    name = "host"
    unit: Unit = "nanoseconds"

    def __init__(self, limit_seconds: float = 60.0) -> None:
        self._limit_seconds = limit_seconds

    @contextmanager
    def open(self, image: Image) -> Iterator[ProtocolSession]:
        """See `BoardLink.open`. The program and all that it started are gone at the end, even when this process is
        killed."""
        with temporary_folder() as folder, ExitStack() as stack:
            program = folder / "firmware"
            try:
                program.write_bytes(image.elf)
                program.chmod(0o700)
            except OSError as error:
                raise InfraFailure(f"the program cannot be written ({error.strerror}); free disk space") from error
            pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
            try:
                process = stack.enter_context(
                    started([program], folder, child_environment(), stdin=pipe, stderr=nowhere)
                )
            except ProgramFailure as error:
                raise BoardUnavailable(
                    "the image cannot be started on this host; build it with toolchain host, and set TMPDIR to a "
                    "folder from which programs may run"
                ) from error
            transport = _Pipes(process, self._limit_seconds)
            try:
                session = ProtocolSession(transport, image.symbols, self._limit_seconds)
                yield session
                session.stop()
            finally:
                transport.close()


class _Pipes:
    """The `Transport` to a process: its stdin and stdout."""

    def __init__(self, process: subprocess.Popen[bytes], limit_seconds: float) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._process = process
        self._limit_seconds = limit_seconds
        self._input, self._output = process.stdin, process.stdout
        self._arrived = bytearray()
        for pipe in (self._input, self._output):
            os.set_blocking(pipe.fileno(), False)

    def read(self, count: int, timeout_seconds: float) -> bytes:
        """See `Transport`."""
        deadline = time.monotonic() + timeout_seconds
        while len(self._arrived) < count and self._await(deadline, selectors.EVENT_READ):
            self._receive()
        data = bytes(self._arrived[:count])
        del self._arrived[:count]
        return data

    def write(self, data: bytes) -> None:
        """See `Transport`. What the program sends meanwhile is kept, so that neither waits for the other."""
        deadline = time.monotonic() + self._limit_seconds
        rest = memoryview(data)
        while rest:
            ready = self._await(deadline, selectors.EVENT_READ | selectors.EVENT_WRITE)
            if not ready:
                return  # the reply that does not come will say so
            if ready & selectors.EVENT_READ:
                self._receive()
            if ready & selectors.EVENT_WRITE:
                try:
                    rest = rest[os.write(self._input.fileno(), rest[:_PIPE_BYTES]) :]
                except BlockingIOError:
                    continue
                except BrokenPipeError:
                    raise self._gone() from None

    def close(self) -> None:
        """See `Transport`."""
        self._process.kill()
        self._process.wait()
        self._input.close()
        self._output.close()

    def _await(self, deadline: float, events: int) -> int:
        """Which of `events` is possible now, at `deadline` at the latest: 0 for none."""
        if self._output.closed:
            raise BoardDisconnected("the program on this host runs no more; open the board again")
        with selectors.DefaultSelector() as selector:
            if events & selectors.EVENT_READ:
                selector.register(self._output, selectors.EVENT_READ)
            if events & selectors.EVENT_WRITE:
                selector.register(self._input, selectors.EVENT_WRITE)
            found = 0
            for _, ready in selector.select(max(0.0, deadline - time.monotonic())):
                found |= ready
            return found

    def _receive(self) -> None:
        chunk = os.read(self._output.fileno(), _CHUNK_BYTES)
        if not chunk:
            raise self._gone()
        self._arrived += chunk

    def _gone(self) -> BoardFault | BoardDisconnected:
        """Why the program is no longer there."""
        try:
            status = self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            return BoardDisconnected("the program on this host has closed its line; build the image again")
        if status < 0:
            return BoardFault(
                f"the program on this host died of {signal.Signals(-status).name}; report it with the network"
            )
        return BoardDisconnected(f"the program on this host ended with status {status}; build the image again")
