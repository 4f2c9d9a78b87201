"""The deploy role: firmware of the network, proof that it runs on the board, and the bundle with the evidence."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from automcu.architecture import Candidate, Task
from automcu.board import Board, Budget
from automcu.deploy.bundle import EVIDENCE, digests
from automcu.deploy.c_array import c_header, c_source
from automcu.deploy.evidence import Design, Digest, Evidence, StCode
from automcu.deploy.images import Firmware
from automcu.deploy.model_card import model_card
from automcu.deploy.prover import Prover
from automcu.deploy.samples import Samples
from automcu.errors import CandidateFailure, InfraFailure
from automcu.export.interpreter import images_to_int8, run_bytes
from automcu.graph.tflite.constants import read_model
from automcu.messages import CardFacts, CardProse
from automcu.results import Deployment, FeasibilityReport, Measurement

BUNDLE = "best"
"""Name of the bundle's folder in a run folder."""
MODEL = "model_int8.tflite"
SAMPLES = "samples.npz"
INTERPRETER = "tflite-micro"
_TIME_LIMIT_S = 300.0


class DoesNotRun(CandidateFailure):
    """The firmware was built, but takes more than the budget, or gives outputs that are not tflite-micro's."""


@dataclass(frozen=True, slots=True, eq=False)
class Deployed:
    """A network that was built for a board and run there, or not and why (`unverified`), with the samples it ran. `st`
    and further `files` of its bundle are there where ST's runtime is to run it."""

    samples: Samples
    firmware: Firmware | None
    measurement: Measurement | None
    unverified: str
    st: StCode | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class DeployedBundle:
    """A bundle's files by name, as bytes, because on a cluster only the driver writes the run folder."""

    deployment: Deployment
    files: Mapping[str, bytes]


