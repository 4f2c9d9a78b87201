"""Every captured report of the real tool, figure by figure; and whatever else a file may hold."""

import json
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automcu.feasibility.st.errors import StToolError
from automcu.feasibility.st.reports import (
    StBuffer,
    StVersion,
    read_buffers,
    read_c_info,
    read_report,
    read_text_report,
    read_version,
)
from tests.graph.shared_models import DATA, shared

FINGER = "stedgeai-2.2.0_finger-int8-stm32h7/network_generate_report.txt"
YAMNET = "stedgeai-1.0.0_yamnet-stm32-h7default/network_generate_report.txt"
N6 = "stedgeai-2.2.0_blazeface-stm32n6"
TOO_BIG = "stedgeai-2.2.0_mobilenetv2-float-stm32f4-toobig"
ANALYZE_JSON = f"{TOO_BIG}/network_c_info.analyze.json"

PER_CHANNEL, V220 = "ss/sa per channel", "2.2.0-20266 (X-CUBE-AI 10)"
# version, model format, macc, weights, activations (rw), ram (total), runtime Flash and RAM: the table in the README of
# the shared reports, with version and format as the reports state them
GOLDEN: dict[str, tuple[str, str, int | None, int, int, int, int | None, int | None]] = {
    "xcubeai-5.0.0_lstm-float-analyze/network_analyze_report.txt": (
        ("5.0.0 (X-CUBE-AI 5)", "", 597_465, 93_180, 1_696, 3_164, None, None)
    ),
    "xcubeai-7.1.0_mobilenetv2-u8-stm32f4/network_generate_report.txt": (
        ("7.1.0-RC3 (X-CUBE-AI 7)", "", 58_587_404, 538_920, 610_784, 761_315, None, None)
    ),
    "xcubeai-7.2.0_onnx-cnn1d_head/network_generate_report.head.txt": (
        ("7.2.0-RC5 (X-CUBE-AI 7)", "", 38_534, 2_188, 5_108, 5_108, None, None)
    ),
    "xcubeai-7.3.0_yamnet-stm32f4-cloud/network_generate_report.txt": (
        ("7.3.0-RC5 (X-CUBE-AI 7)", "ss/sa per-channel", 23_927_852, 138_136, 112_196, 112_196, None, None)
    ),
    YAMNET: (("1.0.0-19894 (X-CUBE-AI 9)", "sa/sa per tensor", 23_932_020, 139_176, 112_196, 112_196, 52_285, 7_788)),
    "stedgeai-1.0.0_mnist-onnx-int8-stm32h7-mempool_head/network_analyze_report.head.txt": (
        ("1.0.0-19899 (X-CUBE-AI 9)", PER_CHANNEL, 109_386, 109_992, 3_760, 3_760, None, None)
    ),
    "stedgeai-2.1.0_yolov8n-validate_head/network_validate_report.head.txt": (
        ("2.1.0-20194 (X-CUBE-AI 10)", "float", 1_051_586_352, 12_092_140, 3_277_312, 3_277_312, None, None)
    ),
    FINGER: (V220, PER_CHANNEL, 18_615_568, 433_896, 45_072, 45_072, 29_496, 3_360),
    f"{TOO_BIG}/network_analyze_report.txt": (
        (V220, "float", 313_298_016, 13_951_264, 4_917_696, 4_917_696, None, None)
    ),
    f"{TOO_BIG}/network_validate_report.host.txt": (
        (V220, "float", 313_298_016, 13_951_264, 4_917_696, 4_917_696, None, None)
    ),
    f"{TOO_BIG}/network_generate_report.compression-medium.txt": (
        (V220, "float", 313_298_016, 9_471_328, 4_917_696, 4_917_696, None, None)
    ),
    ANALYZE_JSON: (V220, "", 313_298_016, 13_951_264, 4_917_696, 4_917_696, None, None),
    f"{TOO_BIG}/network_c_info.generate.json": (V220, "", 313_298_016, 9_471_328, 4_917_696, 4_917_696, None, None),
    # A neural processor: no summary block, so the MACs of the model as it was read; the JSON counts none.
    f"{N6}/network_generate_report.txt": (V220, "", 32_092_044, 166_225, 540_672, 540_672, 122_685, 1_709),
    f"{N6}/network_c_info.json": (V220, "", None, 166_225, 540_672, 540_672, 122_685, 1_709),
    "captured_cli/stedgeai-2.2.0_validate-target_E200_E801.log": (
        (V220, "float", 418_195, 845_552, 19_268, 19_268, None, None)
    ),
}


