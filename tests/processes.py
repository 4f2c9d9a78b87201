"""Whether a process that something else started has ended."""

import time
from pathlib import Path


def gone_within(pid: int, seconds: float = 2.0) -> bool:
    """True once process `pid` has ended, reaped or not; False when it lives on after `seconds`."""
    deadline = time.monotonic() + seconds
    while alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def alive(pid: int) -> bool:
    """True while process `pid` runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
