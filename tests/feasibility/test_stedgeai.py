"""Parsing against captured reports of the real tool; running against a fake `stedgeai` that behaves badly."""

import json
import os
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from automcu.errors import CandidateFailure, InfraFailure
from automcu.feasibility.stedgeai import (
    ASSUMED_CODE_BYTES,
    ASSUMED_RUNTIME_RAM_BYTES,
    StEdgeAi,
    StFigures,
    classify_error,
    find_stedgeai,
    read_c_info,
    read_text_report,
)
from automcu.feasibility.tier import FeasibilityTier
from automcu.graph.lowering import lower
from tests.contracts.feasibility_tier import RESIDUAL, FeasibilityTierContract
from tests.graph.shared_models import shared

# macc, weights, ram (total), runtime Flash and RAM: the table in the README of the shared reports
GOLDEN = {
    "xcubeai-5.0.0_lstm-float-analyze/network_analyze_report.txt": (597_465, 93_180, 3_164, None, None),
    "xcubeai-7.1.0_mobilenetv2-u8-stm32f4/network_generate_report.txt": (58_587_404, 538_920, 761_315, None, None),
    "xcubeai-7.2.0_onnx-cnn1d_head/network_generate_report.head.txt": (38_534, 2_188, 5_108, None, None),
    "xcubeai-7.3.0_yamnet-stm32f4-cloud/network_generate_report.txt": (23_927_852, 138_136, 112_196, None, None),
    "stedgeai-1.0.0_yamnet-stm32-h7default/network_generate_report.txt": (
        (23_932_020, 139_176, 112_196, 52_285, 7_788)
    ),
    "stedgeai-1.0.0_mnist-onnx-int8-stm32h7-mempool_head/network_analyze_report.head.txt": (
        (109_386, 109_992, 3_760, None, None)
    ),
    "stedgeai-2.1.0_yolov8n-validate_head/network_validate_report.head.txt": (
        (1_051_586_352, 12_092_140, 3_277_312, None, None)
    ),
    "stedgeai-2.2.0_finger-int8-stm32h7/network_generate_report.txt": (18_615_568, 433_896, 45_072, 29_496, 3_360),
    "stedgeai-2.2.0_mobilenetv2-float-stm32f4-toobig/network_analyze_report.txt": (
        (313_298_016, 13_951_264, 4_917_696, None, None)
    ),
}


def golden(path: str) -> str:
    return shared(f"stedgeai_reports/{path}").read_text()


@pytest.mark.parametrize("path", GOLDEN)
def test_captured_text_reports(path: str) -> None:
    assert read_text_report(golden(path)) == StFigures(*GOLDEN[path])


def test_captured_json_reports() -> None:
    folder = "stedgeai-2.2.0_mobilenetv2-float-stm32f4-toobig"
    expected = StFigures(313_298_016, 13_951_264, 4_917_696, None, None)
    assert read_c_info(golden(f"{folder}/network_c_info.analyze.json")) == expected
    found = read_c_info(golden("stedgeai-2.2.0_blazeface-stm32n6/network_c_info.json"))
    assert found is not None and (found.runtime_flash_bytes, found.runtime_ram_bytes) == (122_685, 1_709)


@pytest.mark.parametrize("text", ["", "rubbish", "{}", "[1]", '{"json_schema_version": "9.0"}', "null", "\0"])
def test_other_texts_are_no_reports(text: str) -> None:
    assert read_c_info(text) is None
    assert read_text_report(text) is None


def test_another_schema_is_not_read() -> None:
    text = golden("stedgeai-2.2.0_mobilenetv2-float-stm32f4-toobig/network_c_info.analyze.json")
    assert read_c_info(text.replace('"json_schema_version": "2.0"', '"json_schema_version": "3.0"')) is None


@pytest.mark.parametrize(
    "line, kind",
    [
        ("E102(CliArgumentError): --address arguments are not supported", InfraFailure),
        ("E103(CliRuntimeError): Error calling the Neural Art compiler", InfraFailure),
        ("E801(HwIOError): No SERIAL COM port detected", InfraFailure),
        ("INTERNAL ERROR: Order of dimensions of input cannot be interpreted", CandidateFailure),
        ("TOOL ERROR: Error in computation of shapes", CandidateFailure),
        ("NOT IMPLEMENTED: unsupported layer", CandidateFailure),
        ("Fatal error: signo=11", CandidateFailure),
        ("", CandidateFailure),
    ],
)
def test_errors_are_told_apart(line: str, kind: type[Exception]) -> None:
    banner = "ST Edge AI Core v2.2.0-20266 2adc00962\nE: non-fatal noise\n"
    error = classify_error(1, f"{banner} {line}\n elapsed time (analyze): 1.0s")
    assert type(error) is kind
    assert line in str(error)


FAKE = """#!{python}
import json, os, sys, time, pathlib
if "--version" in sys.argv:
    print("ST Edge AI Core v4.0.1-20581 7ed50de05\\nISPU 1.2\\nMLC 1.1\\nSTM32CubeAI 12.0.1")
    sys.exit(0)
out = pathlib.Path(sys.argv[sys.argv.index("-o") + 1])
out.mkdir(parents=True)
pathlib.Path({log!r}).write_text(json.dumps([sys.argv[1:], sorted(os.environ), sys.stdin.read()]))
{behaviour}
"""


