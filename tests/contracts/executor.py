"""What every executor must do with a run: real search space, gate, journal and run folder; stages that are slow in
reality (training, conversion) are quick stand-ins that can be told to misbehave."""

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest

from automcu.agents.deploy import DeployAgent
from automcu.agents.evaluation import EvaluationAgent
from automcu.agents.supervisor import SupervisorAgent
from automcu.agents.training import TrainingAgent
from automcu.architecture import Task
from automcu.board import Budget
from automcu.deploy.deployer import DeployedBundle
from automcu.deploy.evidence import Design
from automcu.errors import CandidateFailure, InfraFailure, LLMError
from automcu.evaluation import Measured
from automcu.exchange import Role
from automcu.executors.blueprint import Blueprint, RunEnd, Shared
from automcu.executors.steps import DeploymentRole, EvaluationRole, TrainingRole
from automcu.feasibility.gate import Gate
from automcu.feasibility.planner_tier import PlannerTier
from automcu.finished import Deployed, Evaluated, Failed, Finished, Rejected, Skipped, Stopped
from automcu.graph.network import Network
from automcu.journal import VERSION, Ended, Header, read_journal
from automcu.llm.client import Message
from automcu.llm.conversation import Conversation, Transcript
from automcu.llm.meter import Meter, Metered
from automcu.llm.scripted import ScriptedLLM
from automcu.messages import CardFacts, CardProse, RecipeChoice, RoundPlan
from automcu.proposal import ProposalItem, Proposer
from automcu.proposers.random_search import RandomSearch
from automcu.results import Deployment, EpochPoint, Evaluation, TestResult
from automcu.search import Limits, Search
from automcu.spaces import make_space
from automcu.training.data import TrainingData
from automcu.training.trainer import DummyTrainer, TrainedNetwork
from automcu.work import Evaluate, Exchanged, Planned, RecipeChosen, Test

SPACE = make_space("mcu_cnn", (8, 8, 1), 10)
TASK = Task("digits", "digits", (8, 8, 1), 10, "Tell digits apart.")
BUDGET = Budget(ram_bytes=8_000, flash_bytes=30_000, macs=None)
LIMITS = Limits(120, max_proposals=60, max_trained=4, batch=6, lookahead=3, finish_share=0.2, attempts=2)


def data() -> TrainingData:
    images, labels = np.zeros((20, 8, 8, 1), np.uint8), np.arange(20) % 10
    return TrainingData(images, labels, images, labels, tuple("0123456789"))


@dataclass(frozen=True)
class Misbehaving:
    """Trains like `DummyTrainer`, but does something else at the first training (`marker` remembers it)."""

    act: Callable[[], None]
    marker: Path

    def with_recipe(self, choice: RecipeChoice) -> "Misbehaving":
        return self

    def train(
        self, network: Network, data: TrainingData, *, seed: int, seconds: float,
        on_epoch: Callable[[EpochPoint], None], checkpoint: Path | None = None, epochs: int | None = None,
    ) -> TrainedNetwork:  # fmt: skip
        if not self.marker.exists():
            self.marker.touch()
            self.act()
        return DummyTrainer().train(network, data, seed=seed, seconds=seconds, on_epoch=on_epoch)


@dataclass(frozen=True)
class Saving:
    """Leaves a checkpoint and fails at the first try of every training; the second needs the checkpoint."""

    def with_recipe(self, choice: RecipeChoice) -> "Saving":
        return self

    def train(
        self, network: Network, data: TrainingData, *, seed: int, seconds: float,
        on_epoch: Callable[[EpochPoint], None], checkpoint: Path | None = None, epochs: int | None = None,
    ) -> TrainedNetwork:  # fmt: skip
        assert checkpoint is not None
        if not checkpoint.exists():
            checkpoint.parent.mkdir(exist_ok=True)
            checkpoint.touch()
            raise InfraFailure("out of memory; close other programs")
        return DummyTrainer().train(network, data, seed=seed, seconds=seconds, on_epoch=on_epoch)


