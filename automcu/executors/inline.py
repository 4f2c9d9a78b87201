"""Does all the work in this process, one piece after the other: for tests, and for machines without Ray."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from automcu.agents.supervisor import SupervisorAgent
from automcu.agents.training import TrainingAgent
from automcu.deploy.bundle import write_bundle
from automcu.executors import steps
from automcu.executors.blueprint import Blueprint, Past, RunEnd
from automcu.executors.checkpoints import CheckpointRemover
from automcu.executors.steps import DeploymentRole, EvaluationRole, TrainingRole
from automcu.feasibility.gate import Gate
from automcu.journal import Header, Journal, journal_extract
from automcu.ledger import Ledger
from automcu.proposal import Proposer
from automcu.report.progress import Progress
from automcu.results import EpochPoint
from automcu.run_folder import RunFolder, model_name, weights_name
from automcu.search import Limits, Search, drive
from automcu.training.data import TrainingData
from automcu.work import (
    STAGES,
    Check,
    ChooseRecipe,
    Deploy,
    Evaluate,
    Outcome,
    Plan,
    Propose,
    Retrain,
    Stage,
    Test,
    Train,
    Trained,
    Work,
    WorkFailed,
    stage_of,
)


@dataclass(frozen=True, slots=True)
class InlineRoles:
    """One role a stage, all in this process; None where no one is to be asked."""

    supervisor: SupervisorAgent | None
    proposer: Proposer
    gate: Gate
    training_agent: TrainingAgent | None
    training: TrainingRole
    evaluation: EvaluationRole
    deployment: DeploymentRole


class InlineExecutor:
    """Same seed, same machine: the same candidates and verdicts in the same order."""

    def __init__(self, roles: InlineRoles, folder: RunFolder, on_epoch: Callable[[int, EpochPoint], None]) -> None:
        self._roles = roles
        self._folder = folder
        self._on_epoch = on_epoch
        self._waiting: deque[Work] = deque()

    def room(self) -> Mapping[Stage, int]:
        """One piece of work of each stage, once all that was submitted is done."""
        return dict.fromkeys(STAGES, 0 if self._waiting else 1)

    def submit(self, work: Work) -> None:
        """Remember `work`; `wait` does it."""
        self._waiting.append(work)

    def wait(self) -> Sequence[Outcome]:
        """Do the oldest piece of work that was submitted."""
        return self._do(self._waiting.popleft()) if self._waiting else []

    def _do(self, work: Work) -> list[Outcome]:
        match work:
            case Plan():
                assert self._roles.supervisor is not None  # the search plans only where there is one
                return steps.plan(self._roles.supervisor, work)
            case Propose():
                return list(steps.propose(self._roles.proposer, work))
            case Check():
                return [steps.check(self._roles.gate, work)]
            case ChooseRecipe():
                assert self._roles.training_agent is not None
                return steps.choose_recipe(self._roles.training_agent, work)
            case Train() | Retrain():
                return [self._train(work)]
            case Evaluate(candidate, _, trial):
                weights = self._folder.read(weights_name(candidate.id, trial.final))
                outcomes, measured = self._roles.evaluation.evaluate(work, weights)
                if measured is not None:
                    self._folder.write(weights_name(candidate.id, trial.final), measured.weights)
                    self._folder.write(model_name(candidate.id, trial.final), measured.tflite)
                return outcomes
            case Test():
                weights = self._folder.read(weights_name(work.candidate.id, work.evaluated.trial.final))
                tflite = self._folder.read(model_name(work.candidate.id, work.evaluated.trial.final))
                return [self._roles.evaluation.test(work, weights, tflite)]
            case Deploy():
                tflite = self._folder.read(model_name(work.candidate.id, work.evaluated.trial.final))
                outcomes, files = self._roles.deployment.deploy(
                    work, tflite, journal_extract(self._folder.path / "journal.jsonl", work.candidate.id)
                )
                if files:
                    write_bundle(self._folder.path / "best", files)
                return outcomes

    def _train(self, work: Train | Retrain) -> Trained | WorkFailed:
        try:
            trial, weights = self._roles.training.train(work, partial(self._on_epoch, work.candidate.id))
        except Exception as error:
            return steps.failure(stage_of(work), work.candidate.id, error)
        self._folder.write(weights_name(work.candidate.id, trial.final), weights)
        return Trained(work.candidate.id, trial)


def run_inline(
    blueprint: Blueprint,
    limits: Limits,
    header: Header,
    folder: RunFolder,
    data: TrainingData,
    clock: Callable[[], float],
    say: Callable[[str], None],
    past: Past = (),
) -> RunEnd:
    """A whole run in this process, or what is left of one after its `past`."""
    shared = blueprint.shared()
    evaluation = blueprint.make_evaluation(data, shared)
    gate = blueprint.make_gate()
    roles = InlineRoles(
        blueprint.make_supervisor(shared) if blueprint.make_supervisor else None,
        blueprint.make_proposer(shared),
        gate,
        blueprint.make_training_agent(shared) if blueprint.make_training_agent else None,
        blueprint.make_training(data),
        evaluation,
        blueprint.make_deployment(data, shared),
    )
    search = Search(limits, clock, plans=roles.supervisor is not None, recipes=roles.training_agent is not None)
    journal = Journal(folder.path / "journal.jsonl", clock)
    if not past:
        journal(header)
    ledger = Ledger(clock)
    ledger.replay(past)
    search.replay(outcome for _, outcome in past)
    try:
        progress = Progress(search, clock, say)
        recorders = journal, ledger, progress, CheckpointRemover(folder)
        drive(search, InlineExecutor(roles, folder, progress.epoch), recorders)
    finally:
        journal.close()
        evaluation.close()
        gate.close()
    return RunEnd(search.finished, search.funnel, ledger.costs(), search.stopped_by, search.trouble)
