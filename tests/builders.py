"""Small facts for tests of the rooms above: reports, trials, evaluations with plausible figures."""

from automcu.architecture import Architecture, Candidate
from automcu.results import Deployment, EpochPoint, Evaluation, FeasibilityReport, TestResult, TrialResult


def architecture(number: int) -> Architecture:
    return Architecture.of("test", {"number": number})


def candidate(number: int) -> Candidate:
    return Candidate(number, architecture(number), "test")


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
    return Deployment("nucleo_f446re", "best", 4, 4, "0" * 64, 1.0)


test_result.__test__ = False  # type: ignore[attr-defined]
