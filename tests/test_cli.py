"""The command line as a user meets it: verdicts, many boards, JSON, pictures, start-up."""

import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from automcu.board import Budget
from automcu.board_table import load_boards
from automcu.cli import main
from automcu.feasibility.planner_tier import RUNTIME_RAM_BYTES, PlannerTier
from automcu.graph.latency import estimate_cycles
from automcu.graph.planner import plan_memory
from automcu.graph.tflite.reader import read_tflite
from tests.command_line import ARCHITECTURE, BOARD, MODEL, PLANNER, ROOT, TASK, Capture, fake_tool, told
from tests.graph.shared_models import shared
from tests.graph.tflite.build import O, T, build

KEYS = {
    "fits", "weights_bytes", "code_bytes", "activations_bytes", "runtime_ram_bytes", "macs", "binding_layer",
    "violations", "tier", "tool", "tool_version", "margin", "target", "quantization", "ram_bytes", "flash_bytes",
    "board", "reason", "graph_fingerprint", "lower_bound_bytes", "in_place_add_bytes",
}  # fmt: skip


# verdicts


def test_a_network_that_fits(capsys: Capture) -> None:
    code, text = told(capsys, "check", MODEL, *PLANNER)
    lines = text.splitlines()
    assert code == 0
    assert lines[0] == "tier planner judges: planner was asked for"
    row = next(line for line in lines if line.startswith("nucleo_f446re")).split()
    report = PlannerTier("dsp").report(read_tflite(MODEL.read_bytes()), lambda: MODEL)
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
    report = PlannerTier("dsp").report(read_tflite(MODEL.read_bytes()), lambda: MODEL)
    for option, bytes_ in (("--ram-kb", report.ram_bytes), ("--flash-kb", report.flash_bytes)):
        assert told(capsys, "check", MODEL, *PLANNER, option, str(bytes_ / 1000))[0] == 0
        assert told(capsys, "check", MODEL, *PLANNER, option, str((bytes_ - 1) / 1000))[0] == 1
    assert told(capsys, "check", MODEL, *PLANNER, "--macs", str(report.macs))[0] == 0
    assert told(capsys, "check", MODEL, *PLANNER, "--macs", str(report.macs - 1))[0] == 1
    latency = 1000 * estimate_cycles(read_tflite(MODEL.read_bytes()), "cortex-m4f") / 180e6
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
    report = PlannerTier("dsp").report(read_tflite(MODEL.read_bytes()), lambda: MODEL)
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


def test_boards_that_st_does_not_support_are_left_out_and_named(capsys: Capture) -> None:
    unsupported = [board.name for board in load_boards() if board.stedgeai_target is None]
    code, text = told(capsys, "check", MODEL, "--board", "all", "--tier", "st_estimate", "--runtime", "st", "--json")
    document = json.loads(text)
    assert code == 0 and document["left_out"] == unsupported != []
    assert {board["board"] for board in document["boards"]} == {b.name for b in load_boards()} - set(unsupported)
    _, text = told(capsys, "check", MODEL, "--board", "all", "--tier", "st_estimate", "--runtime", "st")
    assert f"left out, as ST Edge AI does not support them: {unsupported[0]}" in text.splitlines()
    assert "left out" not in told(capsys, "check", MODEL, "--board", "all", "--tier", "planner")[1]


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
    plan = plan_memory(graph, kernels="dsp")
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
    arena = plan_memory(read_tflite(MODEL.read_bytes()), kernels="dsp").arena_bytes
    half = (arena // 2 + RUNTIME_RAM_BYTES) / 1000
    _, text = told(capsys, "check", MODEL, *PLANNER, "--ram-kb", str(half))
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