def diverge() -> None:
    raise CandidateFailure("the loss is NaN; try a lower learning rate")


def run_out_of_memory() -> None:
    raise InfraFailure("out of memory; close other programs")


def die() -> None:
    os._exit(9)


def hang() -> None:
    threading.Event().wait()


class QuickEvaluator:
    """Measures by hashing: no conversion."""

    def evaluate(self, work: Evaluate, weights: bytes) -> Measured:
        assert weights
        accuracy = work.trial.validation_accuracy
        digest = hashlib.sha256(weights).hexdigest()
        evaluation = Evaluation(accuracy, accuracy, 20, 0.0, len(weights), digest, work.report, None, 0.0)
        return Measured(evaluation, weights[:100], weights)

    def test(self, work: Test, weights: bytes, tflite: bytes) -> TestResult:
        assert weights[:100] == tflite
        return TestResult(0.5, 0.5, 20, "none", 0.0)

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class QuickDeployer:
    """Bundles the model alone."""

    unverified: str = "not asked"

    def without_board(self, unverified: str) -> "QuickDeployer":
        return QuickDeployer(unverified)

    def deploy(
        self,
        design: Design,
        tflite: bytes,
        images: np.ndarray,
        labels: np.ndarray,
        budget: Budget,
        provenance: object,
        journal: bytes,
        describe: Callable[[CardFacts], CardProse],
    ) -> DeployedBundle:
        assert len(images) == len(labels) and design.candidate.id >= 0
        lines = [json.loads(line)["kind"] for line in journal.splitlines()]
        kinds = [kind for kind in lines if kind not in ("RecipeChosen", "WorkFailed")]
        stages = ["Checked", *["Trained", "EvaluationDone"] * (1 + design.trial.final), "TestDone"]
        assert kinds == stages
        deployment = Deployment("nucleo_f446re", "best", len(images), None, self.unverified, "0" * 64, 0.0)
        return DeployedBundle(deployment, {"model_int8.tflite": tflite, "journal.jsonl": journal})


class SilentLLM:
    """A proposer whose language model is down."""

    name = "silent"

    def propose(self, count: int, plan: RoundPlan | None = None) -> Iterator[ProposalItem]:
        raise LLMError("no language model answers; start one or use proposer=evolution")
        yield

    def observe(self, finished: Sequence[Finished]) -> None:
        pass


class Ask(Protocol):
    """Makes a role's conversation."""

    def __call__(self, role: Role, shared: Shared) -> Conversation: ...


def _random_search(shared: Shared) -> Proposer:
    return RandomSearch(SPACE, 0)


def _silent(shared: Shared) -> Proposer:
    return SilentLLM()


def _gate() -> Gate:
    return Gate(SPACE, BUDGET, [PlannerTier()])


def _training(trainer: object, folder: Path, data: TrainingData) -> TrainingRole:
    return TrainingRole(SPACE, trainer, data, 7, folder, DummyTrainer(epochs=9), True)  # type: ignore[arg-type]


def _evaluation(conversation: Ask | None, data: TrainingData, shared: Shared) -> EvaluationRole:
    agent = EvaluationAgent(conversation and conversation("evaluation", shared))
    return EvaluationRole(QuickEvaluator(), agent, BUDGET)  # type: ignore[arg-type]


def _deployment(conversation: Ask | None, data: TrainingData, shared: Shared) -> DeploymentRole:
    agent = DeployAgent(conversation and conversation("deploy", shared))
    return DeploymentRole(QuickDeployer(), agent, data, TASK, BUDGET, {}, 2)  # type: ignore[arg-type]


def blueprint(trainer: object | None = None, folder: Path = Path("nowhere")) -> Blueprint:
    return Blueprint(
        make_meter=None,
        make_context=None,
        make_supervisor=None,
        make_proposer=_random_search,
        make_gate=_gate,
        make_training_agent=None,
        make_training=partial(_training, trainer or DummyTrainer(), folder),
        make_evaluation=partial(_evaluation, None),
        make_deployment=partial(_deployment, None),
        board="nucleo_f446re",
        epochs=3,
        grace_epochs=1,
        reduction_factor=3,
        trial_cpus=1,
        trial_gpus=0.0,
        final_cpus=1,
        final_gpus=0.0,
        checkers=1,
    )