def golden(path: str) -> str:
    return shared(f"stedgeai_reports/{path}").read_text()


def refused(text: str, why: str | None = None) -> None:
    with pytest.raises(StToolError, match=why) as caught:
        read_report(text)
    assert str(caught.value).endswith("or feasibility=planner")


@pytest.mark.parametrize("path", GOLDEN)
def test_captured_reports(path: str) -> None:
    text = golden(path)
    report = read_report(text[text.index("ST Edge AI Core v") :] if path.startswith("captured_cli") else text)
    figures = (report.macs, report.weights_bytes, report.activations_bytes, report.ram_bytes)
    runtime = (report.runtime_flash_bytes, report.runtime_ram_bytes)
    assert (str(report.version), report.model_format, *figures, *runtime) == GOLDEN[path]


def test_no_captured_report_is_left_out() -> None:
    folder = shared("stedgeai_reports")
    names = {str(path.relative_to(folder)) for path in folder.glob("*/*") if path.suffix in (".txt", ".json", ".log")}
    no_reports = {
        "captured_cli/error_lines.txt",  # test_st_errors.py
        "captured_cli/stedgeai-4.0.1_help.condensed.txt",  # the version, below
        "captured_cli/stedgeai-2.2.0_validate-host_profiling_tail.log",  # measurements of `validate`
        "captured_cli/stedgeai_validate-target_profiling_ispu.txt",
    }
    assert names == set(GOLDEN) | no_reports


# --- versions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, version",
    [
        ("ST Edge AI Core v4.0.1-20581 7ed50de05\n   ISPU 2.0.1-RC2\n   MLC 1.2.4-RC2\n   STM32CubeAI 12.0.1-RC2\n",
         StVersion("4.0.1-20581", "STM32CubeAI 12.0.1-RC2")),
        ("ST Edge AI Core v4.0.1-20581", StVersion("4.0.1-20581", "STM32CubeAI 12")),
        ("ST Edge AI Core v3.0.0-20426 123672867\nISPU x\nSTM32CubeAI x\n", StVersion("3.0.0-20426", "STM32CubeAI 11")),
        ("ST Edge AI Core v5.0.0-30000", StVersion("5.0.0-30000", "")),
        ("stm32ai - Neural Network Tools for STM32AI v1.7.0 (STM.ai v8.0.0-19389)",
         StVersion("8.0.0-19389", "X-CUBE-AI 8")),
        ("Neural Network Tools for STM32 v1.4.0 (AI tools v5.2.0)", StVersion("5.2.0", "X-CUBE-AI 5")),
    ],
)  # fmt: skip
def test_versions(text: str, version: StVersion) -> None:
    assert read_version(text) == version


def test_the_version_in_captured_help() -> None:
    found = read_version(golden("captured_cli/stedgeai-4.0.1_help.condensed.txt"))
    assert str(found) == "4.0.1-20581 (STM32CubeAI 12.0.1-RC2)"


@pytest.mark.parametrize("text", ["", "v4.0.1", "ST Edge AI Core", "ST Edge AI Core vx.y", "GNU Make 4.3"])
def test_no_version(text: str) -> None:
    with pytest.raises(StToolError, match="no version"):
        read_version(text)


# --- the runtime's footprint ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [FINGER, YAMNET, f"{N6}/network_generate_report.txt"])
def test_the_footprint_adds_up(path: str) -> None:
    """The identities between the two tables: RT Flash is text + rodata + data, RT RAM is data + bss, and the total
    adds weights, activations, input and output."""
    text, report = golden(path), read_report(golden(path))
    row = re.search(r"RT total\*\* +([\d,]+) +([\d,]+) +([\d,]+) +([\d,]+)", text)
    total = re.search(r"TOTAL +([\d,]+) +([\d,]+) *\n", text)
    assert row is not None and total is not None
    code, rodata, data, bss = (int(size.replace(",", "")) for size in row.groups())
    flash, ram = (int(size.replace(",", "")) for size in total.groups())
    assert report.runtime_flash_bytes == code + rodata + data
    assert report.runtime_ram_bytes == data + bss
    assert report.runtime_flash_bytes + report.weights_bytes == flash
    assert report.runtime_ram_bytes + report.ram_bytes == ram


