"""ST's own route with a fake `stedgeai`: a real program that writes what the real one writes, or behaves badly."""

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from automcu.board_table import load_board, load_boards
from automcu.deploy.st.makefile import makefile
from automcu.deploy.st.route import StRoute
from automcu.errors import AutoMCUError, InfraFailure
from automcu.feasibility.program import ProgramFailure
from automcu.feasibility.st.errors import (
    StArgumentError,
    StBenchError,
    StRejectedModel,
    StToolError,
    StUnsupportedLayer,
)
from tests.deploy.st.test_profile import DEVICE
from tests.graph.shared_models import shared

BOARD = load_board("nucleo_f446re")
FINGER = "stedgeai_reports/stedgeai-2.2.0_finger-int8-stm32h7/network_generate_report.txt"
CAPTURED = "stedgeai_reports/captured_cli"
TFLITE = b"a model"

_SCRIPT = """#!{python} -IS
import json, os, pathlib, sys, time
if sys.argv[1] == "--version":
    print("ST Edge AI Core v2.2.0-20266 2adc00962")
    sys.exit(0)
model = pathlib.Path(sys.argv[sys.argv.index("-m") + 1])
with open({log!r}, "a") as file:
    entry = dict(arguments=sys.argv[1:], environment=sorted(os.environ), model=model.read_text(errors="replace"))
    file.write(json.dumps(entry) + "\\n")
command = sys.argv[1]
out = pathlib.Path(sys.argv[sys.argv.index("-o") + 1])
out.mkdir()
def write(name, text):
    (out / name).write_text(text)
{behaviour}
"""


class Fake:
    def __init__(self, folder: Path) -> None:
        self.log = folder / "log"
        self.program = folder / "stedgeai"

    def route(self, behaviour: str, time_limit_seconds: float = 20.0) -> StRoute:
        fill = {"python": sys.executable, "log": str(self.log), "behaviour": behaviour}
        self.program.write_text(_SCRIPT.format(**fill))
        self.program.chmod(self.program.stat().st_mode | stat.S_IXUSR)
        return StRoute(self.program, BOARD, time_limit_seconds)

    def runs(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    """After each test no temporary file may be left."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    yield Fake(tmp_path)
    assert list((tmp_path / "tmp").iterdir()) == []


def captured(name: str) -> str:
    return shared(f"{CAPTURED}/{name}").read_text()


def report() -> str:
    return f"write('network_generate_report.txt', open({str(shared(FINGER))!r}).read())\n"


SOURCES = """
write('network.c', '#include "network.h"\\n#include "ai_platform.h"\\nint ai_network_run(int x) { return forward(x); }')
write('network.h', 'int ai_network_run(int x);')
write('network_data.c', '#include "network_data.h"\\nconst unsigned char weights[4] = {1, 2, 3, 4};')
write('network_data.h', 'extern const unsigned char weights[4];')
"""
PROFILE = f"print({DEVICE!r})"


# --- C code ------------------------------------------------------------------------------------------------------


def test_generate(fake: Fake) -> None:
    project = fake.route(SOURCES + report() + "write('network_c_graph.json', '{}')").generate(TFLITE)
    assert sorted(project.files) == ["Makefile", "network.c", "network.h", "network_data.c", "network_data.h"]
    assert project.report.weights_bytes == 433_896
    assert project.version == "2.2.0-20266 (X-CUBE-AI 10)"
    (run,) = fake.runs()
    assert run["arguments"][0] == "generate" and run["model"] == "a model"
    assert run["arguments"][run["arguments"].index("--target") + 1] == "stm32f4"


@pytest.mark.skipif(shutil.which("make") is None or shutil.which("gcc") is None, reason="make or gcc is not installed")
def test_the_project_is_made_with_the_runtime_of_an_installation(fake: Fake, tmp_path: Path) -> None:
    """By make, with this machine's compiler behind the name of the Arm one, and a runtime of one function."""
    project = fake.route(SOURCES + report()).generate(TFLITE)
    work, core = tmp_path / "work", tmp_path / "core"
    work.mkdir()
    for name, content in project.files.items():
        (work / name).write_bytes(content)
    compiler = tmp_path / "bin" / "arm-none-eabi-gcc"
    compiler.parent.mkdir()
    compiler.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n'
        'for a; do shift; case $a in -mthumb|-mcpu=*|-mfloat-abi=*|-mfpu=*) ;; *) set -- "$@" "$a";; esac; done\n'
        'exec gcc "$@"\n'
    )
    compiler.chmod(0o755)
    environment = {"PATH": f"{compiler.parent}:{os.environ['PATH']}"}

    def make(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["make", *arguments], cwd=work, env=environment, capture_output=True, text=True)

    headers, library = core / "Middlewares/ST/AI/Inc", core / "Middlewares/ST/AI/Lib/GCC/ARMCortexM4"
    headers.mkdir(parents=True)
    (headers / "ai_platform.h").write_text("int forward(int x);")
    missing = make(f"STEDGEAI_CORE_DIR={core}")
    assert missing.returncode != 0 and "no runtime for ARMCortexM4" in missing.stdout
    library.mkdir(parents=True)
    (library / "runtime.c").write_text("int forward(int x) { return x + 1; }")
    subprocess.run(["gcc", "-c", "runtime.c"], cwd=library, check=True)
    subprocess.run(["ar", "rc", "NetworkRuntime1020_CM4_GCC.a", "runtime.o"], cwd=library, check=True)
    made = make(f"STEDGEAI_CORE_DIR={core}")
    assert made.returncode == 0, made.stderr
    symbols = subprocess.run(["nm", work / "network.o"], capture_output=True, text=True, check=True).stdout
    assert " T ai_network_run" in symbols and " T forward" in symbols and " U " not in symbols
    calls = (tmp_path / "calls").read_text()
    assert (
        calls.count("-mthumb -mcpu=cortex-m4 -mfloat-abi=hard -mfpu=fpv4-sp-d16 -O2") == 3
    )  # the first try left two objects


