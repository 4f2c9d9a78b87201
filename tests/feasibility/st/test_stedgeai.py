"""Running a fake `stedgeai`: a real program that replays captured reports, or behaves as badly as it is told."""

import json
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from automcu.errors import AutoMCUError, CandidateFailure, InfraFailure
from automcu.feasibility.program import ProgramFailure, child_environment
from automcu.feasibility.st import stedgeai
from automcu.feasibility.st.errors import (
    StArgumentError,
    StBenchError,
    StRejectedModel,
    StToolError,
    StUnsupportedLayer,
)
from automcu.feasibility.st.facts import ASSUMED_CODE_BYTES, ASSUMED_RUNTIME_RAM_BYTES
from automcu.feasibility.st.stedgeai import ARM_GCC, StEdgeAi, find_stedgeai
from automcu.feasibility.tier import FeasibilityTier
from automcu.graph.lowering import lower
from automcu.results import FeasibilityReport
from tests.contracts.feasibility_tier import RESIDUAL, FeasibilityTierContract
from tests.graph.shared_models import shared
from tests.processes import gone_within

FINGER = "stedgeai-2.2.0_finger-int8-stm32h7/network_generate_report.txt"
TOO_BIG = "stedgeai-2.2.0_mobilenetv2-float-stm32f4-toobig/network_c_info.analyze.json"
VERSION = "4.0.1-20581 (STM32CubeAI 12.0.1)"
NO_GCC = f"{VERSION}, runtime assumed: no {ARM_GCC} on PATH"

PROGRAM = """#!{python}
import json, os, pathlib, subprocess, sys, time
def log(**what):
    with open({log!r}, "a") as file:
        file.write(json.dumps(what) + "\\n")
def child(code):
    process = subprocess.Popen([sys.executable, "-c", code])
    log(child=process.pid)
    return process
log(pid=os.getpid(), arguments=sys.argv[1:], environment=dict(os.environ), folder=os.getcwd(), stdin=sys.stdin.read())
command = sys.argv[1]
if command == "--version":
{version}
    sys.exit(0)
out = pathlib.Path(sys.argv[sys.argv.index("-o") + 1])
out.mkdir(parents=True)
def replay(path, name=None):
    (out / (name or f"network_{{command}}_report.txt")).write_bytes(pathlib.Path(path).read_bytes())
{behaviour}
"""
TELLS_VERSION = 'print("ST Edge AI Core v4.0.1-20581 7ed50de05\\nISPU 1.2\\nMLC 1.1\\nSTM32CubeAI 12.0.1")'