class Deployer:
    """Deploys to one board. Without a prover bundles hold no firmware, and `unverified` says why."""

    def __init__(self, board: Board, prover: Prover | None, unverified: str = "") -> None:
        self._board = board
        self._prover = prover
        self.unverified = unverified

    def without_board(self, unverified: str) -> "Deployer":
        """One for the same board that does not ask it, and says why."""
        return Deployer(self._board, None, unverified)

    def deploy(
        self,
        design: Design,
        tflite: bytes,
        images: np.ndarray,
        labels: np.ndarray,
        budget: Budget,
        provenance: Mapping[str, str],
        journal: bytes,
        describe: Callable[[CardFacts], CardProse] | None = None,
    ) -> DeployedBundle:
        """The bundle of `tflite`, checked on `images` (uint8, NHWC) with their `labels`. `provenance` tells the run,
        its seed and the versions of what made the file; `journal` are the run's journal lines of the candidate;
        `describe` writes the prose of the model card.

        A board that cannot be asked leaves the bundle unverified, and the bundle says so. Raises `CandidateFailure`
        when `tflite` is not the file that was evaluated, or as `run` does; `InfraFailure` when an interpreter's process
        fails.
        """
        began = time.monotonic()
        if hashlib.sha256(tflite).hexdigest() != design.evaluation.tflite_sha256:
            raise CandidateFailure("the file to bundle is not the one that was evaluated; evaluate it again")
        inputs = images_to_int8(images).reshape(len(images), -1).view(np.uint8)
        deployed = self.run(tflite, inputs, labels, budget)
        evidence = self.evidence(deployed, design.evaluation.report, budget, provenance, design)
        facts = CardFacts(
            design.task, self._board.name, design.evaluation, design.test, deployed.measurement, deployed.unverified
        )
        files = bundle_files(
            evidence,
            deployed,
            tflite,
            {
                "architecture.json": _architecture(design.candidate, design.task),
                "journal.jsonl": journal,
                "model.h": c_header(tflite).encode(),
                "model.c": c_source(tflite).encode(),
            },
            describe(facts) if describe else None,
        )
        deployment = Deployment(
            board=self._board.name,
            bundle=BUNDLE,
            samples=len(inputs),
            measurement=deployed.measurement,
            unverified=deployed.unverified,
            evidence_sha256=hashlib.sha256(files[EVIDENCE]).hexdigest(),
            seconds=time.monotonic() - began,
        )
        return DeployedBundle(deployment, files)

    def run(self, tflite: bytes, inputs: np.ndarray, labels: np.ndarray | None, budget: Budget) -> Deployed:
        """Firmware of the network in `tflite`, run on `inputs` (uint8, a row of bytes a sample).

        Raises `CandidateFailure` when the network cannot run: an operator without a kernel, an image larger than the
        part (`ImageTooLarge`), a fault or a hang on the board, or `DoesNotRun`.
        """
        samples = self._samples(tflite, inputs, labels)
        if self._prover is None:
            return Deployed(samples, None, None, self.unverified)
        firmware = None
        try:
            firmware = self._prover.build(tflite)
            self._require_budget(firmware, budget)
            measurement = self._prover.measure(firmware, samples)
        except InfraFailure as error:  # nothing is lost: the bundle can be run on a board later
            return Deployed(samples, firmware, None, str(error))
        if measurement.matching < measurement.checked:
            raise DoesNotRun(
                f"only {measurement.matching} of {measurement.checked} outputs of {measurement.link} board "
                f"{measurement.board} equal those of {INTERPRETER}; please report this network"
            )
        return Deployed(samples, firmware, measurement, "")

    def _samples(self, tflite: bytes, inputs: np.ndarray, labels: np.ndarray | None) -> Samples:
        """With the outputs to expect."""
        return Samples(inputs, run_bytes(tflite, inputs, processes=1, time_limit_s=_TIME_LIMIT_S), labels)

    def _require_budget(self, firmware: Firmware, budget: Budget) -> None:
        ram_bytes = firmware.image.ram_bytes - self._board.reserved_ram_bytes  # the reserve is no part of a budget
        for what, limit, value in (
            ("Flash", budget.flash_bytes, firmware.image.flash_bytes),
            ("RAM", budget.ram_bytes, ram_bytes),
        ):
            if value > limit:
                raise DoesNotRun(
                    f"the linked image takes {value:,} B of {what}, {value - limit:,} B more than the budget of "
                    f"{limit:,} B; raise the budget or take a smaller network"
                )

    def evidence(
        self,
        deployed: Deployed,
        report: FeasibilityReport,
        budget: Budget,
        provenance: Mapping[str, str],
        design: Design | None,
    ) -> Evidence:
        """What a bundle of `deployed` says of itself, before its files are listed."""
        return Evidence(
            schema_version=2,
            files={},
            board=self._board,
            budget=budget,
            report=report,
            interpreter=INTERPRETER,
            samples=len(deployed.samples.of_a_bundle().inputs),
            firmware=deployed.firmware is not None,
            measurement=deployed.measurement,
            unverified=deployed.unverified,
            design=design,
            provenance=provenance,
            st=deployed.st,
        )


def bundle_files(
    evidence: Evidence,
    deployed: Deployed,
    tflite: bytes,
    more: Mapping[str, bytes],
    prose: CardProse | None = None,
) -> Mapping[str, bytes]:
    """All files of a bundle, by name: the model, its card with `prose`, the samples, the firmware with its sources,
    `more`, and the evidence that lists them."""
    model = read_model(tflite)
    files = {
        MODEL: tflite,
        "model_card.md": model_card(evidence, model, prose).encode(),
        SAMPLES: deployed.samples.of_a_bundle().to_npz(model.graph),
        **deployed.files,
        **more,
    }
    if deployed.firmware is not None:
        files |= {f"firmware/{name}": text.encode() for name, text in deployed.firmware.sources.items()}
        if deployed.firmware.image.binary:  # a program of this host is none for the board
            files[image_name(evidence.board)] = deployed.firmware.image.elf
            files[f"firmware/{evidence.board.name}.bin"] = deployed.firmware.image.binary
    listed = {name: Digest(**digest) for name, digest in digests(files).items()}  # type: ignore[arg-type]
    return {**files, EVIDENCE: replace(evidence, files=listed).to_json()}


def image_name(board: Board) -> str:
    """Where the ELF file for `board` lies in a bundle."""
    return f"firmware/{board.name}.elf"


def _architecture(candidate: Candidate, task: Task) -> bytes:
    architecture = candidate.architecture
    described = {
        "space": architecture.space,
        "fingerprint": architecture.fingerprint,
        "input_shape": task.input_shape,
        "class_count": task.class_count,
        "description": json.loads(architecture.text),
    }
    return (json.dumps(described, indent=2, sort_keys=True) + "\n").encode()