X_CUBE_AI_8 = """Neural Network Tools for STM32AI v1.7.0 (STM.ai v8.0.0-19389)

macc                  :   1,000
weights (ro)          :   270,880 B (264.53 KiB) (1 segment)
activations (rw)      :   2,048 B (2.00 KiB) (1 segment) *
ram (total)           :   2,048 B (2.00 KiB) = 2,048 + 0 + 0

Requested memory size per segment ("stm32u5" series)
----------------------------- -------- -------- ------- -------
module                            text   rodata    data     bss
----------------------------- -------- -------- ------- -------
NetworkRuntime800_CM33_GCC.a     9,001      500       0       0
network.o                          700      700   4,200     100
lib (toolchain)*                    80       72       0     196
----------------------------- -------- -------- ------- -------
RT total**                       9,781    1,272   4,200     296
----------------------------- -------- -------- ------- -------

Summary per memory device type
--------------------------------------------
.\\device       FLASH      %     RAM       %
--------------------------------------------
RT total      15,253   5.3%   4,496   68.7%
--------------------------------------------
TOTAL        286,133          6,544
--------------------------------------------
"""
"""The form of X-CUBE-AI 8, its second table with figures as a public script quotes them."""


def test_the_older_form_of_the_footprint() -> None:
    report = read_report(X_CUBE_AI_8)
    assert (report.runtime_flash_bytes, report.runtime_ram_bytes) == (15_253, 4_496)
    assert report.version.pack == "X-CUBE-AI 8"
    either = X_CUBE_AI_8.split("Summary per")[0]
    assert read_report(either) == report
    other = X_CUBE_AI_8.replace("RT total**", "nothing")
    assert read_report(other) == report


def test_footprints_that_differ_are_refused() -> None:
    refused(X_CUBE_AI_8.replace("15,253", "15,254"), "runtime differ")
    refused(golden(FINGER).replace("3,360", "3,361"), "runtime differ")


# --- buffers -------------------------------------------------------------------------------------------------------


def test_buffers_of_a_report_with_scratch() -> None:
    buffers = {buffer.name: buffer for buffer in read_buffers(golden(FINGER))}
    assert len(buffers) == 26
    assert buffers["serving_default_input_layer0_output"].kind == "input"
    assert buffers["nl_12_output"] == StBuffer("nl_12_output", 6, "output")
    assert buffers["conv2d_0_output"] == StBuffer("conv2d_0_output", 35_344, "activations")
    assert buffers["gemm_10_scratch0"] == StBuffer("gemm_10_scratch0", 13_440, "scratch")  # bytes, not its 6,720 items
    assert buffers["conv2d_0_bias"] == StBuffer("conv2d_0_bias", 64, "weights")
    scratch = {name: buffer.bytes for name, buffer in buffers.items() if buffer.kind == "scratch"}
    assert scratch == {
        "conv2d_0_scratch0": 548, "conv2d_0_scratch1": 3_008, "conv2d_2_scratch0": 6_144, "conv2d_2_scratch1": 2_880,
        "conv2d_4_scratch0": 7_168, "conv2d_4_scratch1": 2_560, "gemm_10_scratch0": 13_440, "gemm_11_scratch0": 188,
        "nl_12_scratch0": 124,
    }  # fmt: skip


def test_input_and_output_outside_the_activations() -> None:
    buffers = read_buffers(golden("xcubeai-7.1.0_mobilenetv2-u8-stm32f4/network_generate_report.txt"))
    kinds = {kind: [b.bytes for b in buffers if b.kind == kind] for kind in ("input", "output", "scratch")}
    assert (kinds["input"], kinds["output"], len(kinds["scratch"])) == ([150_528], [3], 88)


@pytest.mark.parametrize("path", [path for path in GOLDEN if path.startswith(("xcubeai-7.1", "xcubeai-7.3", "stedgeai"))
                                  and "head" not in path and N6 not in path])  # fmt: skip
def test_the_weights_of_all_buffers_are_the_weights(path: str) -> None:
    report = read_report(golden(path))
    assert sum(buffer.bytes for buffer in report.buffers if buffer.kind == "weights") == report.weights_bytes
    assert read_buffers(golden(path)) == report.buffers