ANSWERS = {
    "supervisor": {"count": 3, "focus": "explore", "stop": False, "reason": "looking around"},
    "training": {"learning_rate_percent": 50, "weight_decay_percent": 100, "label_smoothing_percent": 100},
    "evaluation": {"limited_by": "capacity", "advice": "larger", "note": "room is left"},
}


def _ask(role: Role, shared: Shared) -> Conversation:
    """Answers as the role should; the first word of every question is told back in the journal."""

    def reply(messages: Sequence[Message]) -> str:
        return json.dumps(ANSWERS[role])

    assert shared.meter is not None
    llm = Metered(ScriptedLLM(reply, f"model of {role}"), shared.meter)
    return Conversation(role, llm, shared.context or Transcript(10_000), max_tokens=100)


def _supervisor(shared: Shared) -> SupervisorAgent:
    return SupervisorAgent(_ask("supervisor", shared))


def _training_agent(shared: Shared) -> TrainingAgent:
    return TrainingAgent(_ask("training", shared))


def team(tokens: int | None = None) -> Blueprint:
    """A model in every role that decides something."""
    return replace(
        blueprint(),
        make_meter=partial(Meter, tokens=tokens),
        make_context=partial(Transcript, 10_000),
        make_supervisor=_supervisor,
        make_training_agent=_training_agent,
        make_evaluation=partial(_evaluation, _ask),
    )


HEADER = Header(VERSION, {}, 7, None, {})


class ExecutorContract:
    """Inherit, and run a blueprint to its end in `run`."""

    def run(self, blueprint: Blueprint, limits: Limits, folder: Path) -> RunEnd:
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def _prepared(self) -> None:
        """For what an executor needs to be there."""

    def test_a_run_ends_with_a_bundle_and_its_whole_story(self, tmp_path: Path) -> None:
        end = self.run(blueprint(), LIMITS, tmp_path)
        finished, funnel = end.finished, end.funnel
        assert end.trouble is None and end.stopped_by is None and not end.costs.roles
        assert sorted(finished) == list(range(1, funnel.proposed + 1))
        assert funnel.rejected > 0 and 0 < funnel.trained <= LIMITS.max_trained
        assert (tmp_path / "best" / "model_int8.tflite").read_bytes()
        for end in finished.values():
            trained = isinstance(end, Stopped | Evaluated | Deployed)
            assert not trained or not BUDGET.violations(end.report)  # type: ignore[union-attr]
            weights = tmp_path / f"candidates/{end.candidate.id:05d}/weights.safetensors"
            assert weights.exists() == isinstance(end, Evaluated | Deployed)
        assert sum(isinstance(end, Deployed) for end in finished.values()) == 1
        replayed = Search(LIMITS, lambda: 0.0)
        events = [entry.event for entry in read_journal(tmp_path / "journal.jsonl")]
        replayed.replay(event for event in events if not isinstance(event, Header | Ended))
        told = {number: end for number, end in finished.items() if not isinstance(end, Skipped)}
        assert replayed.finished == told

    def test_every_role_is_asked_and_its_exchanges_are_in_the_journal(self, tmp_path: Path) -> None:
        end = self.run(team(), LIMITS, tmp_path)
        assert end.trouble is None and end.funnel.deployed == 1
        events = [entry.event for entry in read_journal(tmp_path / "journal.jsonl")]
        asked = {event.exchange.role for event in events if isinstance(event, Exchanged)}
        assert asked == {role.role for role in end.costs.roles} == set(ANSWERS)
        plans = [event.plan for event in events if isinstance(event, Planned)]
        assert plans and all((plan.count, plan.reason) == (3, "looking around") for plan in plans)
        recipes = [event for event in events if isinstance(event, RecipeChosen)]
        assert len(recipes) >= LIMITS.max_trained and {r.recipe.learning_rate_percent for r in recipes} == {50}
        notes = [end.note for end in end.finished.values() if isinstance(end, Evaluated)]
        assert all(note is not None and note.note == "room is left" for note in notes)

    def test_the_best_are_trained_again_and_what_ships_is_of_the_final_phase(self, tmp_path: Path) -> None:
        end = self.run(blueprint(), replace(LIMITS, final_candidates=2, final_seconds=60.0), tmp_path)
        final = [one for one in end.finished.values() if isinstance(one, Evaluated | Deployed) and one.trial.final]
        assert len(final) == 2 and end.funnel.trained <= LIMITS.max_trained
        (deployed,) = [one for one in final if isinstance(one, Deployed)]
        for one in final:
            assert len(one.trial.curve) == 9 and one.trial.saw_validation
            files = tmp_path / f"candidates/{one.candidate.id:05d}"
            assert (files / "final/weights.safetensors").read_bytes()
            assert (files / "weights.safetensors").read_bytes()
        shipped = tmp_path / f"candidates/{deployed.candidate.id:05d}/final/model_int8.tflite"
        assert (tmp_path / "best" / "model_int8.tflite").read_bytes() == shipped.read_bytes()


