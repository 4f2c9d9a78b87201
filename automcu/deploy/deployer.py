"""The deploy role, first form: bundle the winner and prove on the host that the bundle's C array is the network."""

import hashlib
import io
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from automcu.architecture import Candidate, Task
from automcu.board import Board, Budget
from automcu.deploy.bundle import EVIDENCE, digests
from automcu.deploy.c_array import c_header, c_source, read_c_source
from automcu.deploy.model_card import CardFacts, model_card
from automcu.errors import CandidateFailure
from automcu.export.int8_file import Int8File
from automcu.export.interpreter import images_to_int8, run_int8
from automcu.results import Deployment, Evaluation, TestResult, TrialResult

BUNDLE = "best"
"""Name of the bundle's folder in a run folder."""
_TIME_LIMIT_S = 120.0


@dataclass(frozen=True, slots=True, eq=False)
class DeployedBundle:
    """A validated bundle: its files by name, as bytes, because on a cluster only the driver writes the run folder."""

    deployment: Deployment
    files: Mapping[str, bytes]


class Deployer:
    """Makes bundles for one board."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def deploy(
        self,
        candidate: Candidate,
        evaluation: Evaluation,
        test: TestResult,
        trial: TrialResult,
        tflite: bytes,
        sample_images: np.ndarray,
        task: Task,
        budget: Budget,
        provenance: Mapping[str, str],
    ) -> DeployedBundle:
        """The bundle of `tflite`, checked on `sample_images` (uint8, NHWC). `provenance` tells the run, its seed and
        the versions of what made the file.

        Raises `CandidateFailure` when `tflite` is not the file that `evaluation` measured, or an output of the
        bundle's C array differs from the file's; `InfraFailure` when an interpreter's process fails.
        """
        began = time.monotonic()
        if hashlib.sha256(tflite).hexdigest() != evaluation.tflite_sha256:
            raise CandidateFailure("the file to bundle is not the one that was evaluated; evaluate it again")
        inputs = images_to_int8(sample_images)
        outputs = run_int8(tflite, inputs, processes=1, time_limit_s=_TIME_LIMIT_S)
        facts = CardFacts(
            candidate,
            task,
            self._board,
            budget,
            evaluation,
            test,
            trial,
            Int8File.read(tflite),
            provenance,
            len(inputs),
        )
        architecture = candidate.architecture
        files = {
            "model_int8.tflite": tflite,
            "model.h": c_header(tflite).encode(),
            "model.c": c_source(tflite).encode(),
            "architecture.json": _json(
                {
                    "space": architecture.space,
                    "fingerprint": architecture.fingerprint,
                    "input_shape": task.input_shape,
                    "class_count": task.class_count,
                    "description": json.loads(architecture.text),
                }
            ),
            "model_card.md": model_card(facts).encode(),
            "samples.npz": _npz(inputs, outputs),
        }
        checked = validate_on_host(files)
        files[EVIDENCE] = _json(
            {
                "schema": 1,
                "files": digests(files),
                "candidate": asdict(candidate),
                "task": asdict(task),
                "board": asdict(self._board),
                "budget": asdict(budget),
                "trial": asdict(trial),
                "evaluation": asdict(evaluation),
                "test": asdict(test),
                "host_validation": {"interpreter": "tflite-micro", "checked": checked, "matching": checked},
                "hardware_validation": None,
                "provenance": dict(provenance),
            }
        )
        deployment = Deployment(
            board=self._board.name,
            bundle=BUNDLE,
            checked=checked,
            matching=checked,
            evidence_sha256=hashlib.sha256(files[EVIDENCE]).hexdigest(),
            seconds=time.monotonic() - began,
        )
        return DeployedBundle(deployment, files)


def validate_on_host(files: Mapping[str, bytes]) -> int:
    """How many of the bundle's sample inputs give their expected output, when the file read back out of `model.c`
    runs in a fresh interpreter: all of them, or `CandidateFailure` is raised. `InfraFailure` as `run_int8`."""
    with np.load(io.BytesIO(files["samples.npz"])) as samples:
        inputs, expected = samples["inputs"], samples["outputs"]
    outputs = run_int8(read_c_source(files["model.c"].decode()), inputs, processes=1, time_limit_s=_TIME_LIMIT_S)
    matching = int((outputs == expected).all(axis=1).sum()) if outputs.shape == expected.shape else 0
    if matching != len(inputs):
        raise CandidateFailure(
            f"only {matching} of {len(inputs)} outputs of the bundle's C array equal the expected ones; make the "
            "bundle again"
        )
    return matching


def _json(data: object) -> bytes:
    return (json.dumps(data, indent=2, sort_keys=True) + "\n").encode()


def _npz(inputs: np.ndarray, outputs: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, inputs=inputs, outputs=outputs)
    return buffer.getvalue()