@pytest.fixture
def fake(tmp_path: Path) -> Callable[..., StEdgeAi]:
    """Makes a `stedgeai` that behaves as told."""

    def make(behaviour: str, time_limit_seconds: float = 20.0) -> StEdgeAi:
        program = tmp_path / "bin" / "stedgeai"
        program.parent.mkdir(exist_ok=True)
        log = str(tmp_path / "log")
        program.write_text(FAKE.format(python=sys.executable, behaviour=behaviour, log=log))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        return StEdgeAi(program, "stm32f4", time_limit_seconds)

    return make


def replay(path: str, name: str = "network_analyze_report.txt") -> str:
    return f"(out / {name!r}).write_bytes(pathlib.Path({str(shared('stedgeai_reports/' + path))!r}).read_bytes())"


FINGER = "stedgeai-2.2.0_finger-int8-stm32h7/network_generate_report.txt"


@pytest.fixture
def model_file(tmp_path: Path) -> Callable[[], Path]:
    path = tmp_path / "model.tflite"
    path.write_bytes(b"a model")
    return lambda: path


class TestStEdgeAi(FeasibilityTierContract):
    @pytest.fixture
    def tier(self, fake: Callable[..., StEdgeAi]) -> FeasibilityTier:
        return fake(replay(FINGER))


def test_a_report_is_the_tools_figures(
    fake: Callable[..., StEdgeAi], model_file: Callable[[], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", "1")
    report = fake(replay(FINGER)).report(lower(RESIDUAL), model_file)
    assert (report.macs, report.weights_bytes, report.activations_bytes) == (18_615_568, 433_896, 45_072)
    assert (report.code_bytes, report.runtime_ram_bytes) == (29_496, 3_360)
    assert (report.tool, report.tool_version, report.tier) == ("stedgeai", "4.0.1-20581", "stedgeai")
    arguments, environment, stdin = json.loads((tmp_path / "log").read_text())
    assert arguments[:7] == ["analyze", "-m", str(model_file()), "--target", "stm32f4", "-t", "tflite"]
    assert "SECRET_KEY" not in environment and "PATH" in environment
    assert stdin == ""


def test_unstated_runtime_figures_are_assumed_and_said_so(
    fake: Callable[..., StEdgeAi], model_file: Callable[[], Path]
) -> None:
    path = "stedgeai-2.2.0_mobilenetv2-float-stm32f4-toobig/network_c_info.analyze.json"
    report = fake(replay(path, "network_c_info.json")).report(lower(RESIDUAL), model_file)
    assert (report.weights_bytes, report.activations_bytes) == (13_951_264, 4_917_696)
    assert (report.code_bytes, report.runtime_ram_bytes) == (ASSUMED_CODE_BYTES, ASSUMED_RUNTIME_RAM_BYTES)
    assert report.tool_version == "4.0.1-20581, runtime assumed"


def test_the_text_report_is_the_fallback(fake: Callable[..., StEdgeAi], model_file: Callable[[], Path]) -> None:
    behaviour = "(out / 'network_c_info.json').write_text('{\"json_schema_version\": \"7.0\"}')\n" + replay(FINGER)
    assert fake(behaviour).report(lower(RESIDUAL), model_file).weights_bytes == 433_896


@pytest.mark.parametrize(
    "behaviour, error, reason",
    [
        ("time.sleep(60)", InfraFailure, "did not end within 2 s"),
        ("print('rubbish')", InfraFailure, "without a report"),
        ("(out / 'network_analyze_report.txt').write_bytes(os.urandom(9999))", InfraFailure, "without a report"),
        ("while True: print('x' * 10_000)", InfraFailure, "printed more than"),
        ("print('INTERNAL ERROR: no such layer'); sys.exit(3)", CandidateFailure, "no such layer"),
        ("sys.exit(3)", CandidateFailure, "status 3"),
        ("os.kill(os.getpid(), 11)", CandidateFailure, "status -11"),
    ],
)
def test_bad_behaviour_becomes_an_error(
    fake: Callable[..., StEdgeAi], model_file: Callable[[], Path], behaviour: str, error: type[Exception], reason: str
) -> None:
    began = time.monotonic()
    with pytest.raises(error, match=reason):
        fake(behaviour, time_limit_seconds=2.0).report(lower(RESIDUAL), model_file)
    assert time.monotonic() - began < 8


@pytest.mark.parametrize("ending", ["time.sleep(60)", "pass"])
def test_its_children_are_killed(
    fake: Callable[..., StEdgeAi], model_file: Callable[[], Path], tmp_path: Path, ending: str
) -> None:
    child = tmp_path / "child"
    behaviour = (
        "import subprocess\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"pathlib.Path({str(child)!r}).write_text(str(child.pid))\n{ending}"
    )
    with pytest.raises(InfraFailure):
        fake(behaviour, time_limit_seconds=2.0).report(lower(RESIDUAL), model_file)
    assert gone(int(child.read_text()))


def gone(pid: int) -> bool:
    for _ in range(100):
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.02)
    return False


def test_it_is_found_on_path(fake: Callable[..., StEdgeAi], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert find_stedgeai() is None
    program = fake("pass").program
    assert find_stedgeai() == program == find_stedgeai(str(program))


def test_another_program_is_not_taken_for_it(model_file: Callable[[], Path], tmp_path: Path) -> None:
    with pytest.raises(InfraFailure, match="no version"):
        _ = StEdgeAi(Path("/bin/echo"), "stm32f4").version
    with pytest.raises(InfraFailure, match="cannot be started"):
        _ = StEdgeAi(tmp_path / "absent", "stm32f4").version
