"""Foreign programs: nothing of them outlives what started them."""

import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from automcu.feasibility.program import run_program

_PARENT = """
import sys
from pathlib import Path
from automcu.feasibility.program import run_program
run_program(["/bin/sh", "-c", 'sleep 300 & echo $$ $! > pids.new; mv pids.new pids; wait'], Path(sys.argv[1]), 300.0)
"""


def alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_a_program_and_its_children_end_when_the_process_that_runs_it_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _PARENT, str(tmp_path)]) as parent:
        try:
            while not (tmp_path / "pids").exists():
                assert parent.poll() is None
                time.sleep(0.01)
            pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
            assert len(pids) == 2 and all(map(alive, pids))
        finally:
            os.kill(parent.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while any(map(alive, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_guard_is_gone_with_the_program(tmp_path: Path) -> None:
    children = Path(f"/proc/{os.getpid()}/task/{threading.get_native_id()}/children")
    before = children.read_text()
    assert run_program(["/bin/sh", "-c", "exit 3"], tmp_path, 10.0).status == 3
    assert children.read_text() == before


def test_what_is_printed_last_is_read_although_the_wait_for_it_had_just_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, pid = tmp_path / "go", tmp_path / "pid"

    class Late(selectors.DefaultSelector):
        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            ready = super().select(timeout)
            if not ready and pid.exists() and not go.exists():
                go.touch()
                os.waitid(os.P_PID, int(pid.read_text()), os.WEXITED | os.WNOWAIT)
            return ready

    monkeypatch.setattr(selectors, "DefaultSelector", Late)
    script = "echo $$ > new; mv new pid; until [ -e go ]; do sleep 0.01; done; echo said; exit 4"
    done = run_program(["/bin/sh", "-c", script], tmp_path, 10.0)
    assert (done.status, done.output) == (4, "said\n")
