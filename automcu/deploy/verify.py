"""`automcu verify`: every claim of a bundle checked again, on whatever machine it has come to."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from automcu.architecture import Task
from automcu.board import Board
from automcu.board_table import load_board
from automcu.deploy.boards.link import BoardUnavailable
from automcu.deploy.boards.virtual import VirtualBoard
from automcu.deploy.bundle import EVIDENCE, read_bundle, require_digests
from automcu.deploy.deployer import MODEL, SAMPLES, image_name
from automcu.deploy.evidence import Evidence, read_evidence
from automcu.deploy.prover import Run, run_samples
from automcu.deploy.samples import Samples, read_samples
from automcu.deploy.toolchain.elf import read_image
from automcu.deploy.toolchain.toolchain import Image
from automcu.errors import AutoMCUError, CandidateFailure, DataError, OutputError
from automcu.export.interpreter import accuracy, images_to_int8, run_bytes, run_int8
from automcu.feasibility.planner_tier import PlannerTier
from automcu.feasibility.timed import Timed
from automcu.graph.kernel_sets import kernel_set_for
from automcu.graph.tflite.reader import read_tflite
from automcu.results import Measurement

_TIME_LIMIT_S = 1_200.0
_SAMPLES_LIMIT_S = 300.0
"""For the samples, by tflite-micro and on the virtual board each: a bundle can hold many, and firmware can be slow."""
TestImages = Callable[[Task], tuple[np.ndarray, np.ndarray]]
"""The test images (uint8, NHWC) and labels of a task; raises `DataError` where they are not at hand."""


Claim = Literal["files", "fit", "model", "firmware", "accuracy"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One claim: it holds, it does not, or it could not be checked; `told` says in a sentence what was found.

    The claims: every file is as listed; the network fits its board; the model gives the expected outputs; the firmware
    gives them; the model is as accurate as stated.
    """

    claim: Claim
    outcome: Literal["holds", "fails", "not checked"]
    told: str


def verify_bundle(path: Path, test_images: TestImages, processes: int) -> Iterator[Finding]:
    """The findings on the bundle in a folder or a zip file, as they come; a bundle whose bytes are not those that its
    evidence lists ends with that.

    `processes` interpreters measure the accuracy. Raises `OutputError` when there is no bundle to check.
    """
    files = read_bundle(path)
    evidence = read_evidence(files[EVIDENCE])
    intact = _finding("files", lambda: _intact(path, files, evidence))
    yield intact
    if intact.outcome == "fails":
        return
    yield _finding("fit", lambda: _fits(files, evidence))
    yield _finding("model", lambda: _model_runs(files, evidence))
    yield _finding("firmware", lambda: _firmware_runs(files, evidence))
    yield _finding("accuracy", lambda: _accurate(files, evidence, test_images, processes))


class _NotChecked(Exception):
    """Why a claim could not be checked."""


def _finding(claim: Claim, check: Callable[[], str]) -> Finding:
    try:
        return Finding(claim, "holds", check())
    except (_NotChecked, DataError, BoardUnavailable) as reason:
        return Finding(claim, "not checked", str(reason))
    except AutoMCUError as error:
        return Finding(claim, "fails", str(error))


def _intact(path: Path, files: Mapping[str, bytes], evidence: Evidence) -> str:
    listed = {name: {"bytes": digest.bytes, "sha256": digest.sha256} for name, digest in evidence.files.items()}
    require_digests(path, files, listed)
    if MODEL not in files:
        raise OutputError(f"the bundle holds no {MODEL}; get it again from its source")
    told = f"{len(files) - 1} are as listed; {EVIDENCE} itself has SHA-256"
    held = "" if evidence.design is None else ", which the journal of the run must hold too"
    return f"{told} {hashlib.sha256(files[EVIDENCE]).hexdigest()}{held}"


def _board(evidence: Evidence) -> Board:
    """The board from this machine's table: memory that the evidence claims is not believed."""
    board = load_board(evidence.board.name)
    if board.regions != evidence.board.regions or board.core != evidence.board.core:
        raise OutputError(
            f"the evidence states another core or other memory for {board.name} than the board table; use the AutoMCU "
            "version that made the bundle"
        )
    return board


