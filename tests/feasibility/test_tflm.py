import os
import signal
import threading
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from automcu.errors import CandidateFailure, InfraFailure
from automcu.feasibility import tflm
from automcu.feasibility.tflm import ARENA_BYTES, CODE_BYTES, Allocations, TflmTier, read_allocations
from automcu.feasibility.tier import FeasibilityTier
from automcu.graph.int8 import Int8Graph, Operator, Tensor, Window
from automcu.graph.lowering import lower
from automcu.graph.planner import plan_memory
from automcu.graph.tflite.reader import read_tflite
from automcu.graph.tflite.writer import write_tflite
from tests.contracts.feasibility_tier import RESIDUAL, FeasibilityTierContract
from tests.graph.shared_models import shared

TFLITE = write_tflite(lower(RESIDUAL), seed=0)


@pytest.fixture(scope="module")
def running() -> Iterator[TflmTier]:
    tier = TflmTier()
    yield tier
    tier.close()


class TestTflmTier(FeasibilityTierContract):
    @pytest.fixture
    def tier(self, running: TflmTier) -> FeasibilityTier:
        return running

    @pytest.fixture
    def model_file(self, tmp_path: Path) -> Callable[[], Path]:
        path = tmp_path / "model.tflite"
        path.write_bytes(TFLITE)
        return lambda: path


def test_figures_of_a_small_network(running: TflmTier, tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(TFLITE)
    report = running.report(lower(RESIDUAL), lambda: tmp_path / "model.tflite")
    assert report.activations_bytes == 3 * 16 * 16 * 8
    assert report.weights_bytes == (8 * 27 + 32) + (8 * 72 + 32) + (4 * 8 + 16)
    assert report.flash_bytes == CODE_BYTES + len(TFLITE)
    assert 1_000 < report.runtime_ram_bytes < 10_000
    assert (report.tool, report.tool_version, report.margin) == ("tflite-micro", version("tflite-micro"), 0.0)
    assert report.binding_layer == "sum (in 2,048 B + in 2,048 B + out 2,048 B)"


@pytest.mark.parametrize("name", ["kws_ref_model", "pretrainedResnet_quant", "ad01_int8"])
def test_a_real_model_needs_what_was_planned(running: TflmTier, name: str) -> None:
    tflite = shared(f"mlperf_tiny_models/{name}.tflite").read_bytes()
    assert running.allocations(tflite).head == plan_memory(read_tflite(tflite)).arena_bytes


def test_a_file_that_it_refuses_or_crashes_on_is_the_candidates_failure(running: TflmTier) -> None:
    before = running.allocations(TFLITE)
    for damaged in (b"", b"no model", TFLITE[:300]):
        with pytest.raises(CandidateFailure, match=r"(crashed on the file .*|refused the file \(.*); "):
            running.allocations(damaged)
    crashing = TFLITE[: len(TFLITE) // 3] + bytes(len(TFLITE) - len(TFLITE) // 3)
    with pytest.raises(CandidateFailure, match=r"tflite-micro (crashed on|refused) the file"):
        running.allocations(crashing)
    assert running.allocations(TFLITE) == before


def test_a_process_that_aborts_is_the_candidates_failure_and_is_replaced() -> None:
    tier = TflmTier()
    before = tier.allocations(TFLITE)
    first = worker(tier)
    end_within_a_request(first, signal.SIGABRT)
    with pytest.raises(CandidateFailure, match=r"crashed on the file .*status -6"):
        tier.allocations(TFLITE)
    assert tier.allocations(TFLITE) == before
    assert worker(tier) != first
    tier.close()


def test_a_process_that_hangs_is_killed_and_replaced() -> None:
    tier = TflmTier(time_limit_seconds=1.5)
    before = tier.allocations(TFLITE)
    first = worker(tier)
    os.kill(first, signal.SIGSTOP)
    with pytest.raises(InfraFailure, match="took longer than 2 s and was killed; raise its time limit"):
        tier.allocations(TFLITE)
    assert tier.allocations(TFLITE) == before
    assert worker(tier) != first
    tier.close()


def test_a_killed_process_is_an_infrastructure_failure() -> None:
    tier = TflmTier()
    tier.allocations(TFLITE)
    end_within_a_request(worker(tier), signal.SIGKILL)
    with pytest.raises(InfraFailure, match="status -9"):
        tier.allocations(TFLITE)
    tier.close()
    assert tier.allocations(TFLITE).head == 3 * 16 * 16 * 8
    tier.close()


def worker(tier: TflmTier) -> int:
    assert tier._child is not None
    return tier._child.pid


def end_within_a_request(pid: int, signal_number: int) -> None:
    os.kill(pid, signal.SIGSTOP)

    def end() -> None:
        os.kill(pid, signal_number)
        os.kill(pid, signal.SIGCONT)

    threading.Timer(0.5, end).start()


def test_more_than_the_arena_is_the_candidates_failure(running: TflmTier) -> None:
    side = 8192
    image, made = Tensor("image", (1, side, side, 1), "int8"), Tensor("conv", (1, side, side, 1), "int8")
    conv = Operator("conv", "CONV_2D", (0,), 1, (1, 1, 1, 1), 1, Window((1, 1), (1, 1), "SAME"))
    graph = Int8Graph((image, made), (conv,), (0,), (1,))
    assert plan_memory(graph).arena_bytes > ARENA_BYTES
    with pytest.raises(CandidateFailure, match=r"Failed to .*; give .*less than 67,108,864 B of arena"):
        running.allocations(write_tflite(graph, seed=0))


def test_without_the_package_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(tflm, "version", missing)
    with pytest.raises(InfraFailure, match="tflite-micro is not installed; run"):
        _ = TflmTier().version


def report(total: int, head: int, tail: int, end: str = "\r\n") -> str:
    lines = [
        f"[RecordingMicroAllocator] Arena allocation total {total} bytes",
        f"[RecordingMicroAllocator] Arena allocation head {head} bytes",
        f"[RecordingMicroAllocator] Arena allocation tail {tail} bytes",
        "[RecordingMicroAllocator] 'TfLiteEvalTensor data' used 336 bytes with alignment overhead (requested 336 bytes "
        "for 14 allocations)",
    ]
    return end.join(lines) + end


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.sampled_from(["\n", "\r\n"]))
def test_a_report_is_read(head: int, tail: int, end: str) -> None:
    assert read_allocations(report(head + tail, head, tail, end), "1") == Allocations(head, tail)
    assert read_allocations("a warning" + end + report(head + tail, head, tail, end), "1") == Allocations(head, tail)


@given(st.text())
@example("")
@example(report(7, 3, 3))
@example(report(6, 3, 3) + report(6, 3, 3))
@example(report(6, 3, 3).replace("head", "tail"))
@example(report(6, 3, 3).replace("3 bytes", "3 kB"))
@example(report(6, 3, 3).replace("tail 3", "tail -3"))
@example(report(6, 3, 3).replace("Arena allocation total", "Arena total"))
def test_a_report_of_unknown_form_is_refused_with_the_version(text: str) -> None:
    with pytest.raises(InfraFailure, match=r"tflite-micro 0\.dev1 printed .*unknown form.*; install"):
        read_allocations(text, "0.dev1")