class Fake:
    """A `stedgeai` on PATH, and whatever it logs of itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.program = folder / "bin" / "stedgeai"
        self.program.parent.mkdir()
        self.log = folder / "log"

    def tier(self, behaviour: str, *, version: str = TELLS_VERSION, time_limit_seconds: float = 20.0) -> StEdgeAi:
        indented = "\n".join("    " + line for line in version.splitlines())
        fill = {"python": sys.executable, "log": str(self.log), "version": indented, "behaviour": behaviour}
        install(self.program, PROGRAM.format(**fill))
        return StEdgeAi(self.program, "stm32f4", time_limit_seconds)

    def logged(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def runs(self) -> list[dict[str, Any]]:
        """Runs other than `--version`."""
        return [entry for entry in self.logged() if "arguments" in entry and entry["arguments"] != ["--version"]]

    def commands(self) -> list[str]:
        return [run["arguments"][0] for run in self.runs()]

    def pids(self) -> list[int]:
        return [entry.get("pid") or entry["child"] for entry in self.logged()]


def install(program: Path, text: str) -> None:
    program.write_text(text)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    """After each test nothing of the tool may be left: neither a process nor a temporary file."""
    made = Fake(tmp_path)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    yield made
    assert [pid for pid in made.pids() if not gone_within(pid)] == []
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.fixture
def arm_gcc(fake: Fake) -> None:
    install(fake.program.parent / ARM_GCC, f"#!{sys.executable}\n")


@pytest.fixture
def model_file(tmp_path: Path) -> Callable[[], Path]:
    path = tmp_path / "model.tflite"
    path.write_bytes(b"a model")
    return lambda: path


Judge = Callable[[StEdgeAi], FeasibilityReport]


@pytest.fixture
def judge(model_file: Callable[[], Path]) -> Judge:
    return lambda tier: tier.report(lower(RESIDUAL), model_file)


def replay(path: str, name: str | None = None) -> str:
    return f"replay({str(shared('stedgeai_reports/' + path))!r}, {name!r})"


class TestStEdgeAi(FeasibilityTierContract):
    @pytest.fixture
    def tier(self, fake: Fake) -> FeasibilityTier:
        return fake.tier(replay(FINGER))


# --- a good run ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("arm_gcc")
def test_generate_is_asked_where_there_is_an_arm_gcc(fake: Fake, judge: Judge) -> None:
    report = judge(fake.tier(replay(FINGER)))
    assert (report.macs, report.weights_bytes, report.activations_bytes) == (18_615_568, 433_896, 45_072)
    assert (report.code_bytes, report.runtime_ram_bytes, report.margin) == (29_496, 3_360, 0.0)
    assert (report.tool, report.tool_version, report.tier, report.target) == (
        "stedgeai",
        VERSION,
        "stedgeai",
        "stm32f4",
    )
    assert fake.commands() == ["generate"]


def test_analyze_is_asked_elsewhere_and_the_runtime_assumed(fake: Fake, judge: Judge) -> None:
    report = judge(fake.tier(replay(TOO_BIG, "network_c_info.json")))
    assert (report.weights_bytes, report.activations_bytes) == (13_951_264, 4_917_696)
    assert (report.code_bytes, report.runtime_ram_bytes) == (ASSUMED_CODE_BYTES, ASSUMED_RUNTIME_RAM_BYTES)
    assert report.tool_version == NO_GCC
    assert fake.commands() == ["analyze"]


@pytest.mark.usefixtures("arm_gcc")
def test_a_generate_that_states_no_runtime_says_so(fake: Fake, judge: Judge) -> None:
    report = judge(fake.tier(replay(TOO_BIG, "network_c_info.json")))
    assert report.tool_version == f"{VERSION}, runtime assumed: not in its report"


def test_the_path_of_the_child_decides(
    fake: Fake, judge: Judge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An Arm GCC that is not on PATH, or not executable, is none; without a PATH there is none."""
    (fake.program.parent / ARM_GCC).write_text("not executable")
    install(tmp_path / ARM_GCC, "")
    monkeypatch.chdir(tmp_path)
    tier = fake.tier(replay(FINGER))
    judge(tier)
    monkeypatch.delenv("PATH")
    assert "PATH" not in child_environment()
    judge(tier)
    assert fake.commands() == ["analyze", "analyze"]


@pytest.mark.usefixtures("arm_gcc")
@pytest.mark.parametrize(
    "failure",
    ["print('E103(CliRuntimeError): the compiler failed'); sys.exit(1)", "print('TOOL ERROR: x'); sys.exit(1)",
     "sys.exit(2)", "pass", "print('E102(CliArgumentError): not for this command'); sys.exit(1)"],
)  # fmt: skip
def test_analyze_stands_in_for_a_generate_that_fails(fake: Fake, judge: Judge, failure: str) -> None:
    report = judge(
        fake.tier(f"if command == 'generate':\n    {failure}\nelse:\n    {replay(TOO_BIG, 'network_c_info.json')}")
    )
    assert report.tool_version == f"{VERSION}, runtime assumed: generate failed"
    assert fake.commands() == ["generate", "analyze"]


@pytest.mark.usefixtures("arm_gcc")
def test_what_analyze_says_holds_when_both_fail(fake: Fake, judge: Judge) -> None:
    with pytest.raises(StRejectedModel, match="TOOL ERROR: in analyze"):
        judge(fake.tier("print(f'TOOL ERROR: in {command}'); sys.exit(1)"))
    assert fake.commands() == ["generate", "analyze"]


