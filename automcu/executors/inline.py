"""Does all the work in this process, one piece after the other: for tests, and for machines without Ray."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from automcu.deploy.bundle import write_bundle
from automcu.evaluation import Evaluator
from automcu.executors import steps
from automcu.executors.blueprint import Blueprint
from automcu.executors.steps import DeploymentRole, TrainingRole
from automcu.feasibility.gate import Gate
from automcu.finished import Finished
from automcu.journal import Header, Journal, journal_extract
from automcu.proposal import Proposer
from automcu.report.progress import Progress
from automcu.run_folder import RunFolder, model_name, weights_name
from automcu.search import Funnel, Limits, Search, drive
from automcu.training.data import TrainingData
from automcu.work import (
    STAGES,
    Check,
    Deploy,
    Evaluate,
    Outcome,
    Propose,
    Stage,
    Test,
    Train,
    Trained,
    Work,
    WorkFailed,
)


@dataclass(frozen=True, slots=True)
class InlineRoles:
    """One role a stage, all in this process."""

    proposer: Proposer
    gate: Gate
    training: TrainingRole
    evaluator: Evaluator
    deployment: DeploymentRole


class InlineExecutor:
    """Same seed, same machine: the same candidates and verdicts in the same order."""

    def __init__(self, roles: InlineRoles, folder: RunFolder) -> None:
        self._roles = roles
        self._folder = folder
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
            case Propose():
                return list(steps.propose(self._roles.proposer, work))
            case Check():
                return [steps.check(self._roles.gate, work)]
            case Train(candidate):
                return [self._train(work)]
            case Evaluate(candidate):
                weights = self._folder.read(weights_name(candidate.id))
                evaluated, tflite = steps.evaluate(self._roles.evaluator, work, weights)
                if tflite:
                    self._folder.write(model_name(candidate.id), tflite)
                return [evaluated]
            case Test():
                weights = self._folder.read(weights_name(work.candidate.id))
                tflite = self._folder.read(model_name(work.candidate.id))
                return [steps.test(self._roles.evaluator, work, weights, tflite)]
            case Deploy():
                tflite = self._folder.read(model_name(work.candidate.id))
                deployed, files = self._roles.deployment.deploy(
                    work, tflite, journal_extract(self._folder.path / "journal.jsonl", work.candidate.id)
                )
                if files:
                    write_bundle(self._folder.path / "best", files)
                return [deployed]

    def _train(self, work: Train) -> Trained | WorkFailed:
        try:
            trial, weights = self._roles.training.train(work, lambda point: None)
        except Exception as error:
            return steps.failure("train", work.candidate.id, error)
        self._folder.write(weights_name(work.candidate.id), weights)
        return Trained(work.candidate.id, trial)


def run_inline(
    blueprint: Blueprint,
    limits: Limits,
    header: Header,
    folder: RunFolder,
    data: TrainingData,
    clock: Callable[[], float],
    say: Callable[[str], None],
) -> tuple[Mapping[int, Finished], Funnel, str | None]:
    """A whole run in this process: every candidate's end by id, the counts, why proposing ended early if it did."""
    evaluator = blueprint.make_evaluator(data)
    gate = blueprint.make_gate()
    roles = InlineRoles(
        blueprint.make_proposer(), gate, blueprint.make_training(data), evaluator, blueprint.make_deployment(data)
    )
    search = Search(limits, clock)
    journal = Journal(folder.path / "journal.jsonl", clock)
    journal(header)
    try:
        drive(search, InlineExecutor(roles, folder), (journal, Progress(search, clock, say)))
    finally:
        journal.close()
        evaluator.close()
        gate.close()
    return search.finished, search.funnel, search.trouble
