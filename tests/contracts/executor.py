"""What every executor must do with a run: real search space, gate, journal and run folder; stages that are slow in
reality (training, conversion) are quick stand-ins that can be told to misbehave."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from automcu.board import Budget
from automcu.deploy.deployer import DeployedBundle
from automcu.deploy.evidence import Design
from automcu.errors import CandidateFailure, InfraFailure, LLMError
from automcu.executors.blueprint import Blueprint
from automcu.executors.steps import DeploymentRole, TrainingRole
from automcu.feasibility.gate import Gate
from automcu.feasibility.planner_tier import PlannerTier
from automcu.finished import Deployed, Evaluated, Failed, Finished, Rejected, Skipped, Stopped
from automcu.graph.network import Network
from automcu.journal import VERSION, Ended, Header, read_journal
from automcu.proposal import ProposalItem, Proposer
from automcu.proposers.random_search import RandomSearch
from automcu.results import Deployment, EpochPoint, Evaluation, TestResult
from automcu.search import Funnel, Limits, Search
from automcu.spaces import make_space
from automcu.training.data import TrainingData
from automcu.training.trainer import DummyTrainer, TrainedNetwork
from automcu.work import Evaluate, Test

SPACE = make_space("mcu_cnn", (8, 8, 1), 10)
BUDGET = Budget(ram_bytes=8_000, flash_bytes=30_000, macs=None)
LIMITS = Limits(120, max_proposals=60, max_trained=4, batch=6, lookahead=3, finish_share=0.2, attempts=2)
Run = tuple[Mapping[int, Finished], Funnel, str | None]


def data() -> TrainingData:
    images, labels = np.zeros((20, 8, 8, 1), np.uint8), np.arange(20) % 10
    return TrainingData(images, labels, images, labels, tuple("0123456789"))


@dataclass(frozen=True)
class Misbehaving:
    """Trains like `DummyTrainer`, but does something else at the first training (`marker` remembers it)."""

    act: Callable[[], None]
    marker: Path

    def train(
        self, network: Network, data: TrainingData, *, seed: int, seconds: float,
        on_epoch: Callable[[EpochPoint], None],
    ) -> TrainedNetwork:  # fmt: skip
        if not self.marker.exists():
            self.marker.touch()
            self.act()
        return DummyTrainer().train(network, data, seed=seed, seconds=seconds, on_epoch=on_epoch)


def diverge() -> None:
    raise CandidateFailure("the loss is NaN; try a lower learning rate")


def run_out_of_memory() -> None:
    raise InfraFailure("out of memory; close other programs")


def die() -> None:
    os._exit(9)


class QuickEvaluator:
    """Measures by hashing: no conversion."""

    def evaluate(self, work: Evaluate, weights: bytes) -> tuple[Evaluation, bytes]:
        assert weights
        accuracy = work.trial.validation_accuracy
        digest = hashlib.sha256(weights).hexdigest()
        return Evaluation(accuracy, accuracy, 20, 0.0, len(weights), digest, work.report, None, 0.0), weights[:100]

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

    def deploy(self, design: Design, tflite: bytes, images: np.ndarray, labels: np.ndarray, budget: Budget,
               provenance: object, journal: bytes) -> DeployedBundle:  # fmt: skip
        assert len(images) == len(labels) and design.candidate.id >= 0
        kinds = [json.loads(line)["kind"] for line in journal.splitlines()]
        assert kinds[:4] == ["Checked", "Trained", "EvaluationDone", "TestDone"] and {*kinds[4:]} <= {"WorkFailed"}
        deployment = Deployment("nucleo_f446re", "best", len(images), None, self.unverified, "0" * 64, 0.0)
        return DeployedBundle(deployment, {"model_int8.tflite": tflite, "journal.jsonl": journal})


class SilentLLM:
    """A proposer whose language model is down."""

    name = "silent"

    def propose(self, count: int) -> Iterator[ProposalItem]:
        raise LLMError("no language model answers; start one or use proposer=evolution")
        yield

    def observe(self, finished: Sequence[Finished]) -> None:
        pass


def _random_search() -> Proposer:
    return RandomSearch(SPACE, 0)


def _gate() -> Gate:
    return Gate(SPACE, BUDGET, [PlannerTier()])


def _training(trainer: object, data: TrainingData) -> TrainingRole:
    return TrainingRole(SPACE, trainer, data, 7)  # type: ignore[arg-type]


def _evaluator(data: TrainingData) -> QuickEvaluator:
    return QuickEvaluator()


def _deployment(data: TrainingData) -> DeploymentRole:
    return DeploymentRole(QuickDeployer(), data, None, BUDGET, {}, 2)  # type: ignore[arg-type]


def blueprint(trainer: object | None = None) -> Blueprint:
    return Blueprint(
        make_proposer=_random_search,
        make_gate=_gate,
        make_training=partial(_training, trainer or DummyTrainer()),
        make_evaluator=_evaluator,  # type: ignore[arg-type]
        make_deployment=_deployment,
        board="nucleo_f446re",
        epochs=3,
        grace_epochs=1,
        reduction_factor=3,
        trial_cpus=1,
        trial_gpus=0.0,
        checkers=1,
    )


HEADER = Header(VERSION, {}, 7, None, {})


class ExecutorContract:
    """Inherit, and run a blueprint to its end in `run`."""

    def run(self, blueprint: Blueprint, limits: Limits, folder: Path) -> Run:
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def _prepared(self) -> None:
        """For what an executor needs to be there."""

    def test_a_run_ends_with_a_bundle_and_its_whole_story(self, tmp_path: Path) -> None:
        finished, funnel, trouble = self.run(blueprint(), LIMITS, tmp_path)
        assert trouble is None
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


class FailureContract(ExecutorContract):
    """The same when stages misbehave."""

    def test_a_candidate_that_fails_does_not_touch_the_others(self, tmp_path: Path) -> None:
        trainer = Misbehaving(diverge, tmp_path / "marker")
        finished, funnel, _ = self.run(blueprint(trainer), LIMITS, tmp_path)
        (failed,) = [end for end in finished.values() if isinstance(end, Failed)]
        assert (failed.stage, failed.cause) == ("train", "candidate") and "NaN" in failed.message
        assert funnel.deployed == 1

    def test_an_infrastructure_failure_is_tried_again(self, tmp_path: Path) -> None:
        trainer = Misbehaving(run_out_of_memory, tmp_path / "marker")
        finished, funnel, _ = self.run(blueprint(trainer), LIMITS, tmp_path)
        assert funnel.failed == 0 and funnel.trained == LIMITS.max_trained and funnel.deployed == 1
        assert not any(isinstance(end, Failed) for end in finished.values())

    def test_a_proposer_that_gives_up_ends_the_run_with_its_sentence(self, tmp_path: Path) -> None:
        silent = replace(blueprint(), make_proposer=SilentLLM)
        finished, funnel, trouble = self.run(silent, LIMITS, tmp_path)
        assert trouble is not None and "no language model answers" in trouble
        assert not finished and funnel.proposed == 0

    def test_a_budget_that_nothing_fits_ends_without_training(self, tmp_path: Path) -> None:
        tight = replace(blueprint(), make_gate=_hopeless_gate)
        finished, funnel, _ = self.run(tight, replace(LIMITS, max_proposals=20), tmp_path)
        assert funnel.trained == 0 and len(finished) == 20
        assert all(isinstance(end, Rejected) for end in finished.values())


def _hopeless_gate() -> Gate:
    return Gate(SPACE, Budget(1, 1, None), [PlannerTier()])
