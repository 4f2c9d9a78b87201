"""Does a search's work with Ray actors; trainings are left in a queue from which Ray Tune takes them."""

import queue
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from automcu.actors.deployments import Deployments
from automcu.actors.pool import CheckPool, sentence
from automcu.actors.roles import EvaluationActor, PlanningActor, ProposalActor, TrainingActor
from automcu.actors.shared import shared_on_ray
from automcu.actors.trials import retrain
from automcu.deploy.bundle import write_bundle
from automcu.evaluation import Measured
from automcu.executors.blueprint import Blueprint
from automcu.journal import journal_extract
from automcu.run_folder import RunFolder, model_name, weights_name
from automcu.work import (
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

WAIT_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class _Flight:
    """Work that an actor is doing. `arrive` turns what it returned into outcomes."""

    work: Work
    arrive: Callable[[Any], Sequence[Outcome]]


class RayExecutor:
    """The executor of the supervisor actor. Not thread-safe, but for `next_training` and `deliver`."""

    def __init__(self, blueprint: Blueprint, data: ray.ObjectRef, folder: RunFolder, slots: int) -> None:
        self._blueprint = blueprint
        self._data = data
        self._folder = folder
        self._slots = slots
        shared = shared_on_ray(blueprint)
        make_supervisor, make_training_agent = blueprint.make_supervisor, blueprint.make_training_agent
        # A model that the run serves answers on this machine only.
        here = {
            "scheduling_strategy": NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        }
        self._planner = PlanningActor.options(**here).remote(make_supervisor, shared) if make_supervisor else None
        self._proposer = ProposalActor.options(**here).remote(blueprint.make_proposer, shared)
        self._recipes = (
            TrainingActor.options(**here).remote(make_training_agent, shared) if make_training_agent else None
        )
        self._checks = CheckPool(blueprint.make_gate, blueprint.checkers)
        self._evaluator = EvaluationActor.remote(blueprint.make_evaluation, data, shared)
        self._deployments = Deployments(blueprint.make_deployment, blueprint.board, data, shared)
        self._flights: dict[Any, _Flight] = {}
        self._to_train: deque[Train] = deque()
        self._training: set[int] = set()
        self._delivered: queue.SimpleQueue[tuple[Trained | WorkFailed, bytes]] = queue.SimpleQueue()

    def room(self) -> Mapping[Stage, int]:
        """Free places: one proposal round, evaluation, test and deployment; a bounded number of checks; a training
        per slot of the cluster."""
        flying = Counter(stage_of(flight.work) for flight in self._flights.values())
        return {
            "plan": 1 - flying["plan"],
            "propose": 1 - flying["propose"],
            "check": self._checks.room,
            "recipe": 1 - flying["recipe"],
            "train": self._slots - len(self._training),
            "evaluate": 1 - flying["evaluate"],
            "retrain": 1 - flying["retrain"],
            "test": 1 - flying["test"],
            "deploy": 1 - flying["deploy"],
        }

    def submit(self, work: Work) -> None:
        """Begin `work` on its actor; checks begin with the next `wait`, together."""
        match work:
            case Plan():
                assert self._planner is not None  # the search plans only where there is one
                self._flights[self._planner.plan.remote(work)] = _Flight(work, _as_it_is)
            case ChooseRecipe():
                assert self._recipes is not None
                self._flights[self._recipes.choose.remote(work)] = _Flight(work, _as_it_is)
            case Propose():
                stream = self._proposer.propose.options(num_returns="streaming").remote(work)
                self._flights[stream] = _Flight(work, lambda outcome: (outcome,))
            case Check():
                self._checks.submit(work)
            case Train():
                self._training.add(work.candidate.id)
                self._to_train.append(work)
            case Retrain():
                resources = {"num_cpus": self._blueprint.final_cpus, "num_gpus": self._blueprint.final_gpus}
                supervisor = ray.get_runtime_context().current_actor
                training = retrain.options(**resources).remote(work, supervisor, self._blueprint, self._data)
                self._flights[training] = _Flight(work, self._store_weights)
            case Evaluate(candidate, _, trial):
                weights = self._folder.read(weights_name(candidate.id, trial.final))
                self._flights[self._evaluator.evaluate.remote(work, weights)] = _Flight(
                    work, lambda result: self._store_model(candidate.id, trial.final, result)
                )
            case Test():
                weights = self._folder.read(weights_name(work.candidate.id, work.evaluated.trial.final))
                tflite = self._folder.read(model_name(work.candidate.id, work.evaluated.trial.final))
                self._flights[self._evaluator.test.remote(work, weights, tflite)] = _Flight(
                    work, lambda outcome: (outcome,)
                )
            case Deploy():
                tflite = self._folder.read(model_name(work.candidate.id, work.evaluated.trial.final))
                journal = journal_extract(self._folder.path / "journal.jsonl", work.candidate.id)
                self._flights[self._deployments.start(work, tflite, journal)] = _Flight(work, self._store_bundle)

    def wait(self) -> Sequence[Outcome]:
        """What has come in; returns after `WAIT_SECONDS` at the latest."""
        self._checks.start()
        pending, ready = [*self._flights, *self._checks.pending], dict[Any, None]()
        if pending:
            first, _ = ray.wait(pending, num_returns=1, timeout=WAIT_SECONDS)
            more, _ = ray.wait(pending, num_returns=len(pending), timeout=0)
            ready = dict.fromkeys([*first, *more])
        # What was delivered comes first: a training that hangs says so before its process ends.
        outcomes = self._take_delivered(0 if pending else WAIT_SECONDS)
        for handle in ready:
            if handle in self._checks.pending:
                outcomes += self._checks.land(handle)
            elif handle in self._flights:
                outcomes += self._land(handle)
        self._checks.start()  # so that an actor need not wait while outcomes are recorded
        return outcomes

    def _take_delivered(self, timeout: float) -> list[Outcome]:
        outcomes: list[Outcome] = []
        try:
            outcome, weights = self._delivered.get(timeout=timeout)
            while True:
                candidate_id = outcome.candidate_id
                assert candidate_id is not None
                hung = isinstance(outcome, WorkFailed) and outcome.stage == "retrain"
                if hung:
                    self._flights = {
                        handle: flight
                        for handle, flight in self._flights.items()
                        if not (isinstance(flight.work, Retrain) and flight.work.candidate.id == candidate_id)
                    }
                if weights:
                    self._folder.write(weights_name(candidate_id), weights)
                self._training.discard(candidate_id)
                outcomes.append(outcome)
                outcome, weights = self._delivered.get_nowait()
        except queue.Empty:
            return outcomes

    def next_training(self) -> Train | None:
        """The next training to start, if there is one. For Tune's thread."""
        return self._to_train.popleft() if self._to_train else None

    def deliver(self, outcome: Trained | WorkFailed, weights: bytes = b"") -> None:
        """Hand in the outcome of a training, and the weights if there are any. For Tune's thread."""
        self._delivered.put((outcome, weights))

    def _land(self, handle: Any) -> Sequence[Outcome]:
        flight = self._flights[handle]
        try:
            if isinstance(handle, ray.ObjectRefGenerator):
                result = ray.get(next(handle))
            else:
                del self._flights[handle]
                deploying = isinstance(flight.work, Deploy)
                result = self._deployments.land(handle) if deploying else ray.get(handle)
        except StopIteration:
            del self._flights[handle]
            return ()
        except RayError as error:
            self._flights.pop(handle, None)
            candidate_id = None if isinstance(flight.work, Plan | Propose) else flight.work.candidate.id
            return (WorkFailed(stage_of(flight.work), candidate_id, True, sentence(error)),)
        return flight.arrive(result)

    def _store_weights(self, result: tuple[Trained | WorkFailed, bytes]) -> Sequence[Outcome]:
        outcome, weights = result
        assert outcome.candidate_id is not None
        if weights:
            self._folder.write(weights_name(outcome.candidate_id, final=True), weights)
        return (outcome,)

    def _store_model(
        self, candidate_id: int, final: bool, result: tuple[Sequence[Outcome], Measured | None]
    ) -> Sequence[Outcome]:
        outcomes, measured = result
        if measured is not None:
            self._folder.write(weights_name(candidate_id, final), measured.weights)
            self._folder.write(model_name(candidate_id, final), measured.tflite)
        return outcomes

    def _store_bundle(self, result: tuple[Sequence[Outcome], Mapping[str, bytes]]) -> Sequence[Outcome]:
        outcomes, files = result
        if files:
            write_bundle(self._folder.path / "best", files)
        return outcomes


def _as_it_is(outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
    return outcomes
