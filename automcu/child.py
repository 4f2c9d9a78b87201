"""Python processes that answer requests over pipes: `Child` is the asking side, `serve` the answering one.

Heavy or fragile libraries (tensorflow; an interpreter that may abort) live in such a process. A message is a frame:
two lengths, a JSON header, and arrays in safetensors form; nothing in it is ever executed. A child ends when it is
closed, when its parent is collected or exits, and, by itself, when its parent is killed.
"""

import json
import os
import select
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from safetensors.numpy import load, save

import automcu
from automcu.errors import CandidateFailure, InfraFailure

_LENGTHS = struct.Struct(">IQ")
_HEADER_LIMIT_BYTES = 2**24
_PAYLOAD_LIMIT_BYTES = 2**33
_MESSAGE_CHARACTERS = 1_000
_PARENT_POLL_MS = 1_000
_FAULTS = frozenset({-signal.SIGABRT, -signal.SIGBUS, -signal.SIGFPE, -signal.SIGILL, -signal.SIGSEGV})


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One message: a JSON-able header and arrays by name."""

    header: Mapping[str, object]
    arrays: Mapping[str, np.ndarray]


def write_frame(stream: IO[bytes], frame: Frame) -> None:
    """Send `frame`. Raises `OSError` when the other end is gone."""
    header = json.dumps(frame.header).encode()
    payload = save({name: np.ascontiguousarray(array) for name, array in frame.arrays.items()})
    stream.write(_LENGTHS.pack(len(header), len(payload)) + header)
    stream.write(payload)
    stream.flush()


def read_frame(stream: IO[bytes]) -> Frame | None:
    """The next frame, or None when the stream ends before it is complete. Raises `InfraFailure` when it is no frame."""
    lengths = stream.read(_LENGTHS.size)
    if len(lengths) < _LENGTHS.size:
        return None
    header_bytes, payload_bytes = _LENGTHS.unpack(lengths)
    if header_bytes > _HEADER_LIMIT_BYTES or payload_bytes > _PAYLOAD_LIMIT_BYTES:
        raise InfraFailure("a worker process sent something that is no message; run again")
    header, payload = stream.read(header_bytes), stream.read(payload_bytes)
    if len(header) < header_bytes or len(payload) < payload_bytes:
        return None
    try:
        return Frame(json.loads(header), load(payload))
    except Exception as error:  # safetensors' own error type derives from Exception alone
        raise InfraFailure("a worker process sent a damaged message; run again") from error


class Child:
    """A child process running `python -m module`, which must call `serve`. One request at a time.

    `environment` is added to this process's. What the child prints goes to a file, see `last_words`: the child's
    descriptor 2, which it may empty. Raises `InfraFailure` when it cannot be started.
    """

    def __init__(self, module: str, environment: Mapping[str, str]) -> None:
        self._module = module
        self._timed_out = False
        path = [str(Path(automcu.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
        try:
            self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process that writes to it
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path), **environment},
                start_new_session=True,  # so that the whole group can be killed, and Ctrl-C reaches the parent alone
            )
        except OSError as error:
            raise InfraFailure(
                f"{module} cannot be started ({error.strerror}); free memory, processes or disk space, and run again"
            ) from error
        self._end = weakref.finalize(self, _end, self._process)

    @property
    def pid(self) -> int:
        """Process id, which is also the id of its process group."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit status (negative: the signal that ended it), None while it runs."""
        return self._process.poll()

    @property
    def crashed(self) -> bool:
        """True when the process ended itself by a fault, such as an abort or a wrong memory access."""
        return self.returncode in _FAULTS

    def ask(self, frame: Frame, time_limit_s: float) -> Frame:
        """The child's answer to `frame`.

        Raises `CandidateFailure` or `InfraFailure` as the child reports it, and `InfraFailure` when the child dies or
        the time limit passes; the child is dead then, and this object of no more use.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        timer = threading.Timer(time_limit_s, self._expire)
        timer.start()
        try:
            write_frame(self._process.stdin, frame)
            answer = read_frame(self._process.stdout)
        except (OSError, ValueError):  # ValueError: closed meanwhile
            answer = None
        except BaseException:  # interrupted between question and answer: the pipe is out of step
            self.close()
            raise
        finally:
            timer.cancel()
        if answer is None:
            self.close()
            raise InfraFailure(self._obituary(time_limit_s))
        match answer.header.get("failure"):
            case None:
                return answer
            case "infrastructure":
                raise InfraFailure(str(answer.header["message"]))
            case _:
                raise CandidateFailure(str(answer.header["message"]))

    def last_words(self, lines: int) -> str:
        """The last lines that the child printed, in one line."""
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - 2_000))
        return " | ".join(self._log.read().decode(errors="replace").strip().splitlines()[-lines:])

    def close(self) -> None:
        """Kill the process and all that it started; harmless when it is dead."""
        self._end()

    def _expire(self) -> None:
        self._timed_out = True
        _kill(self._process)

    def _obituary(self, time_limit_s: float) -> str:
        if self._timed_out:
            return f"{self._module} took longer than {time_limit_s:.0f} s and was killed; raise its time limit"
        return (
            f"{self._module} died with status {self.returncode} ({self.last_words(3) or 'no output'}); run again, with "
            "more free memory if the status is -9"
        )


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def _end(process: subprocess.Popen[bytes]) -> None:
    _kill(process)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):  # a request that was never read
            pipe.close()  # type: ignore[union-attr]


Answer = Callable[[Frame], Frame]


def serve(load_answer: Callable[[], Answer]) -> None:
    """Answer requests from standard input until it ends; the main function of a child's module.

    `load_answer` does the slow imports and returns the function that answers. `CandidateFailure` and unknown errors
    of that function travel back as the candidate's failure; `InfraFailure`, `MemoryError` and `OSError` as the
    machine's.
    """
    threading.Thread(target=_die_with_parent, args=(os.getppid(),), daemon=True).start()
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # libraries print to standard output, too
    answer = load_answer()
    while (request := read_frame(sys.stdin.buffer)) is not None:
        try:
            reply = answer(request)
        except Exception as error:
            infrastructure = isinstance(error, InfraFailure | MemoryError | OSError)
            message = str(error) if isinstance(error, CandidateFailure | InfraFailure) else _describe(error)
            reply = Frame({"failure": "infrastructure" if infrastructure else "candidate", "message": message}, {})
        write_frame(replies, reply)


def _describe(error: Exception) -> str:
    text = " ".join(str(error).split())[:_MESSAGE_CHARACTERS]
    return f"{type(error).__name__}: {text}"


def _die_with_parent(parent: int) -> None:
    # Not PR_SET_PDEATHSIG: that fires when the parent's *thread* ends, and executors start children from pool threads.
    # Hang-up is noticed at once; the parent's pid is the second sign, for when a forked sibling keeps the pipe open.
    watch = select.poll()
    watch.register(0, 0)
    while not watch.poll(_PARENT_POLL_MS) and os.getppid() == parent:
        pass
    os._exit(1)