def _fits(files: Mapping[str, bytes], evidence: Evidence) -> str:
    board = _board(evidence)
    if evidence.st is not None:
        raise _NotChecked("ST's runtime is to run it, of which the planner knows nothing")
    tier = Timed(PlannerTier(kernel_set_for(board.core)), board.core)
    report = tier.report(read_tflite(files[MODEL]), lambda: Path())
    if (report.graph_fingerprint, report.macs) != (evidence.report.graph_fingerprint, evidence.report.macs):
        raise CandidateFailure("the report of the evidence is of another network; get the bundle again from its source")
    # a budget above what the board has is cut down to it
    if broken := evidence.budget.on(board).violations(report):
        raise CandidateFailure(f"{broken[0]}; take a larger board or a smaller network")
    return (
        f"{board.name}: RAM {report.ram_bytes:,} B and Flash {report.flash_bytes:,} B by tier {report.tier}, within "
        "the budget"
    )


def _samples(files: Mapping[str, bytes]) -> Samples:
    if SAMPLES not in files:
        raise OutputError(f"the bundle holds no {SAMPLES}; get it again from its source")
    return read_samples(files[SAMPLES], read_tflite(files[MODEL]))


def _model_runs(files: Mapping[str, bytes], evidence: Evidence) -> str:
    samples = _samples(files)
    outputs = run_bytes(files[MODEL], samples.inputs, processes=1, time_limit_s=_SAMPLES_LIMIT_S)
    _require_equal(outputs, samples.outputs, "tflite-micro")
    return (
        f"gives the expected outputs for {len(outputs)} of {len(outputs)} samples, byte for byte, by tflite-micro here"
    )


def _firmware_runs(files: Mapping[str, bytes], evidence: Evidence) -> str:
    name = image_name(evidence.board)
    if name not in files:
        raise _NotChecked(f"the bundle holds no firmware image ({evidence.unverified or 'none was built'})")
    samples = _samples(files)
    board = _board(evidence)
    image = read_image(files[name], "of the bundle")
    with VirtualBoard(board).open(image) as session:
        run = run_samples(session, hashlib.sha256(files[MODEL]).hexdigest(), samples, _SAMPLES_LIMIT_S)
    if run.matching < run.checked:
        raise CandidateFailure(f"only {run.matching} of {run.checked} outputs are equal; do not ship this bundle")
    _require_measurement(evidence.measurement, image, run)
    return (
        f"gives the expected outputs for {run.matching} of {len(samples.inputs)} samples, byte for byte, on the "
        f"virtual {board.name}; stack {run.stack_peak_bytes:,} of {run.stack_bytes:,} B"
    )


def _require_measurement(stated: Measurement | None, image: Image, run: Run) -> None:
    """What the evidence says was measured, where the virtual board and the image tell the same again."""
    if stated is None:
        return
    figures = [
        ("SHA-256 of the image", stated.image_sha256, hashlib.sha256(image.elf).hexdigest()),
        ("bytes of Flash", stated.flash_bytes, image.flash_bytes),
        ("bytes of RAM", stated.ram_bytes, image.ram_bytes),
    ]
    if stated.link == "virtual" and stated.checked == run.checked:
        figures += [
            ("instructions", stated.ticks, run.ticks),
            ("bytes of stack", stated.stack_peak_bytes, run.stack_peak_bytes),
        ]
    for what, told, found in figures:
        if told != found:
            raise CandidateFailure(
                f"the evidence states {told!s:.80} {what}, and here it is {found}; do not ship this bundle"
            )


def _accurate(files: Mapping[str, bytes], evidence: Evidence, test_images: TestImages, processes: int) -> str:
    design = evidence.design
    if design is None:
        raise _NotChecked("the bundle states no accuracy")
    images, labels = test_images(design.task)
    images, labels = images[: design.test.images], labels[: design.test.images]
    outputs = run_int8(files[MODEL], images_to_int8(images), processes, _TIME_LIMIT_S)
    measured = accuracy(outputs, labels)
    if measured != design.test.int8_accuracy:
        raise CandidateFailure(
            f"int8 accuracy is {measured:.2%} on {len(labels):,} test images, not {design.test.int8_accuracy:.2%}; do "
            "not ship this bundle"
        )
    return f"int8 {measured:.2%} on {len(labels):,} test images"


def _require_equal(outputs: np.ndarray, expected: np.ndarray, what: str) -> None:
    matching = int((outputs == expected).all(axis=1).sum())
    if matching < len(expected):
        raise CandidateFailure(
            f"only {matching} of {len(expected)} outputs of {what} are equal; do not ship this bundle"
        )
