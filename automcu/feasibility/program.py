"""Running a foreign program that may hang, fork, flood its output or print rubbish.

Covered: no shell, stdin closed, an environment of few variables, a folder for work and temporary files, a process group
of its own, a time limit and an output limit that end the whole group, and the end of the group when this process is
killed. Not covered: how much the program writes to disk or takes of memory, what it reads or sends, and a child that
leaves its process group.
"""

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from automcu.errors import InfraFailure

_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "SYSTEMROOT", "STEDGEAI_CORE_DIR")
_POLL_SECONDS = 0.05
_ENDING_SECONDS = 0.002  # a program ends right after it closes its output, as a rule
_GUARD = "read -r _; kill -KILL 0"
"""A shell that waits for a line that never comes, and kills its process group when the pipe ends."""
_NO_VARIABLES: Mapping[str, str] = MappingProxyType({})


class ProgramFailure(InfraFailure):
    """A program could not be started, did not end in time, or printed too much."""


@dataclass(frozen=True, slots=True)
class Completed:
    """A program that ended by itself: its exit status, and stdout and stderr as one text."""

    status: int
    output: str


def child_environment() -> dict[str, str]:
    """The variables of this process's environment that a program is given, besides TMPDIR; no others, such as keys."""
    return {key: os.environ[key] for key in _PASSED_ON if key in os.environ}


def run_program(
    arguments: Sequence[str | Path],
    folder: Path,
    time_limit_seconds: float,
    output_limit_bytes: int = 4_000_000,
    *,
    variables: Mapping[str, str] = _NO_VARIABLES,
    slow_remedy: str = "raise feasibility.time_limit_seconds or use feasibility=planner",
) -> Completed:
    """Run `arguments` to its end, in `folder`, where its temporary files go too; `variables` are environment variables
    that it is given besides, and `slow_remedy` ends the sentence about a program that takes too long.

    Raises `ProgramFailure` when the program cannot be started, takes longer than `time_limit_seconds` or prints more
    than `output_limit_bytes`. Whatever happens, its process group is killed: no child of it outlives this call.
    """
    name = Path(arguments[0]).name
    deadline = time.monotonic() + time_limit_seconds
    environment = child_environment() | {"TMPDIR": str(folder)} | dict(variables)
    output = bytearray()
    with started(arguments, folder, environment, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        with process.stdout as pipe, selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            open_ = True
            while True:
                if time.monotonic() > deadline:
                    raise ProgramFailure(f"{name} did not end within {time_limit_seconds:g} s; {slow_remedy}")
                if len(output) > output_limit_bytes:
                    raise ProgramFailure(
                        f"{name} printed more than {output_limit_bytes:,} bytes; check that it is the right program"
                    )
                ended = _ended(process.pid)  # asked first: what it printed before is in the pipe by now
                if open_ and selector.select(0 if ended else _POLL_SECONDS):
                    chunk = os.read(pipe.fileno(), 65_536)
                    output += chunk
                    open_ = bool(chunk)
                elif ended:  # and what it printed has been read; a child of it may still hold the pipe
                    break
                elif not open_:
                    time.sleep(_ENDING_SECONDS)
    return Completed(process.returncode, output.decode("utf-8", "replace"))


@contextmanager
def started(
    arguments: Sequence[str | Path], folder: Path, environment: Mapping[str, str], *, stdin: int, stderr: int
) -> Iterator[subprocess.Popen[bytes]]:
    """`arguments` as a process in `folder`, its stdout a pipe, in a process group of its own. The whole group is killed
    at the end, and when this process dies, however it does: a flashing tool must not go on when the board has been
    given back. Raises `ProgramFailure` when it cannot be started.
    """
    guard = _popen(["/bin/sh", "-c", _GUARD], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, process_group=0)
    assert guard.stdin is not None
    process = None
    try:
        process = _popen(
            arguments,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=folder,
            env=environment,
            bufsize=0,
            process_group=guard.pid,
        )
        yield process
    finally:
        # Before they are reaped, so that the group's number cannot belong to another.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(guard.pid, signal.SIGKILL)
        for ended in filter(None, (process, guard)):
            ended.wait()
        guard.stdin.close()


def _popen(arguments: Sequence[str | Path], **how: Any) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen([str(argument) for argument in arguments], **how)
    except OSError as error:
        name = Path(arguments[0]).name
        raise ProgramFailure(f"{name} cannot be started ({error.strerror}); check its path and permissions") from error


def _ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
