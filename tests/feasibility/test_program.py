"""Foreign programs: nothing of them outlives what started them."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

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
