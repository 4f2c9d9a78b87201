"""Running the command line in tests, and a vendor tool that does as it is told."""

import subprocess
import sys
from pathlib import Path

import pytest

from automcu.cli import main

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "experiments/first_run/model_int8.tflite"
ARCHITECTURE = ROOT / "experiments/first_run/architecture.json"
TASK = ("--input", "32x32x3", "--classes", "100")
BOARD = ("--board", "nucleo_f446re")
PLANNER = (*BOARD, "--tier", "planner")
Capture = pytest.CaptureFixture[str]


def told(capsys: Capture, *arguments: str | Path) -> tuple[int, str]:
    """Exit code and stdout of a command that has nothing to complain about."""
    code = main(list(map(str, arguments)))
    output = capsys.readouterr()
    assert output.err == ""
    return code, output.out


def refused(capsys: Capture, *arguments: str | Path) -> str:
    """The one sentence of a command that cannot be carried out."""
    assert main(list(map(str, arguments))) == 2
    output = capsys.readouterr()
    assert output.out == "" and output.err.count("\n") == 1, output
    assert output.err.startswith("automcu: ") and "internal error" not in output.err
    return output.err


def run(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    """The command as a process of its own."""
    command = [sys.executable, "-m", "automcu.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT, **options)  # type: ignore[call-overload]


def fake_tool(folder: Path, script: str) -> Path:
    """A `stedgeai` that knows its version; for a report it runs `script`, whose `$out` is the folder asked for."""
    tool = folder / "stedgeai"
    tool.write_text(
        "#!/bin/sh\n"
        'if [ "$1" = --version ]; then echo "ST Edge AI Core v2.2.0-20266"; exit 0; fi\n'
        'while [ $# -gt 1 ]; do case "$1" in -o|--output) out=$2;; esac; shift; done\n'
        f"{script}\n"
    )
    tool.chmod(0o755)
    return tool
