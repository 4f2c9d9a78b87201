"""One function a stage: do the work with the role it belongs to, and turn whatever happens into an outcome.

Both executors, inline and Ray, run exactly these. Failures are told apart here, where the facts are: `InfraFailure`
may be tried again; anything else would fail anywhere, the unexpected included.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from automcu.agents.deploy import DeployAgent
from automcu.agents.evaluation import EvaluationAgent
from automcu.agents.supervisor import SupervisorAgent
from automcu.agents.training import TrainingAgent
from automcu.architecture import Architecture, Task
from automcu.board import Budget
from automcu.deploy.deployer import Deployer
from automcu.deploy.evidence import Design
from automcu.errors import AutoMCUError, InfraFailure
from automcu.evaluation import Evaluator, Measured
from automcu.exchange import Exchange
from automcu.feasibility.gate import Gate, Verdict
from automcu.llm.client import EndsTheRun, SpendingCapReached
from automcu.proposal import Notice, Proposer
from automcu.results import EpochPoint, TrialResult
from automcu.run_folder import checkpoint_name
from automcu.spaces.space import Space
from automcu.training.data import TrainingData
from automcu.training.weights import weights_to_bytes
from automcu.work import (
    Check,
    Checked,
    ChooseRecipe,
    Deploy,
    DeployDone,
    Evaluate,
    EvaluationDone,
    Exchanged,
    Noticed,
    Outcome,
    Plan,
    Planned,
    ProposalsEnded,
    Propose,
    Proposed,
    RecipeChosen,
    Retrain,
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
    """Proposals and what is told on the way as they come, then `ProposalsEnded` or `WorkFailed`."""
    began = time.monotonic()
    try:
        proposer.observe(work.news)
        for item in proposer.propose(work.count, work.plan):
            match item:
                case Exchange():
                    yield Exchanged(item)
                case Notice():
                    yield Noticed(item)
                case _:
                    yield Proposed(item)
    except EndsTheRun as end:
        yield proposing_over(end, time.monotonic() - began)
    except Exception as error:
        yield failure("propose", None, error)
    else:
        yield ProposalsEnded(time.monotonic() - began)


def proposing_over(end: EndsTheRun, seconds: float = 0.0) -> Outcome:
    """The outcome by which the search learns that no one is to propose any more: a cap is an end in good order."""
    if isinstance(end, SpendingCapReached):
        return ProposalsEnded(seconds, str(end))
    return failure("propose", None, end)


class Advisor(Protocol):
    """An agent role that is asked for advice: what it and its model said since the last time."""

    def exchanges(self) -> Sequence[Exchange]:
        """The exchanges with its model."""
        ...

    def notices(self) -> Sequence[Notice]:
        """What the user should read."""
        ...


def told(advisor: Advisor) -> list[Outcome]:
    """What an advisor's work leaves for the journal and the user."""
    return [*map(Exchanged, advisor.exchanges()), *map(Noticed, advisor.notices())]


def plan(agent: SupervisorAgent, work: Plan) -> list[Outcome]:
    """The supervisor agent's plan of a round."""
    try:
        made: Outcome = Planned(agent.plan(work.request))
    except EndsTheRun as end:
        made = proposing_over(end)
    except Exception as error:
        made = failure("plan", None, error)
    return [*told(agent), made]


