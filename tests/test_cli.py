"""The command line as a user meets it: verdicts, JSON, pictures, exit codes, and one sentence for whatever is wrong."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from automcu.board import Budget
from automcu.board_table import load_board, load_boards
from automcu.cli import main
from automcu.feasibility.planner_tier import PlannerTier
from automcu.graph.planner import plan_memory
from automcu.graph.tflite_reader import read_tflite
from tests.graph.shared_models import shared
from tests.graph.tflite_build import O, T, build

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "experiments/first_run/model_int8.tflite"
ARCHITECTURE = ROOT / "experiments/first_run/architecture.json"
TASK = ("--input", "32x32x3", "--classes", "100")
BOARD = ("--board", "nucleo_f446re")
PLANNER = (*BOARD, "--tier", "planner")
KEYS = {
    "fits", "weights_bytes", "code_bytes", "activations_bytes", "runtime_ram_bytes", "macs", "binding_layer",
    "violations", "tier", "tool", "tool_version", "margin", "target", "quantization", "ram_bytes", "flash_bytes",
    "board", "reason", "graph_fingerprint", "lower_bound_bytes", "in_place_add_bytes",
}  # fmt: skip
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


# verdicts


def test_a_network_that_fits(capsys: Capture) -> None:
    code, text = told(capsys, "check", MODEL, *PLANNER)
    lines = text.splitlines()
    assert code == 0
    assert lines[0] == "tier planner judges: planner was asked for"
    row = next(line for line in lines if line.startswith("nucleo_f446re")).split()
    report = PlannerTier().report(read_tflite(MODEL.read_bytes()), lambda: MODEL)
    assert row[1:3] == ["M4F", f"{report.ram_bytes / 1000:.1f}"]
    assert row[-1] == "yes" and "estimate" in text


def test_one_that_does_not_is_told_why_and_what_would_be_cheaper(capsys: Capture) -> None:
    code, text = told(capsys, "check", MODEL, "--board", "nucleo_l010rb", "--tier", "planner", "--macs", "1000")
    text = " ".join(text.split())
    assert code == 1
    assert "no: ram, macs" in text
    assert "B more than the 18,432 B allowed; decided by" in text
    assert "Takes 1,907,456 MACs, 1,906,456 MACs more than the 1,000 MACs allowed" in text
    assert "cheaper: " in text and "and everything fits" not in text  # 1,000 MACs are out of reach


def test_limits_of_the_user_are_kept_beside_the_boards(capsys: Capture) -> None:
    report = PlannerTier().report(read_tflite(MODEL.read_bytes()), lambda: MODEL)
    for option, bytes_ in (("--ram-kb", report.ram_bytes), ("--flash-kb", report.flash_bytes)):
        assert told(capsys, "check", MODEL, *PLANNER, option, str(bytes_ / 1000))[0] == 0
        assert told(capsys, "check", MODEL, *PLANNER, option, str((bytes_ - 1) / 1000))[0] == 1
    assert told(capsys, "check", MODEL, *PLANNER, "--macs", str(report.macs))[0] == 0
    assert told(capsys, "check", MODEL, *PLANNER, "--macs", str(report.macs - 1))[0] == 1
    latency = report.macs * load_board("nucleo_f446re").ns_per_mac / 1e6
    assert told(capsys, "check", MODEL, *PLANNER, "--latency-ms", str(latency * 1.01))[0] == 0
    assert told(capsys, "check", MODEL, *PLANNER, "--latency-ms", str(latency * 0.99))[0] == 1


def test_the_architecture_of_a_model_is_judged_like_its_file(capsys: Capture) -> None:
    _, of_file = told(capsys, "check", MODEL, *PLANNER, "--json")
    _, of_architecture = told(capsys, "check", ARCHITECTURE, *TASK, *PLANNER, "--json")
    figures = ("activations_bytes", "weights_bytes", "code_bytes", "macs", "graph_fingerprint", "lower_bound_bytes")
    first, second = json.loads(of_file), json.loads(of_architecture)
    assert {key: first[key] for key in figures} == {key: second[key] for key in figures}


def test_an_architecture_may_state_its_task(capsys: Capture, tmp_path: Path) -> None:
    stated = json.loads(ARCHITECTURE.read_text()) | {"input_shape": [32, 32, 3], "class_count": 100}
    (tmp_path / "architecture.json").write_text(json.dumps(stated))
    _, with_options = told(capsys, "check", ARCHITECTURE, *TASK, *PLANNER)
    assert told(capsys, "check", tmp_path / "architecture.json", *PLANNER) == (0, with_options)


@pytest.mark.slow
def test_a_tier_that_needs_a_file_gets_one_for_an_architecture(capsys: Capture) -> None:
    code, text = told(capsys, "check", ARCHITECTURE, *TASK, *BOARD, "--tier", "tflm", "--json")
    assert code == 0
    assert json.loads(text)["activations_bytes"] == json.loads(text)["lower_bound_bytes"] == 20_480


# many boards


def test_all_boards_are_judged_and_the_smallest_that_fits_is_named(capsys: Capture) -> None:
    code, text = told(capsys, "check", MODEL, "--board", "all", "--tier", "planner", "--json")
    document = json.loads(text)
    report = PlannerTier().report(read_tflite(MODEL.read_bytes()), lambda: MODEL)
    expected = {
        board.name: not Budget(board.ram_bytes, board.flash_bytes, None).on(board).violations(report)
        for board in load_boards()
    }
    assert {board["board"]: board["fits"] for board in document["boards"]} == expected
    sizes = {board.name: (board.ram_bytes, board.flash_bytes, board.clock_hz) for board in load_boards()}
    smallest = min((name for name, fits in expected.items() if fits), key=sizes.__getitem__)
    assert document["smallest_board"] == document["board"] == smallest
    assert code == 0 and document["fits"] is True

    _, text = told(capsys, "check", MODEL, "--board", "all", "--tier", "planner")
    lines = text.splitlines()
    assert lines[1] == f"smallest board that fits: {smallest} (smallest by RAM, then Flash, then clock)"
    rows = [line for line in lines if line.split(" ")[0] in expected]
    assert len(rows) == len(expected) and rows[0].startswith(smallest)


def test_no_board_fits(capsys: Capture) -> None:
    code, text = told(capsys, "check", MODEL, "--board", "all", "--tier", "planner", "--ram-kb", "1", "--json")
    document = json.loads(text)
    assert (code, document["fits"], document["smallest_board"]) == (1, False, None)
    assert "no board of the table fits" in told(capsys, "check", MODEL, "--board", "all", "--ram-kb", "1")[1]


def test_named_boards_must_all_fit(capsys: Capture) -> None:
    two = ("--board", "NUCLEO-F446RE", "--board", "nucleo_l010rb")
    code, text = told(capsys, "check", MODEL, *two, "--tier", "planner", "--json")
    document = json.loads(text)
    assert (code, document["fits"], document["board"]) == (1, False, "nucleo_f446re")
    assert [board["fits"] for board in document["boards"]] == [True, False]
    assert document["boards"][1]["violations"][0]["changes"]


def test_a_slow_tool_runs_once_for_all_boards_of_a_series(capsys: Capture, tmp_path: Path) -> None:
    report = shared("stedgeai_reports/stedgeai-2.2.0_mobilenetv2-float-stm32f4-toobig/network_c_info.analyze.json")
    tool = fake_tool(tmp_path, f"echo ran >> {tmp_path}/log; mkdir -p $out; cp {report} $out/network_c_info.json")
    boards = [name for board in ("nucleo_f401re", "nucleo_f446re", "nucleo_h743zi2") for name in ("--board", board)]
    code, text = told(capsys, "check", MODEL, *boards, "--tier", "stedgeai", "--stedgeai", tool, "--json")
    assert code == 1 and json.loads(text)["weights_bytes"] == 13_951_264
    targets = [board["target"] for board in json.loads(text)["boards"]]
    assert targets == ["stm32f4", "stm32f4", "stm32h7"]
    assert len((tmp_path / "log").read_text().splitlines()) == 2


# JSON


def test_json_has_the_promised_keys(capsys: Capture) -> None:
    code, text = told(capsys, "check", MODEL, "--board", "nucleo_l010rb", "--tier", "planner", "--json")
    document = json.loads(text)
    assert code == 1 and text.count("\n") == 1
    assert document.keys() >= KEYS and "boards" not in document
    violation = document["violations"][0]
    assert violation.keys() == {"resource", "limit", "value", "over", "binding", "parts", "changes"}
    assert violation["over"] == violation["value"] - violation["limit"] == document["ram_bytes"] - 18_432 > 0
    assert all(change.keys() == {"text", "value", "fits"} for change in violation["changes"])
    assert document["lower_bound_bytes"] <= document["in_place_add_bytes"] <= document["activations_bytes"]
    assert document["quantization"] == "after int8 quantization"


def test_every_key_is_documented(capsys: Capture) -> None:
    documented = (ROOT / "docs/check.md").read_text()
    _, text = told(capsys, "check", MODEL, "--board", "all", "--tier", "planner", "--json")
    assert [key for key in json.loads(text) if f"`{key}`" not in documented] == []


def test_json_errors_are_an_object_too(capsys: Capture) -> None:
    for arguments in (["check", "missing.tflite", *PLANNER], ["check", str(MODEL), *PLANNER, "--ram-kb", "0"]):
        assert main([*arguments, "--json"]) == 2
        output = capsys.readouterr()
        assert output.err == f"automcu: {json.loads(output.out)['error']}\n"


# boards


def test_boards(capsys: Capture) -> None:
    code, text = told(capsys, "boards")
    assert code == 0
    row = next(line for line in text.splitlines() if line.startswith("nucleo_h743zi2")).split()
    assert row == ["nucleo_h743zi2", "STM32H743ZIT6", "M7F", "480", "992", "512", "512", "2,048", "2,048", "stm32h7"]
    code, text = told(capsys, "boards", "--json")
    assert [board["name"] for board in json.loads(text)] == [board.name for board in load_boards()]


# layers, timeline, picture


def test_layers_and_timeline_show_the_plan(capsys: Capture) -> None:
    graph = read_tflite(MODEL.read_bytes())
    plan = plan_memory(graph)
    _, text = told(capsys, "check", MODEL, *PLANNER)
    layers, timeline = text.split("memory timeline")
    assert all(f" {operator.kind} " in layers for operator in graph.operators)
    peaks = [line for line in layers.splitlines() if "RAM peak" in line]
    assert len(peaks) == 1 and peaks[0].split()[0] == str(plan.binding_operator)
    assert f"{plan.lower_bound_bytes:,}" in peaks[0]
    rows = timeline.splitlines()[-len(graph.operators) :]
    assert [row.split()[0] for row in rows] == [str(index) for index in range(len(graph.operators))]
    assert [row.endswith(" peak") for row in rows].index(True) == plan.binding_operator


def test_the_limit_is_drawn_where_it_cuts_the_arena(capsys: Capture) -> None:
    _, text = told(capsys, "check", MODEL, *PLANNER, "--ram-kb", "11.264")  # 10,240 B for an arena of 20,480 B
    rows = text.splitlines()[-5:]
    bars = [row.split()[-1] if not row.endswith(" peak") else row.split()[-2] for row in rows]
    assert all(bar.index("|") == len(bar) // 2 for bar in bars)


def test_the_picture(capsys: Capture, tmp_path: Path) -> None:
    picture = tmp_path / "timeline.png"
    assert told(capsys, "check", MODEL, *PLANNER, "--plot", picture)[0] == 0
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and picture.stat().st_size > 10_000


@pytest.mark.parametrize("name", ["$\\frac{", "\x1b[31m", "\u5c42", "x" * 10_000, "/", ""])
def test_a_picture_of_odd_names(name: str, capsys: Capture, tmp_path: Path) -> None:
    pool = {"FilterHeight": 2, "FilterWidth": 2, "StrideH": 1, "StrideW": 1, "Padding": 0}
    operator = O("MAX_POOL_2D", (0,), (1,), "Pool2DOptions", pool)
    path = tmp_path / "$odd$\u5c42.tflite"
    path.write_bytes(build([T((1, 8, 8, 4)), T((1, 8, 8, 4), name=name)], [operator], [0], [1]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert told(capsys, "check", path, *PLANNER, "--plot", tmp_path / "odd.png")[0] == 0


# start-up


def test_the_planner_imports_nothing_heavy() -> None:
    code = (
        "import sys; from automcu.cli import main; main(sys.argv[1:]);"
        "print(*(m for m in ('torch', 'tensorflow', 'ray', 'matplotlib', 'hydra', 'litellm') if m in sys.modules),"
        " file=sys.stderr)"
    )
    for arguments in (["boards"], ["check", MODEL, *PLANNER], ["check", ARCHITECTURE, *TASK, *PLANNER]):
        command = [sys.executable, "-c", code, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT, check=True)
        assert done.stderr.split() == [] and done.stdout


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
        (("--tier", "stedgeai", "--stedgeai", "/nonexistent"), "use --tier auto"),
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
        [*command, "--stedgeai", str(tool)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    ) as process:
        deadline = time.monotonic() + 30
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30) == (b"", b"")
    assert process.returncode == 130
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_unforeseen_errors_are_a_sentence(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("automcu.check.judge", broken)
    assert main(["check", str(MODEL), *PLANNER]) == 2
    assert "internal error, ZeroDivisionError at test_cli.py:" in capsys.readouterr().err


# real models


def test_every_shared_model_gets_a_verdict_or_a_sentence(capsys: Capture) -> None:
    folder = shared("st_models")
    paths = [*folder.glob("*.tflite"), *shared("mlperf_tiny_models").glob("*.tflite")]
    codes = set()
    for path in paths:
        code = main(["check", str(path), *PLANNER])
        output = capsys.readouterr()
        assert (output.err.count("\n"), bool(output.out)) == ((1, False) if code == 2 else (0, True))
        assert "internal error" not in output.err
        codes.add(code)
    assert {0, 1} <= codes
