"""One function a stage: do the work with the role it belongs to, and turn whatever happens into an outcome.

Both executors, inline and Ray, run exactly these. Failures are told apart here, where the facts are: `InfraFailure`
may be tried again; anything else would fail anywhere, the unexpected included.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from automcu.architecture import Architecture, Task
from automcu.board import Budget
from automcu.deploy.deployer import Deployer
from automcu.deploy.evidence import Design
from automcu.errors import AutoMCUError, InfraFailure
from automcu.evaluation import Evaluator
from automcu.feasibility.gate import Gate, Verdict
from automcu.proposal import Proposer
from automcu.results import EpochPoint, TrialResult
from automcu.spaces.space import Space
from automcu.training.data import TrainingData
from automcu.training.weights import weights_to_bytes
from automcu.work import (
    Check,
    Checked,
    Deploy,
    DeployDone,
    Evaluate,
    EvaluationDone,
    Outcome,
    ProposalsEnded,
    Propose,
    Proposed,
    Stage,
    Test,
    TestDone,
    Train,
    WorkFailed,
)

if TYPE_CHECKING:  # torch is imported where training happens, not in every process that hands work around
    from automcu.training.trainer import Trainer


def failure(stage: Stage, candidate_id: int | None, error: Exception) -> WorkFailed:
    """The outcome that stands for `error`."""
    message = str(error) if isinstance(error, AutoMCUError) else f"unexpected {type(error).__name__}: {error}"
    # Halves of surrogate pairs, from whatever said this, could not be written to the journal.
    printable = message.encode(errors="replace").decode()
    return WorkFailed(stage, candidate_id, isinstance(error, InfraFailure), printable)


def propose(proposer: Proposer, work: Propose) -> Iterator[Outcome]:
    """Proposals as they come, then `ProposalsEnded` or `WorkFailed`."""
    began = time.monotonic()
    try:
        proposer.observe(work.news)
        for item in proposer.propose(work.count):
            yield Proposed(item)
    except Exception as error:
        yield failure("propose", None, error)
    else:
        yield ProposalsEnded(time.monotonic() - began)


def check(gate: Gate, work: Check) -> Checked | WorkFailed:
    """The gate's verdict on one candidate."""
    checked = _checked(gate.check, work)
    assert checked is not None  # `Gate.check` has a verdict on everything
    return checked


def screen(gate: Gate, work: Check) -> Checked | WorkFailed | None:
    """The gate's verdict on one candidate, None when only its slow tool can give one."""
    return _checked(gate.screen, work)


def _checked(judge: Callable[[Architecture], Verdict | None], work: Check) -> Checked | WorkFailed | None:
    began = time.monotonic()
    try:
        verdict = judge(work.candidate.architecture)
    except Exception as error:
        return failure("check", work.candidate.id, error)
    if verdict is None:
        return None
    return Checked(work.candidate.id, verdict.report, verdict.violations, time.monotonic() - began)


@dataclass(frozen=True, slots=True)
class TrainingRole:
    """What it takes to train any candidate of a run; a candidate's seed is the run's plus its id."""

    space: Space
    trainer: "Trainer"
    data: TrainingData
    seed: int

    def train(self, work: Train, on_epoch: Callable[[EpochPoint], None]) -> tuple[TrialResult, bytes]:
        """The trial's result and the trained weights (safetensors). `on_epoch` may raise to stop the training."""
        trained = self.trainer.train(
            self.space.build(work.candidate.architecture),
            self.data,
            seed=self.seed + work.candidate.id,
            seconds=work.seconds,
            on_epoch=on_epoch,
        )
        return trained.trial, weights_to_bytes(trained.weights)


def evaluate(evaluator: Evaluator, work: Evaluate, weights: bytes) -> tuple[EvaluationDone | WorkFailed, bytes]:
    """The int8 measurement and the int8 file (empty on failure)."""
    try:
        evaluation, tflite = evaluator.evaluate(work, weights)
    except Exception as error:
        return failure("evaluate", work.candidate.id, error), b""
    return EvaluationDone(work.candidate.id, evaluation), tflite


def test(evaluator: Evaluator, work: Test, weights: bytes, tflite: bytes) -> TestDone | WorkFailed:
    """The test-set measurement."""
    try:
        return TestDone(work.candidate.id, evaluator.test(work, weights, tflite))
    except Exception as error:
        return failure("test", work.candidate.id, error)


@dataclass(frozen=True, slots=True)
class DeploymentRole:
    """What it takes to deploy the winner. `provenance` (versions, seed, run) goes into its evidence."""

    deployer: Deployer
    data: TrainingData
    task: Task
    budget: Budget
    provenance: Mapping[str, str]
    sample_images: int

    def without_board(self, unverified: str) -> "DeploymentRole":
        """The same, but its bundles hold no firmware, and say why."""
        return replace(self, deployer=self.deployer.without_board(unverified))

    def deploy(
        self, work: Deploy, tflite: bytes, journal: bytes
    ) -> tuple[DeployDone | WorkFailed, Mapping[str, bytes]]:
        """The bundle as files by name (none on failure); `journal` are the run's journal lines of the candidate."""
        evaluated = work.evaluated
        design = Design(evaluated.candidate, self.task, evaluated.trial, evaluated.evaluation, work.test)
        try:
            bundle = self.deployer.deploy(
                design,
                tflite,
                self.data.validation_images[: self.sample_images],
                self.data.validation_labels[: self.sample_images],
                self.budget,
                self.provenance,
                journal,
            )
        except Exception as error:
            return failure("deploy", evaluated.candidate.id, error), {}
        return DeployDone(evaluated.candidate.id, bundle.deployment), bundle.files