@pytest.mark.usefixtures("arm_gcc")
def test_an_unsupported_layer_is_not_tried_twice(fake: Fake, judge: Judge) -> None:
    with pytest.raises(StUnsupportedLayer, match="does not support layer gelu_3"):
        judge(fake.tier("print('NOT IMPLEMENTED: unsupported layer gelu_3'); sys.exit(1)"))
    assert fake.commands() == ["generate"]


def test_how_the_tool_is_called(
    fake: Fake, judge: Judge, model_file: Callable[[], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", "1")
    monkeypatch.setenv("STEDGEAI_CORE_DIR", "/opt/st")
    judge(fake.tier(replay(FINGER)))
    (run,) = fake.runs()
    folder = run["folder"]
    assert run["arguments"] == [
        "analyze", "-m", str(model_file()), "--target", "stm32f4", "-t", "tflite", "-c", "lossless", "-O", "ram",
        "-n", "network", "-o", f"{folder}/out", "-w", f"{folder}/ws", "-v", "1", "--quiet",
    ]  # fmt: skip
    assert run["stdin"] == ""
    assert run["environment"]["TMPDIR"] == folder and folder.startswith(str(tmp_path / "tmp"))
    assert run["environment"]["STEDGEAI_CORE_DIR"] == "/opt/st"
    known = {"PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "SYSTEMROOT", "STEDGEAI_CORE_DIR"}
    assert set(run["environment"]) <= known  # LC_CTYPE is Python's own doing


def test_no_shell_reads_the_arguments(fake: Fake, judge: Judge, tmp_path: Path) -> None:
    tier = fake.tier(replay(FINGER))
    tier.target = f"stm32f4; touch {tmp_path}/owned $(touch {tmp_path}/owned)"
    judge(tier)
    assert not (tmp_path / "owned").exists()
    assert tier.target in fake.runs()[0]["arguments"]


def test_a_relative_path_is_that_of_the_caller(fake: Fake, judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.tier(replay(FINGER))
    monkeypatch.chdir(fake.program.parent)
    assert judge(StEdgeAi(Path("stedgeai"), "stm32f4")).weights_bytes == 433_896
    assert find_stedgeai("./stedgeai") == fake.program


def test_it_is_found_on_path(fake: Fake) -> None:
    assert find_stedgeai() is None
    fake.tier("pass")
    assert find_stedgeai() == fake.program == find_stedgeai(str(fake.program))


def test_its_own_temporary_files_go_too(fake: Fake, judge: Judge) -> None:
    behaviour = "import tempfile; pathlib.Path(tempfile.mkdtemp(), 'x').touch(); os.chmod(out, 0o700)\n"
    judge(fake.tier(behaviour + replay(FINGER)))


# --- reports that are not what they should be ----------------------------------------------------------------------


def test_the_text_report_is_the_fallback(fake: Fake, judge: Judge) -> None:
    behaviour = "(out / 'network_c_info.json').write_text('{\"json_schema_version\": \"7.0\"}')\n" + replay(FINGER)
    assert judge(fake.tier(behaviour)).weights_bytes == 433_896


HALF = "content = pathlib.Path({path!r}).read_bytes(); (out / {name!r}).write_bytes(content[:{end}])"


@pytest.mark.parametrize(
    "behaviour, reason",
    [
        ("print('rubbish')", "without a report"),
        ("(out / 'network_analyze_report.txt').write_bytes(os.urandom(9999))", "cannot be read"),
        ("(out / 'network_c_info.json').write_text('{\"json_schema_version\": \"7.0\"}')", "schema version is '7.0'"),
        ("(out / 'network_c_info.json').mkdir()", "without a report"),
        ("os.mkfifo(out / 'network_c_info.json')", "without a report"),
        ("(out / 'network_c_info.json').write_text('{'); os.chmod(out / 'network_c_info.json', 0)", ""),
        ("out.rmdir()", "without a report"),
        (HALF.format(path="{finger}", name="network_analyze_report.txt", end=1_500), "no macc"),
        (HALF.format(path="{too_big}", name="network_c_info.json", end=90_000), "EOF"),
    ],
)
def test_bad_reports(fake: Fake, judge: Judge, behaviour: str, reason: str) -> None:
    paths = {name: str(shared(f"stedgeai_reports/{path}")) for name, path in (("finger", FINGER), ("too_big", TOO_BIG))}
    for name, path in paths.items():
        behaviour = behaviour.replace("{" + name + "}", path)
    with pytest.raises(StToolError, match=reason or None):
        judge(fake.tier(behaviour))


@pytest.mark.parametrize("linked", ["file", "folder"])
def test_links_are_not_followed(fake: Fake, judge: Judge, tmp_path: Path, linked: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    report = elsewhere / "network_analyze_report.txt"
    report.write_bytes(shared(f"stedgeai_reports/{FINGER}").read_bytes())
    behaviour = {
        "file": f"(out / {report.name!r}).symlink_to({str(report)!r})",
        "folder": f"out.rmdir(); out.symlink_to({str(elsewhere)!r})",
    }[linked]
    with pytest.raises(StToolError, match="without a report"):
        judge(fake.tier(behaviour))
    assert report.exists()


def test_a_report_that_is_too_large_is_not_read(fake: Fake, judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    tier = fake.tier("(out / 'network_c_info.json').touch(); os.truncate(out / 'network_c_info.json', 64_000_001)")
    with pytest.raises(StToolError, match="without a report"):
        judge(tier)
    size = shared(f"stedgeai_reports/{FINGER}").stat().st_size
    monkeypatch.setattr(stedgeai, "_REPORT_LIMIT_BYTES", size)
    assert judge(fake.tier(replay(FINGER))).weights_bytes == 433_896
    monkeypatch.setattr(stedgeai, "_REPORT_LIMIT_BYTES", size - 1)
    with pytest.raises(StToolError, match="without a report"):
        judge(fake.tier(replay(FINGER)))


# --- runs that go wrong --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("arm_gcc")
@pytest.mark.parametrize(
    "behaviour, error, reason",
    [
        ("time.sleep(60)", ProgramFailure, "did not end within 1 s"),
        ("os.close(1); os.close(2); time.sleep(60)", ProgramFailure, "did not end within 1 s"),
        ("while True: print('x' * 10_000)", ProgramFailure, "printed more than"),
        ("while True: sys.stderr.write('x' * 10_000)", ProgramFailure, "printed more than"),
        ("os.write(1, os.urandom(5_000)); sys.exit(1)", StRejectedModel, "status 1"),
        ("print('INTERNAL ERROR: no such layer'); sys.exit(3)", StRejectedModel, "no such layer"),
        ("print('E102(CliArgumentError): x'); sys.exit(1)", StArgumentError, "refused its arguments"),
        ("print('E801(HwIOError): x'); sys.exit(1)", StBenchError, "test bench"),
        ("sys.exit(3)", StRejectedModel, "status 3"),
        ("os.kill(os.getpid(), 11)", StRejectedModel, "status -11"),
        ("os.kill(os.getpid(), 9)", StToolError, "status -9"),
    ],
)  # fmt: skip
def test_bad_behaviour_becomes_an_error(
    fake: Fake, judge: Judge, behaviour: str, error: type[AutoMCUError], reason: str
) -> None:
    began = time.monotonic()
    tier = fake.tier(behaviour)
    assert tier.version == VERSION
    if "sleep" in behaviour:
        tier._time_limit_seconds = 1.0
    with pytest.raises(error, match=reason) as caught:
        judge(tier)
    assert type(caught.value) is error
    assert time.monotonic() - began < 15
    assert fake.pids()


def test_a_report_does_not_excuse_a_failure(fake: Fake, judge: Judge) -> None:
    with pytest.raises(StRejectedModel, match="after all"):
        judge(fake.tier(replay(FINGER) + "\nprint('INTERNAL ERROR: after all'); sys.exit(1)"))


SLEEPS = "import time; time.sleep(60)"
FLOODS = "while True: print('x' * 10_000)"


@pytest.mark.parametrize("code", [SLEEPS, FLOODS])
@pytest.mark.parametrize("ending", ["time.sleep(60)", "sys.exit(1)", "os.kill(os.getpid(), 11)"])
def test_its_children_are_killed(fake: Fake, judge: Judge, code: str, ending: str) -> None:
    """Children that hold the pipe, whether the tool itself hangs, ends or dies."""
    tier = fake.tier(f"child({code!r})\n{ending}")
    assert tier.version == VERSION
    tier._time_limit_seconds = 1.0
    with pytest.raises((InfraFailure, CandidateFailure)):
        judge(tier)
    assert sum("child" in entry for entry in fake.logged()) == 1  # `fake` checks that it is gone


def test_a_child_left_behind_does_not_spoil_a_good_report(fake: Fake, judge: Judge) -> None:
    began = time.monotonic()
    assert judge(fake.tier(f"child({SLEEPS!r})\n{replay(FINGER)}")).weights_bytes == 433_896
    assert time.monotonic() - began < 10


# --- a broken tool is no candidate's fault -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "version, reason",
    [
        ("sys.exit(127)", r"no version .*status 127"),
        ("print('GNU Make 4.3')", "no version"),
        ("print('ST Edge AI Core v4.0.1-1'); sys.exit(1)", "no version"),
        ("print('INTERNAL ERROR: no license'); sys.exit(1)", "no version"),
        ("os.kill(os.getpid(), 11)", r"no version .*status -11"),
        ("os.write(1, os.urandom(1000))", "no version"),
        ("time.sleep(60)", "did not end"),
        ("while True: print('x' * 10_000)", "printed more"),
    ],
)
def test_a_tool_without_a_version_is_broken(fake: Fake, judge: Judge, version: str, reason: str) -> None:
    tier = fake.tier(
        "print('INTERNAL ERROR: x'); sys.exit(1)",
        version=version,
        time_limit_seconds=1.5 if "sleep" in version else 20.0,
    )
    with pytest.raises(InfraFailure, match=reason):
        judge(tier)
    assert fake.commands() == []


def test_the_version_is_asked_once_but_again_after_a_failure(fake: Fake, judge: Judge) -> None:
    tier = fake.tier(replay(FINGER), version="sys.exit(1)")
    with pytest.raises(StToolError):
        _ = tier.version
    fake.tier(replay(FINGER))
    fake.log.unlink()
    judge(tier)
    judge(tier)
    assert tier.version == VERSION
    assert [entry["arguments"] for entry in fake.logged()].count(["--version"]) == 1


@pytest.mark.parametrize("content, mode", [("#!/bin/sh\n", 0o644), ("\x7fELF rubbish", 0o755), ("#!/none\n", 0o755)])
def test_a_tool_that_cannot_be_started(fake: Fake, judge: Judge, content: str, mode: int) -> None:
    fake.program.write_text(content)
    fake.program.chmod(mode)
    with pytest.raises(ProgramFailure, match=r"stedgeai cannot be started .*; check its path and permissions"):
        judge(StEdgeAi(fake.program, "stm32f4"))


def test_a_tool_that_is_not_there(judge: Judge, tmp_path: Path) -> None:
    with pytest.raises(ProgramFailure, match="cannot be started"):
        judge(StEdgeAi(tmp_path / "absent", "stm32f4"))


def test_no_room_for_temporary_files(fake: Fake, judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    tier = fake.tier(replay(FINGER))
    monkeypatch.setattr(tempfile, "tempdir", str(fake.folder / "nowhere"))
    with pytest.raises(InfraFailure, match="no temporary folder"):
        judge(tier)