def choose_recipe(agent: TrainingAgent, work: ChooseRecipe) -> list[Outcome]:
    """The training agent's recipe for one candidate."""
    outcomes: list[Outcome] = []
    try:
        outcomes.append(RecipeChosen(work.candidate.id, agent.choose(work.request)))
    except EndsTheRun as end:
        outcomes += proposing_over(end), failure("recipe", work.candidate.id, end)
    except Exception as error:
        outcomes.append(failure("recipe", work.candidate.id, error))
    return [*told(agent), *outcomes]


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
    """What it takes to train any candidate of a run; a candidate's seed is the run's plus its id. A training leaves
    checkpoints in the run's folder where that can be seen, and goes on from them. `final_trainer` is for the final
    phase, in which the validation images are trained on too if `final_sees_validation`."""

    space: Space
    trainer: "Trainer"
    data: TrainingData
    seed: int
    folder: Path
    final_trainer: "Trainer | None" = None
    final_sees_validation: bool = False

    def train(self, work: Train | Retrain, on_epoch: Callable[[EpochPoint], None]) -> tuple[TrialResult, bytes]:
        """The trial's result and the trained weights (safetensors). `on_epoch` may raise to stop the training."""
        trainer, data, final = self.trainer, self.data, isinstance(work, Retrain)
        if isinstance(work, Train):
            data = data.for_search()
            trainer = trainer if work.recipe is None else trainer.with_recipe(work.recipe)
        else:
            assert self.final_trainer is not None  # the search retrains only where there is a final phase
            trainer = self.final_trainer
            data = data.with_validation_in_training() if self.final_sees_validation else data
        trained = trainer.train(
            self.space.build(work.candidate.architecture),
            data,
            seed=self.seed + work.candidate.id,
            seconds=work.seconds,
            epochs=work.epochs if isinstance(work, Train) else None,
            on_epoch=on_epoch,
            checkpoint=self.folder / checkpoint_name(work.candidate.id, final) if self.folder.is_dir() else None,
        )
        trial = replace(trained.trial, final=final, saw_validation=final and self.final_sees_validation)
        return trial, weights_to_bytes(trained.weights)


@dataclass(frozen=True, slots=True)
class EvaluationRole:
    """What it takes to convert and measure any candidate of a run, and the agent that sums up what came of it."""

    evaluator: Evaluator
    agent: EvaluationAgent
    budget: Budget

    def evaluate(self, work: Evaluate, weights: bytes) -> tuple[list[Outcome], Measured | None]:
        """The int8 measurement with the agent's note, and the files that were measured (None on failure)."""
        candidate = work.candidate
        try:
            measured = self.evaluator.evaluate(work, weights)
        except Exception as error:
            return [failure("evaluate", candidate.id, error)], None
        evaluation = measured.evaluation
        outcomes: list[Outcome] = []
        note = None
        try:
            if not work.trial.final:  # no one would read it: the proposing is over
                note = self.agent.note(candidate, evaluation.report, work.trial, evaluation, self.budget)
        except EndsTheRun as end:
            outcomes.append(proposing_over(end))
        return [*told(self.agent), *outcomes, EvaluationDone(candidate.id, evaluation, note)], measured

    def test(self, work: Test, weights: bytes, tflite: bytes) -> TestDone | WorkFailed:
        """The test-set measurement."""
        try:
            return TestDone(work.candidate.id, self.evaluator.test(work, weights, tflite))
        except Exception as error:
            return failure("test", work.candidate.id, error)

    def close(self) -> None:
        """End the evaluator's processes."""
        self.evaluator.close()


@dataclass(frozen=True, slots=True)
class DeploymentRole:
    """What it takes to deploy the winner, and the agent that writes the model card's prose. `provenance` (versions,
    seed, run) goes into its evidence."""

    deployer: Deployer
    agent: DeployAgent
    data: TrainingData
    task: Task
    budget: Budget
    provenance: Mapping[str, str]
    sample_images: int

    def without_board(self, unverified: str) -> "DeploymentRole":
        """The same, but its bundles hold no firmware, and say why."""
        return replace(self, deployer=self.deployer.without_board(unverified))

    def deploy(self, work: Deploy, tflite: bytes, journal: bytes) -> tuple[list[Outcome], Mapping[str, bytes]]:
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
                self.agent.prose,
            )
        except Exception as error:
            return [*told(self.agent), failure("deploy", evaluated.candidate.id, error)], {}
        return [*told(self.agent), DeployDone(evaluated.candidate.id, bundle.deployment)], bundle.files