def test_both_forms_tell_the_same_buffers() -> None:
    def plain(path: str) -> list[tuple[str, int, str]]:
        return sorted((b.name, b.bytes, b.kind) for b in read_buffers(golden(path)))

    assert plain(ANALYZE_JSON) == plain(f"{TOO_BIG}/network_analyze_report.txt")
    assert plain(f"{TOO_BIG}/network_c_info.generate.json") == plain(
        f"{TOO_BIG}/network_generate_report.compression-medium.txt"
    )


def test_a_report_without_the_table_has_no_buffers() -> None:
    assert read_buffers(golden("xcubeai-5.0.0_lstm-float-analyze/network_analyze_report.txt")) == ()
    assert read_buffers("rubbish") == ()


# --- traps of the JSON file ----------------------------------------------------------------------------------------


def changed(change: Callable[[dict[str, Any]], None], path: str = ANALYZE_JSON) -> str:
    info = json.loads(golden(path))
    change(info)
    return json.dumps(info)


def test_null_kernel_sizes_and_the_generic_series_are_no_figures() -> None:
    """Without an Arm GCC the file says null and "generic" although the target was stm32f4."""
    footprint = json.loads(golden(ANALYZE_JSON))["memory_footprint"]
    assert footprint["kernel_flash"] is None and footprint["series"] == "generic"
    report = read_c_info(golden(ANALYZE_JSON))
    assert report.runtime_flash_bytes is None and report.runtime_ram_bytes is None


def test_the_toolchain_is_not_counted_twice() -> None:
    """`kernel_flash` is the text report's RT total, the toolchain's 1,526 B included."""
    footprint = json.loads(golden(f"{N6}/network_c_info.json"))["memory_footprint"]
    assert footprint["toolchain_flash"] == 1_526
    assert read_c_info(golden(f"{N6}/network_c_info.json")).runtime_flash_bytes == 122_685
    assert read_text_report(golden(f"{N6}/network_generate_report.txt")).runtime_flash_bytes == 122_685


def test_pools_without_limit_and_virtual_pools_are_no_figures() -> None:
    unlimited = json.loads(golden(ANALYZE_JSON))["memory_pools"]
    assert {pool["size_bytes"] for pool in unlimited} == {-1}
    virtual = [p for p in json.loads(golden(f"{N6}/network_c_info.json"))["memory_pools"] if p["subpools"]]
    assert virtual and virtual[0]["used_size_bytes"] == 2_392_064
    assert read_c_info(golden(f"{N6}/network_c_info.json")).activations_bytes == 540_672
    without = changed(lambda info: info.pop("memory_pools"))
    assert read_c_info(without) == read_c_info(golden(ANALYZE_JSON))


def test_input_and_output_count_where_they_lie_outside() -> None:
    report = read_c_info(changed(lambda info: info["memory_footprint"].update(io=[1_000, 24])))
    assert (report.activations_bytes, report.ram_bytes) == (4_917_696, 4_918_720)


# --- what is no report ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["", "rubbish", "{}", "[1]", "null", "\0", "{" * 100_000, '{"a":' * 5_000, "\ud800{", '{"\ud800": 1}',
     "\n" * 1_000_000, " " * 1_000_000 + ":", "RT total " * 100_000, "a" + " " * 1_000_000 + "b"],
    ids=range(14),
)  # fmt: skip
def test_other_texts_are_no_reports(text: str) -> None:
    refused(text)


@pytest.mark.parametrize(
    "number, why",
    [("-1", "greater than"), (str(1 << 60), "less than"), ("1" + "0" * 5_000, None), ("NaN", "int"), ("1e300", "int"),
     ('"12"', "int"), ("true", "int"), ("null", "int"), ("[]", "int"), ("1.5", "int")],
    ids=range(10),
)  # fmt: skip
def test_figures_of_the_json_that_are_none(number: str, why: str | None) -> None:
    text = golden(ANALYZE_JSON)
    for figure in ('"weights": 13951264', '"activations": 4917696', '"macc": 10838048', '"size_bytes": 1605632'):
        assert figure in text
        refused(text.replace(figure, f"{figure.split(':')[0]}: {number}"), why)
    if number != "null":
        refused(text.replace('"kernel_ram": null', f'"kernel_ram": {number}'), why)


