"""Profiles of ST Edge AI: captured ones, those that ST's open runner would print, and damaged ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automcu.deploy.st.profile import StNode, StProfile, read_profile
from automcu.feasibility.st.errors import StToolError
from tests.graph.shared_models import shared

DEVICE = """\
Running the ST.AI c-model (AI RUNNER)...(name=network, mode=TARGET)
  ST.AI Profiling results v2.0 - "network"
  ---------------------------------------------------------------
  nb sample(s)        :   10
  duration            :   13.512 ms by sample (13.509/13.518/0.003)
  macc                :   1281000
  cycles/MACC         :   1.90
  used stack/heap     :   788/0 bytes
  ---------------------------------------------------------------
   Inference time per node
   -------------------------------------------------------------------------------------
   c_id    m_id     type                          dur (ms)       %    cumul         name
   -------------------------------------------------------------------------------------
   0       2        Conv2dPool (0x109)               7.101   52.6%    52.6%    ai_node_0
   1       [3, 4]   Dw-conv + pool (0x103)           4.250   31.5%    84.0%    ai_node_1
   2       -        NL (0x107)                       2.000   14.8%    98.8%    ai_node_2
   -------------------------------------------------------------------------------------
   n/a     n/a      Inter-nodal                      0.161    1.2%   100.0%    n/a
   -------------------------------------------------------------------------------------
   total                                            13.512
   -------------------------------------------------------------------------------------
   Statistic per tensor
   3       9        Conv2D                           9.999   99.9%    99.9%    no_node
"""
"""As the runner's source lays it out: https://github.com/STMicroelectronics/stm32ai-modelzoo-services."""


def test_a_device() -> None:
    assert read_profile(DEVICE) == StProfile(
        samples=10,
        latency_ms=13.512,
        least_ms=13.509,
        most_ms=13.518,
        macs=1_281_000,
        cycles_per_mac=1.9,
        stack_bytes=788,
        heap_bytes=0,
        nodes=(
            StNode("ai_node_0", "Conv2dPool (0x109)", 7.101),
            StNode("ai_node_1", "Dw-conv + pool (0x103)", 4.25),
            StNode("ai_node_2", "NL (0x107)", 2.0),
        ),
    )


def test_the_captured_profile_of_a_sensor() -> None:
    text = shared("stedgeai_reports/captured_cli/stedgeai_validate-target_profiling_ispu.txt").read_text()
    assert read_profile(text) == StProfile(527, 69.38, 69.213, 69.661, 12_960, 26.77, None, None, ())


def test_the_captured_profile_of_a_host() -> None:
    """It has no cycles: whoever wants a latency on a board can tell."""
    text = shared("stedgeai_reports/captured_cli/stedgeai-2.2.0_validate-host_profiling_tail.log").read_text()
    assert read_profile(text) == StProfile(10, 0.309, 0.284, 0.375, 418_195, None, None, None, ())


def test_a_captured_run_without_a_profile() -> None:
    text = shared("stedgeai_reports/captured_cli/stedgeai-2.2.0_validate-target_E200_E801.log").read_text()
    with pytest.raises(StToolError, match="it has none"):
        read_profile(text)


@pytest.mark.parametrize(
    "told, stack, heap",
    [("not monitored/0", None, 0), ("not monitored/-1", None, None), ("1024/-1", 1024, None), ("0/4096", 0, 4096)],
)
def test_stack_and_heap_that_are_not_watched(told: str, stack: int | None, heap: int | None) -> None:
    profile = read_profile(DEVICE.replace("788/0", told))
    assert (profile.stack_bytes, profile.heap_bytes) == (stack, heap)


def test_counters_of_a_device_that_has_them() -> None:
    text = DEVICE.replace("52.6%    ai", "52.6%    [  1,234   567 ]    ai").replace(
        "-- \n", "CPU cycles : [1,234 567]\n"
    )
    assert [node.name for node in read_profile(text).nodes] == ["ai_node_0", "ai_node_1", "ai_node_2"]


@pytest.mark.parametrize(
    "old, new",
    [
        ("13.512 ms by sample", "nan ms by sample"),
        ("13.512 ms by sample", "0.000 ms by sample"),
        ("13.512 ms by sample", "-13.512 ms by sample"),
        ("13.512 ms by sample", "1e9 ms by sample"),
        ("13.512 ms by sample", "14.000 ms by sample"),
        ("13.512 ms by sample (13.509/13.518/0.003)", "13.512 ms"),
        ("  duration", "  length"),
        (":   10\n", ":   0\n"),
        (":   10\n", ":   ten\n"),
        ("1281000", "1.3M"),
        ("1.90", "fast"),
        ("788/0 bytes", "much"),
    ],
)
def test_what_is_no_figure(old: str, new: str) -> None:
    assert old in DEVICE
    with pytest.raises(StToolError, match="profile cannot be read"):
        read_profile(DEVICE.replace(old, new))


def test_too_many_nodes() -> None:
    row = "   0       2        Conv2dPool (0x109)               7.101   52.6%    52.6%    ai_node_0\n"
    with pytest.raises(StToolError, match=r"4,004 nodes"):
        read_profile(DEVICE.replace(row, row * 4002))


@given(st.data())
def test_any_damage_is_a_profile_or_a_typed_error(data: st.DataObject) -> None:
    begin = data.draw(st.integers(0, len(DEVICE)))
    end = data.draw(st.integers(begin, min(len(DEVICE), begin + 200)))
    text = DEVICE[:begin] + data.draw(st.text(max_size=20)) + DEVICE[end:]
    try:
        profile = read_profile(text)
    except StToolError:
        return
    assert 0 < profile.least_ms <= profile.latency_ms <= profile.most_ms and profile.samples > 0


@pytest.mark.parametrize("hostile", ["0 " * 50_000, "0 [" + "]" * 50_000, "0 0 a " + "1.000 " * 20_000, "a" * 10**6])
def test_hostile_lines_take_no_time(hostile: str) -> None:
    profile = read_profile(DEVICE.replace("   -----", f"   {hostile}\n   -----"))
    assert len(profile.nodes) == 3