def test_every_board_that_the_tool_supports_has_a_makefile() -> None:
    for board in load_boards():
        if board.stedgeai_target is not None:
            assert f"-mcpu={board.core.rstrip('f').replace('+', 'plus')} " in makefile(board, ["network.c"])


def test_a_board_that_the_tool_does_not_support(fake: Fake) -> None:
    with pytest.raises(InfraFailure, match="does not support the part of stm32l151; use AutoMCU's own runtime"):
        StRoute(fake.program, load_board("stm32l151"))
    with pytest.raises(InfraFailure, match="does not exist for cortex-m3"):
        makefile(load_board("stm32l151"), [])


def test_links_are_not_followed(fake: Fake, tmp_path: Path) -> None:
    (tmp_path / "secret.c").write_text("secret")
    linked = f"(out / 'other.c').symlink_to({str(tmp_path / 'secret.c')!r}); (out / 'dir.c').mkdir()\n"
    assert "other.c" not in fake.route(SOURCES + linked + report()).generate(TFLITE).files


@pytest.mark.parametrize(
    "behaviour, error, reason",
    [
        ("{report}", StToolError, "without C code"),
        (SOURCES, StToolError, "without a report"),
        (SOURCES + "{report}(out / 'x.c').touch(); os.truncate(out / 'x.c', 256_000_001)", StToolError, "x.c of 256"),
        ("print('NOT IMPLEMENTED: unsupported layer gelu_3'); sys.exit(1)", StUnsupportedLayer, "gelu_3"),
        ("print('INTERNAL ERROR: x'); sys.exit(1)", StRejectedModel, "INTERNAL ERROR: x"),
        ("print('E102(CliArgumentError): x'); sys.exit(1)", StArgumentError, "refused"),
        ("os.write(1, os.urandom(5000)); sys.exit(1)", StRejectedModel, "status 1"),
        ("time.sleep(60)", ProgramFailure, "did not end within"),
        ("while True: print('x' * 10_000)", ProgramFailure, "printed more than"),
    ],
)
def test_generate_that_goes_wrong(fake: Fake, behaviour: str, error: type[AutoMCUError], reason: str) -> None:
    route = fake.route(behaviour.replace("{report}", report()), 0.5 if "sleep" in behaviour else 20.0)
    with pytest.raises(error, match=reason):
        route.generate(TFLITE)


# --- latency -----------------------------------------------------------------------------------------------------


def test_measure(fake: Fake) -> None:
    profile = fake.route(PROFILE).measure(TFLITE, "/dev/ttyACM0")
    assert (profile.latency_ms, profile.cycles_per_mac) == (13.512, 1.9)
    (run,) = fake.runs()
    assert run["arguments"][0] == "validate"
    assert run["arguments"][-8:] == [
        "--mode", "target", "-d", "serial:/dev/ttyACM0:115200", "-b", "10", "--seed", "42",
    ]  # fmt: skip


def test_the_report_stands_in_for_what_is_not_printed(fake: Fake) -> None:
    assert fake.route(f"write('network_validate_report.txt', {DEVICE!r})").measure(TFLITE, "COM6").latency_ms == 13.512


@pytest.mark.parametrize("status", [0, 1])
def test_a_captured_run_on_a_board_with_another_firmware(fake: Fake, status: int) -> None:
    told = captured("stedgeai-2.2.0_validate-target_E200_E801.log")
    with pytest.raises(StBenchError, match="flash the validation firmware that STM32CubeMX makes"):
        fake.route(f"print({told!r}); sys.exit({status})").measure(TFLITE, "COM6")


def test_a_captured_run_on_the_host_is_no_latency(fake: Fake) -> None:
    told = captured("stedgeai-2.2.0_validate-host_profiling_tail.log")
    with pytest.raises(StBenchError, match="on this host, not on the board"):
        fake.route(f"print({told!r})").measure(TFLITE, "COM6")


@pytest.mark.parametrize(
    "behaviour, error, reason",
    [
        ("print('E801(HwIOError): No SERIAL COM port detected'); sys.exit(1)", StBenchError, "check the board"),
        ("""print("E801(HwIOError): could not open port 'COM6'"); sys.exit(1)""", StBenchError, "could not open port"),
        ("""print('invalid/unsupported "serial:x" descriptor'); sys.exit(1)""", StBenchError, "how the board is given"),
        ("pass", StToolError, "without a profile"),
        ("os.write(1, os.urandom(5000))", StToolError, "without a profile"),
        (f"print({DEVICE[:200]!r})", StToolError, "cannot be read"),
        ("time.sleep(60)", ProgramFailure, "did not end within 0.5 s; check that the board is not stuck"),
        ("while True: print('x' * 10_000)", ProgramFailure, "printed more than"),
        ("os.kill(os.getpid(), 9)", StToolError, "status -9"),
    ],
)
def test_measure_that_goes_wrong(fake: Fake, behaviour: str, error: type[AutoMCUError], reason: str) -> None:
    route = fake.route(behaviour, 0.5 if "sleep" in behaviour else 20.0)
    with pytest.raises(error, match=reason) as caught:
        route.measure(TFLITE, "COM6")
    assert str(caught.value).isprintable()


def test_no_tool(tmp_path: Path) -> None:
    route = StRoute(tmp_path / "absent", BOARD)
    for call in (lambda: route.generate(TFLITE), lambda: route.measure(TFLITE, "COM6")):
        with pytest.raises(ProgramFailure, match="absent cannot be started"):
            call()