class FailureContract(ExecutorContract):
    """The same when stages misbehave."""

    def test_a_spent_budget_of_tokens_ends_the_run_in_good_order(self, tmp_path: Path) -> None:
        end = self.run(team(tokens=4_000), LIMITS, tmp_path)
        assert end.trouble is None and end.stopped_by is not None and "budget.tokens of 4,000" in end.stopped_by

    def test_a_candidate_that_fails_does_not_touch_the_others(self, tmp_path: Path) -> None:
        trainer = Misbehaving(diverge, tmp_path / "marker")
        end = self.run(blueprint(trainer), LIMITS, tmp_path)
        finished, funnel = end.finished, end.funnel
        (failed,) = [end for end in finished.values() if isinstance(end, Failed)]
        assert (failed.stage, failed.cause) == ("train", "candidate") and "NaN" in failed.message
        assert funnel.deployed == 1

    def test_an_infrastructure_failure_is_tried_again(self, tmp_path: Path) -> None:
        trainer = Misbehaving(run_out_of_memory, tmp_path / "marker")
        end = self.run(blueprint(trainer), LIMITS, tmp_path)
        finished, funnel = end.finished, end.funnel
        assert funnel.failed == 0 and funnel.trained == LIMITS.max_trained and funnel.deployed == 1
        assert not any(isinstance(end, Failed) for end in finished.values())

    def test_a_checkpoint_is_there_until_its_training_has_ended(self, tmp_path: Path) -> None:
        end = self.run(blueprint(Saving(), tmp_path), LIMITS, tmp_path)
        assert end.funnel.trained == LIMITS.max_trained and end.funnel.deployed == 1
        left = {int(path.stem) for path in (tmp_path / "checkpoints").iterdir()}
        assert all(isinstance(end.finished[candidate_id], Skipped) for candidate_id in left)

    def test_a_proposer_that_gives_up_ends_the_run_with_its_sentence(self, tmp_path: Path) -> None:
        end = self.run(replace(blueprint(), make_proposer=_silent), LIMITS, tmp_path)
        assert end.trouble is not None and "no language model answers" in end.trouble
        assert not end.finished and end.funnel.proposed == 0

    def test_a_budget_that_nothing_fits_ends_without_training(self, tmp_path: Path) -> None:
        tight = replace(blueprint(), make_gate=_hopeless_gate)
        end = self.run(tight, replace(LIMITS, max_proposals=20), tmp_path)
        finished, funnel = end.finished, end.funnel
        assert funnel.trained == 0 and len(finished) == 20
        assert all(isinstance(end, Rejected) for end in finished.values())


def _hopeless_gate() -> Gate:
    return Gate(SPACE, Budget(1, 1, None), [PlannerTier()])
