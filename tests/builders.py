"""Small facts for tests of the rooms above: reports, trials, evaluations with plausible figures."""

from typing import Any

from automcu.architecture import Architecture, Candidate
from automcu.board import Board, MemoryRegion, Uart
from automcu.exchange import Exchange, Role
from automcu.results import Deployment, EpochPoint, Evaluation, FeasibilityReport, Measurement, TestResult, TrialResult


def architecture(number: int) -> Architecture:
    return Architecture.of("test", {"number": number})


def candidate(number: int) -> Candidate:
    return Candidate(number, architecture(number), "test")


def board(**given: Any) -> Board:
    """A board in which a test cares for what it gives only."""
    facts: dict[str, Any] = {
        "name": "b",
        "part": "p",
        "core": "cortex-m4f",
        "clock_hz": 10**8,
        "reset_clock_hz": 16 * 10**6,
        "regions": (MemoryRegion("flash", "flash", 0, 2**20), MemoryRegion("ram", "ram", 2**29, 2**17)),
        "reserved_ram_bytes": 0,
        "reserved_flash_bytes": 0,
        "stedgeai_target": None,
        "openocd": None,
        "set_up": (),
        "uart": Uart("stm32_v1", 0x40004400, 16 * 10**6),
        "source": "s",
    }
    return Board(**{**facts, **given})


def report(activations: int = 10_000, weights: int = 20_000, macs: int = 1_000_000) -> FeasibilityReport:
    return FeasibilityReport(
        graph_fingerprint="0" * 16,
        macs=macs,
        weights_bytes=weights,
        code_bytes=10_000,
        activations_bytes=activations,
        runtime_ram_bytes=1_000,
        binding_layer="stem",
        heaviest_layer="head",
        busiest_layer="stem",
        tier="planner",
        tool="automcu",
        tool_version="0",
        target="any Cortex-M",
        margin=0.0,
    )


def trial(accuracy: float = 0.5, seconds: float = 1.0, ended: str = "completed") -> TrialResult:
    return TrialResult((EpochPoint(1, 1.0, accuracy, seconds),), ended, 0, seconds)  # type: ignore[arg-type]


def evaluation(accuracy: float = 0.5) -> Evaluation:
    return Evaluation(accuracy, accuracy, 100, 1e-6, 30_000, "0" * 64, report(), None, 1.0)


def test_result(accuracy: float = 0.5) -> TestResult:
    return TestResult(accuracy, accuracy, 100, "tflite-micro", 1.0)


def deployment() -> Deployment:
    return Deployment("nucleo_f446re", "best", 4, measurement(), "", "0" * 64, 1.0)


def measurement() -> Measurement:
    return Measurement(
        board="nucleo_f446re",
        link="virtual",
        unit="instructions",
        ticks=1_500_000,
        checked=4,
        matching=4,
        flash_bytes=30_000,
        ram_bytes=12_000,
        arena_bytes=10_000,
        stack_peak_bytes=200,
        stack_bytes=2_000,
        latency_ms=12.5,
        latency_source="estimate",
        energy_uj=None,
        kernels="dsp",
        toolchain="zig 0.17.1",
        image_sha256="0" * 64,
    )


def exchange(role: Role = "proposal", **given: Any) -> Exchange:
    """A call that went well, as a test that cares for what it gives only wants it."""
    facts: dict[str, Any] = {
        "model": "m",
        "request_sha256": "0" * 64,
        "reply": "{}",
        "finish": "stop",
        "level": "schema",
        "tokens_in": 1_000,
        "tokens_out": 100,
        "tokens_cached": 0,
        "usd": None,
        "seconds": 2.0,
        "temperature": None,
        "seed": None,
        "date": "2026-01-31T00:00:00+00:00",
        "error": "",
        "message_hashes": ("0" * 12, "1" * 12),
    }
    return Exchange(role, **{**facts, **given})


test_result.__test__ = False  # type: ignore[attr-defined]
