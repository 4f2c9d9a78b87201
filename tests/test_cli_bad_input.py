"""Bad input as a user meets it: exit code 2 and one sentence, never a traceback, never a hang."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from automcu.cli import main
from tests.command_line import ARCHITECTURE, BOARD, MODEL, PLANNER, ROOT, TASK, Capture, fake_tool, refused, run, told
from tests.graph.tflite.build import O, T, build

# bad input: files

FEATURE_MAP = T((1, 8, 8, 4))
BAD_MODELS = {
    "truncated": (MODEL.read_bytes()[:5000], "is damaged"),
    "header": (MODEL.read_bytes()[:8], "is damaged"),
    "random": (os.urandom(5000), "no .tflite file"),
    "empty": (b"", "is empty"),
    "float": (
        build([T((1, 8, 8, 4), "FLOAT32"), T((1, 8, 8, 4), "FLOAT32")], [O("SOFTMAX", (0,), (1,))], [0], [1]),
        "int8",
    ),
    "dynamic": (build([T((-1, 8, 8, 4)), FEATURE_MAP], [O("SOFTMAX", (0,), (1,))], [0], [1]), "shape"),
    "unknown operator": (build([FEATURE_MAP, FEATURE_MAP], [O(9999, (0,), (1,))], [0], [1]), "9999"),
    "operator of no use": (build([FEATURE_MAP, FEATURE_MAP], [O("LSTM", (0,), (1,))], [0], [1]), "LSTM"),
    "no operators": (build([FEATURE_MAP], [], [0], [0]), "0 operators"),
    "no tensors": (build([], [], [], []), "tensors"),
}


@pytest.mark.parametrize("name", BAD_MODELS)
def test_bad_models(name: str, capsys: Capture, tmp_path: Path) -> None:
    content, reason = BAD_MODELS[name]
    (tmp_path / "bad.tflite").write_bytes(content)
    message = refused(capsys, "check", tmp_path / "bad.tflite", *PLANNER)
    assert "bad.tflite" in message and reason in message


@pytest.mark.parametrize(
    "text, reason",
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"space": "mcu_cnn", "description": NaN}', "NaN is no JSON number"),
        ('{"space": "mcu_cnn", "space": "x", "description": {}}', "a key stands twice"),
        ('{"space": "mcu_cnn", "description": {}', "is no JSON"),
        ('{"space": "mcu_cnn", "description": %s}' % ("9" * 6000), "is no JSON"),
        ("\x00\x01", "is no JSON"),
        ("null", "describes no architecture"),
        ("[]", "describes no architecture"),
        ('{"space": 1, "description": {}}', "describes no architecture"),
        ('{"space": "mcu_cnn"}', "describes no architecture"),
        ('{"space": "mcu_cnn", "description": {}, "classes": 3}', "unknown key 'classes'"),
        ('{"space": "other\\ud800", "description": {}}', "no search space is named"),
        ('{"space": "mcu_cnn", "description": {"stages": [], "hidden_units": 0}}', "stages"),
        ('{"space": "mcu_cnn", "description": {"stages": "many", "hidden_units": 0}}', "stages"),
        ("x" * 1_000_001, "over 1,000,000"),
        ("", "is empty"),
    ],
)
def test_bad_architectures(text: str, reason: str, capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text(text)
    assert reason in refused(capsys, "check", tmp_path / "bad.json", *TASK, *PLANNER)


@pytest.mark.parametrize(
    "task, reason",
    [
        ({"input_shape": [32, 32]}, "input_shape"),
        ({"input_shape": [32, 32, -3]}, "input_shape"),
        ({"input_shape": [32, 32, True]}, "input_shape"),
        ({"class_count": 0}, "class_count"),
        ({"class_count": 1e300}, "class_count"),
        ({"class_count": 1}, "at least 2"),
        ({"input_shape": [4000, 4000, 3]}, "multiply-accumulates"),
        ({"input_shape": [1, 1, 3]}, "halves"),
        ({"input_shape": None}, "add --input"),
        ({"class_count": None}, "add --classes"),
    ],
)
def test_bad_tasks(task: dict[str, object], reason: str, capsys: Capture, tmp_path: Path) -> None:
    stated = json.loads(ARCHITECTURE.read_text()) | {"input_shape": [32, 32, 3], "class_count": 100} | task
    stated = {key: value for key, value in stated.items() if value is not None}
    (tmp_path / "bad.json").write_text(json.dumps(stated))
    assert reason in refused(capsys, "check", tmp_path / "bad.json", *PLANNER)


def test_paths_that_are_no_files(capsys: Capture, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tflite")
    for path, reason in (
        (tmp_path / "none.tflite", "does not exist"),
        (tmp_path, "is a folder"),
        (tmp_path / "pipe.tflite", "no regular file"),
        (Path("/dev/zero"), "no regular file"),
        (Path("a" * 5000), "cannot read"),
        (Path("a\0b"), "does not exist"),
    ):
        assert reason in refused(capsys, "check", path, *PLANNER)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_an_unreadable_file(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "secret.tflite").write_bytes(MODEL.read_bytes())
    (tmp_path / "secret.tflite").chmod(0)
    assert "Permission denied" in refused(capsys, "check", tmp_path / "secret.tflite", *PLANNER)


def test_names_from_a_file_cannot_steer_the_terminal(capsys: Capture, tmp_path: Path) -> None:
    tensors = [FEATURE_MAP, T((1, 8, 8, 4), name="\x1b]0;owned\x07\nnucleo_fake yes")]
    (tmp_path / "hostile.tflite").write_bytes(build(tensors, [O("LSTM", (0,), (1,))], [0], [1]))
    refused(capsys, "check", tmp_path / "hostile.tflite", *PLANNER)
    pool = {"FilterHeight": 2, "FilterWidth": 2, "StrideH": 1, "StrideW": 1, "Padding": 0}
    operator = O("MAX_POOL_2D", (0,), (1,), "Pool2DOptions", pool)
    (tmp_path / "hostile.tflite").write_bytes(build(tensors, [operator], [0], [1]))
    code, text = told(capsys, "check", tmp_path / "hostile.tflite", *PLANNER)
    assert code == 0 and "MAX_POOL_2D" in text
    assert all(line.isprintable() and not line.startswith("nucleo_fake") for line in text.splitlines())


# bad input: arguments


@pytest.mark.parametrize(
    "arguments, reason",
    [
        (("--ram-kb", "0"), "--ram-kb: '0' is no number above 0"),
        (("--ram-kb", "-5"), "--ram-kb"),
        (("--flash-kb", "nan"), "--flash-kb"),
        (("--flash-kb", "1e999"), "--flash-kb"),
        (("--macs", "0"), "--macs"),
        (("--macs", "1.5"), "--macs"),
        (("--latency-ms", "0"), "--latency-ms"),
        (("--time-limit", "-1"), "--time-limit"),
        (("--board", "nucleo_f447re"), "did you mean"),
        (("--board", "all"), "give it alone"),
        (("--tier", "guess"), "'planner', 'tflm', 'st_estimate', 'stedgeai', 'st_cloud'"),
        (("--tier", "stedgeai", "--stedgeai", "/nonexistent"), "use tier auto"),
        (("--tier", "planner", "--tool-version", "nonsense"), "nonsense"),
        (("--input", "32x32x3"), "leave --input and --classes out"),
        (("--plot", "x.jpg"), "no name of a picture"),
        (("--plot", "/nonexistent/x.png"), "does not exist"),
        (("--plot", "/proc/x.png"), "cannot write /proc/x.png"),
        (("--plot", "/proc/" + "x" * 300 + ".png"), "cannot write"),
        (("--nonsense",), "unrecognized arguments: --nonsense"),
        (("--ram", "1"), "unrecognized arguments"),
    ],
)
def test_bad_arguments(arguments: tuple[str, ...], reason: str, capsys: Capture) -> None:
    assert reason in refused(capsys, "check", MODEL, *BOARD, *arguments)


@pytest.mark.parametrize(
    "shape", ["32x32", "0x32x3", "32x32x3x1", "axbxc", "99999x1x1", "-1x32x3", "\u0663\u0662x32x3"]
)
def test_bad_shapes(shape: str, capsys: Capture) -> None:
    assert "32x32x3" in refused(capsys, "check", ARCHITECTURE, *PLANNER, "--classes", "10", f"--input={shape}")


@pytest.mark.parametrize("arguments", [(), ("check",), ("check", "x.tflite"), ("guess",), ("boards", "--board", "x")])
def test_incomplete_commands(arguments: tuple[str, ...], capsys: Capture) -> None:
    assert "--help" in refused(capsys, *arguments)


# a vendor tool that misbehaves


def test_a_tool_that_hangs_is_ended(capsys: Capture, tmp_path: Path) -> None:
    tool = fake_tool(tmp_path, f"echo $$ > {tmp_path}/pid; sleep 300")
    began = time.monotonic()
    message = refused(capsys, "check", MODEL, *BOARD, "--tier", "stedgeai", "--stedgeai", tool, "--time-limit", "1")
    assert "did not end within 1 s; raise --time-limit" in message
    assert time.monotonic() - began < 20
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.mark.parametrize(
    "script, reason",
    [
        ('mkdir -p $out; echo \'{"json_schema_version": "9.0"}\' > $out/network_c_info.json', "9.0"),
        ("mkdir -p $out; echo rubbish > $out/network_c_info.json", "report"),
        ("exit 0", "report"),
        ("echo 'E102(CliArgumentError): no such target'; exit 1", "E102"),
        ("echo 'NOT IMPLEMENTED: layer'; exit 1", "NOT IMPLEMENTED"),
        ("yes | head -c 10000000", "printed more than"),
    ],
)
def test_a_tool_that_says_nothing_of_use(script: str, reason: str, capsys: Capture, tmp_path: Path) -> None:
    tool = fake_tool(tmp_path, script)
    message = refused(capsys, "check", MODEL, *BOARD, "--tier", "stedgeai", "--stedgeai", tool)
    assert reason in message and "feasibility" not in message


# the process


def test_a_reader_that_has_seen_enough() -> None:
    command = f"{sys.executable} -m automcu.cli check {MODEL} {' '.join(PLANNER)} | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.stdout.splitlines() == ["tier planner judges: planner was asked for", "0"] and done.stderr == ""
    command = f"{sys.executable} -m automcu.cli check {MODEL} --board nucleo_l010rb --tier planner | true; " + (
        "echo ${PIPESTATUS[0]}"
    )
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.stdout == "1\n" and done.stderr == ""


def test_closed_and_full_outputs() -> None:
    command = f"{sys.executable} -m automcu.cli check {MODEL} {' '.join(PLANNER)}"
    for redirection, code, lines in ((">&-", 0, 0), ("> /dev/full", 2, 1)):
        done = subprocess.run(["bash", "-c", f"{command} {redirection}"], capture_output=True, text=True, cwd=ROOT)
        assert (done.returncode, done.stderr.count("\n")) == (code, lines), done.stderr


def test_any_terminal_encoding() -> None:
    done = run("check", MODEL, *PLANNER, env={**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"})
    assert done.returncode == 0 and done.stderr == ""


def test_ctrl_c_ends_the_tool_too(tmp_path: Path) -> None:
    tool = fake_tool(tmp_path, f"echo $$ > {tmp_path}/pid; sleep 300")
    command = [sys.executable, "-m", "automcu.cli", "check", str(MODEL), *BOARD, "--tier", "stedgeai"]
    with subprocess.Popen(
        [*command, "--stedgeai", str(tool)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        # Whatever a shell starts in the background ignores Ctrl-C, and so would this.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        deadline = time.monotonic() + 30
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30) == (b"", b"")
    assert process.returncode == 130
    with pytest.raises(ProcessLookupError):  # the guard of the tool ends it when this process is gone
        while time.monotonic() < deadline:
            os.kill(int((tmp_path / "pid").read_text()), 0)
            time.sleep(0.05)


def test_unforeseen_errors_are_a_sentence(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("automcu.check.judge", broken)
    assert main(["check", str(MODEL), *PLANNER]) == 2
    assert "internal error, ZeroDivisionError at test_cli_bad_input.py:" in capsys.readouterr().err