def test_another_schema_is_named() -> None:
    refused(changed(lambda info: info.update(json_schema_version="3.0")), "schema version is '3.0', not 2")
    refused(changed(lambda info: info.update(json_schema_version=2)), "json_schema_version")
    refused(changed(lambda info: info.pop("json_schema_version")), "json_schema_version")
    assert read_report(changed(lambda info: info.update(json_schema_version="2.1"))).weights_bytes == 13_951_264


def test_a_truncated_json_is_refused() -> None:
    text = golden(ANALYZE_JSON)
    for share in range(1, 20):
        refused(text[: len(text) * share // 20])


def test_no_activations_are_no_report() -> None:
    refused(changed(lambda info: info["memory_footprint"].update(activations=0)), "no activations")


@pytest.mark.parametrize(
    "old, new, why",
    [
        ("433,896 B", "-433,896 B", "weights .* is '-433"),
        ("18,615,568", "9" * 400, "macc is '999"),
        ("45,072 B (44.02 KiB) = ", "45,071 B (44.02 KiB) = ", "less RAM in total"),
        ("ST Edge AI Core v", "Some Core v", "no version"),
        ("35344/35344", "35344/many", "size of conv2d_0_output"),
        ("RT total         29,496", "RT total         29;496", "RT total is no size"),
    ],
)
def test_texts_that_are_not_as_expected(old: str, new: str, why: str) -> None:
    assert old in golden(FINGER)
    refused(golden(FINGER).replace(old, new), why)


def test_without_a_summary_the_footprint_tells() -> None:
    text, whole = golden(FINGER).replace("activations (rw)", "activations"), read_report(golden(FINGER))
    report = read_report(text)
    assert (report.weights_bytes, report.ram_bytes) == (whole.weights_bytes, whole.ram_bytes)
    refused(text.replace("Requested memory size", "Memory size"), r"no activations \(rw\)")


def test_a_text_report_cut_short_is_refused_or_lacks_its_tail() -> None:
    text, whole = golden(FINGER), read_report(golden(FINGER))
    summary_ends = text.index("(*) 'input'")
    for end in range(0, summary_ends - 300, 100):
        refused(text[:end])
    for end in range(summary_ends, len(text), 1_000):
        report = read_report(text[:end])
        assert (report.macs, report.weights_bytes, report.ram_bytes) == (18_615_568, 433_896, 45_072)
        assert report.runtime_flash_bytes in (None, whole.runtime_flash_bytes)


MUTABLE = [path for path in GOLDEN if (DATA / "stedgeai_reports" / path).exists()]


@given(st.data())
def test_damaged_reports_are_read_or_refused(data: st.DataObject) -> None:
    """Bytes changed, cut, doubled: nothing but a report or an `StToolError` comes of it."""
    if not MUTABLE:
        pytest.skip("the shared reports are absent")
    content = bytearray(golden(data.draw(st.sampled_from(MUTABLE))).encode()[:60_000])
    for _ in range(data.draw(st.integers(1, 12))):
        begin = data.draw(st.integers(0, len(content)))
        end = min(len(content), begin + data.draw(st.integers(0, 40)))
        content[begin:end] = data.draw(
            st.binary(max_size=40) | st.sampled_from([b",", b"-1", b"NaN", b"9" * 30, b"\n"])
        )
    text = content.decode("utf-8", "replace")
    for read in (read_report, read_buffers):
        with suppress(StToolError):
            read(text)


@given(st.data())
def test_damaged_values_of_the_json_are_read_or_refused(data: st.DataObject) -> None:
    path = next((path for path in MUTABLE if path == f"{TOO_BIG}/network_c_info.generate.json"), None)
    if path is None:
        pytest.skip("the shared reports are absent")
    info = json.loads(golden(path))
    info["buffers"] = info["buffers"][:6]
    info["graphs"][0]["nodes"] = info["graphs"][0]["nodes"][:4]
    node: Any = info
    while isinstance(node, (dict, list)) and node:
        holder = node
        key = data.draw(st.sampled_from(list(node) if isinstance(node, dict) else list(range(len(node)))))
        node = holder[key]
    holder[key] = data.draw(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just([]) | st.just({})
    )
    try:
        report = read_report(json.dumps(info))
    except StToolError:
        return
    assert report.weights_bytes >= 0 and report.ram_bytes > 0
