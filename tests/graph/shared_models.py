"""The real int8 models of the shared data folder, and what tflite-micro says of a file."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

DATA = Path(os.environ.get("AUTOMCU_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
_RECORD = """
import os, sys
from tflite_micro.python.tflite_micro import runtime
for path in sys.argv[1:]:
    os.write(2, f"model {path}\\n".encode())
    with open(path, "rb") as file:
        runtime.Interpreter.from_bytes(file.read(), arena_size=8 << 20).print_allocations()
"""


def shared(path: str) -> Path:
    """A file of the shared data; skips the test where it is absent."""
    if not (DATA / path).exists():
        pytest.skip(f"{path} is not among the shared data; set AUTOMCU_DATA")
    return DATA / path


def tflm_heads(paths: Sequence[Path]) -> list[int]:
    """Arena head (bytes) by tflite-micro's recording allocator; in a process of its own, as a bad graph aborts it."""
    command = [sys.executable, "-c", _RECORD, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    heads = re.findall(r"Arena allocation head (\d+) bytes", done.stderr)
    assert len(heads) == len(paths), done.stderr
    return [int(head) for head in heads]
