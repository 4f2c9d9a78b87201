"""The evaluation and conversion role: from trained weights to a measured int8 file.

The accuracy that ranks candidates is that of the very file that would ship, run by tflite-micro, whose arithmetic is
the microcontroller's. The test set is opened by `Evaluator.test` alone, which the search asks for once, at the end.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from automcu.errors import CandidateFailure, InfraFailure
from automcu.export.converter import Converter
from automcu.export.interpreter import accuracy, images_to_int8, run_int8
from automcu.feasibility.gate import Gate
from automcu.results import Evaluation, TestResult
from automcu.spaces.space import Space
from automcu.training.data import TestData, TrainingData
from automcu.training.recipe import Recipe
from automcu.training.weights import weights_from_bytes, weights_to_bytes
from automcu.work import Evaluate, Test


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """How to measure. Images are taken from the front of the (shuffled) splits; `processes` interpreters share them.

    `fine_tuning` is how a network is trained on in simulated int8 whose accuracy falls by more than `most_int8_drop`
    (a share of the validation images) in the conversion.

    `parity_tolerance` bounds the absolute difference between the torch and the Keras network's float outputs.
    """

    calibration_images: int
    validation_images: int
    parity_images: int
    parity_tolerance: float
    processes: int
    time_limit_seconds: float
    most_int8_drop: float
    fine_tuning: Recipe


@dataclass(frozen=True, slots=True)
class Measured:
    """A measurement, the int8 .tflite file that was measured, and the float weights (safetensors) that it is of."""

    evaluation: Evaluation
    tflite: bytes
    weights: bytes


def disagreement(converted: np.ndarray, trained: np.ndarray) -> float:
    """See `Evaluation.parity`. Rounding grows with the figures: outputs of a deep network that was trained for an epoch
    may be in the thousands."""
    return float(np.abs(converted - trained).max() / max(1.0, np.abs(trained).max()))


class Evaluator:
    """Converts trained candidates and measures them. Holds the converter and the gate; close it when done."""

    def __init__(
        self,
        space: Space,
        gate: Gate,
        converter: Converter,
        data: TrainingData,
        load_test: Callable[[], TestData],
        settings: EvaluationSettings,
    ) -> None:
        self._space = space
        self._gate = gate
        self._converter = converter
        self._data = data
        self._load_test = load_test
        self._settings = settings
        converter.start()  # tensorflow loads while the first candidates train

    def evaluate(self, work: Evaluate, weights: bytes) -> Measured:
        """The measurement of a trained candidate, with its int8 .tflite file.

        Raises `CandidateFailure` when torch and Keras disagree, the file differs from what the gate admitted, or the
        conversion fails; `InfraFailure` when a process dies or runs out of time.
        """
        began = time.monotonic()
        measured = self._measure(work, weights, began)
        evaluation = measured.evaluation
        lost = evaluation.float_validation_accuracy - evaluation.int8_validation_accuracy
        if lost <= self._settings.most_int8_drop:
            return measured
        from automcu.training.quantized import fine_tuned, layer_errors

        settings, data = self._settings, self._data
        network, parameters = self._space.build(work.candidate.architecture), weights_from_bytes(weights)
        calibration = data.images[: settings.calibration_images]
        errors = layer_errors(network, parameters, calibration, data.validation_images[: settings.parity_images])
        best, better = measured, False
        try:
            tuned = fine_tuned(
                network,
                parameters,
                data if work.trial.final else data.for_search(),
                settings.fine_tuning,
                calibration=calibration,
                threads=settings.processes,
                seed=work.trial.seed,
                seconds=settings.time_limit_seconds / 2,
            )
            again = self._measure(work, weights_to_bytes(tuned), began)
            better = again.evaluation.int8_validation_accuracy > evaluation.int8_validation_accuracy
            best = again if better else measured
        except (CandidateFailure, InfraFailure):  # whatever it was: what was measured stands
            pass
        told = replace(
            best.evaluation,
            layer_errors=errors,
            fine_tuned=better,
            converted_accuracy=evaluation.int8_validation_accuracy,
            seconds=time.monotonic() - began,
        )
        return replace(best, evaluation=told)

    def _measure(self, work: Evaluate, weights: bytes, began: float) -> Measured:
        from automcu.training.model import forward

        settings, data = self._settings, self._data
        network = self._space.build(work.candidate.architecture)
        parameters = weights_from_bytes(weights)
        probe = data.validation_images[: settings.parity_images]
        conversion = self._converter.convert(network, parameters, data.images[: settings.calibration_images], probe)
        parity = disagreement(conversion.probe_outputs, forward(network, parameters, probe))
        if not parity <= settings.parity_tolerance:
            raise CandidateFailure(
                f"the Keras network's outputs differ from torch's by {parity:.1e} (allowed "
                f"{settings.parity_tolerance:.0e}); report this architecture as a bug of the exporter"
            )
        verdicts = self._gate.judge_file(conversion.tflite)
        if verdicts[0].report.graph_fingerprint != work.report.graph_fingerprint:
            raise CandidateFailure(
                "the converted file is not the graph that the gate admitted; report this architecture as a bug of the "
                "lowering"
            )
        broken = "; ".join(str(violation) for verdict in verdicts for violation in verdict.violations)
        if broken:  # where a tool's figures depend on the weights' values
            raise CandidateFailure(
                f"the trained file breaks a limit that its untrained twin kept ({broken}); go smaller"
            )
        images = data.validation_images[: settings.validation_images]
        labels = data.validation_labels[: settings.validation_images]
        outputs = self._run(conversion.tflite, images)
        evaluation = Evaluation(
            int8_validation_accuracy=accuracy(outputs, labels),
            float_validation_accuracy=accuracy(forward(network, parameters, images), labels),
            validation_images=len(images),
            parity=parity,
            tflite_bytes=len(conversion.tflite),
            tflite_sha256=hashlib.sha256(conversion.tflite).hexdigest(),
            report=verdicts[0].report,
            vendor_report=verdicts[-1].report if len(verdicts) > 1 else None,
            seconds=time.monotonic() - began,
            trained_on=work.trial.saw_validation,
        )
        return Measured(evaluation, conversion.tflite, weights)

    def test(self, work: Test, weights: bytes, tflite: bytes) -> TestResult:
        """The one measurement on the test set. Raises as `evaluate` does, and `DataError` when the set is missing."""
        from automcu.training.model import forward

        began = time.monotonic()
        test = self._load_test()
        network = self._space.build(work.candidate.architecture)
        return TestResult(
            int8_accuracy=accuracy(self._run(tflite, test.images), test.labels),
            float_accuracy=accuracy(forward(network, weights_from_bytes(weights), test.images), test.labels),
            images=len(test.images),
            interpreter="tflite-micro",
            seconds=time.monotonic() - began,
        )

    def _run(self, tflite: bytes, images: np.ndarray) -> np.ndarray:
        return run_int8(
            tflite,
            images_to_int8(images),
            processes=self._settings.processes,
            time_limit_s=self._settings.time_limit_seconds,
        )

    def close(self) -> None:
        """End the converter's process, and those of the gate's tiers."""
        self._converter.close()
        self._gate.close()
