"""The same contract on Ray, and what only Ray can do: lose processes."""

import time
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from automcu.agents.deploy import DeployAgent
from automcu.architecture import Architecture
from automcu.deploy.deployer import DeployedBundle
from automcu.deploy.evidence import Design
from automcu.errors import ConfigError
from automcu.executors.blueprint import Blueprint, RunEnd, Shared
from automcu.executors.steps import DeploymentRole, TrainingRole
from automcu.feasibility.gate import Gate, Verdict
from automcu.feasibility.planner_tier import PlannerTier
from automcu.finished import Deployed, Failed
from automcu.journal import read_journal
from automcu.search import Limits
from automcu.training.data import TrainingData
from automcu.training.trainer import Trainer
from automcu.work import DeployDone, WorkFailed
from tests.contracts.executor import (
    BUDGET,
    HEADER,
    LIMITS,
    SPACE,
    TASK,
    ExecutorContract,
    FailureContract,
    Misbehaving,
    QuickDeployer,
    blueprint,
    data,
    die,
    hang,
)

pytestmark = pytest.mark.ray


class RayRuns:
    """Runs blueprints on the session's cluster."""

    @pytest.fixture(autouse=True)
    def _prepared(self, ray_cluster: None) -> None:
        pass

    def run(self, blueprint: Blueprint, limits: Limits, folder: Path) -> RunEnd:
        from automcu.actors.run import run_on_ray

        lines: list[str] = []
        return run_on_ray(blueprint, limits, HEADER, folder, data(), began=time.monotonic(), say=lines.append)


class TestRay(RayRuns, ExecutorContract):
    def test_what_the_cluster_lacks_is_named_at_once(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="board:unheard_of"):
            self.run(replace(blueprint(), board="unheard_of"), LIMITS, tmp_path)
        with pytest.raises(ConfigError, match="GPU"):
            self.run(replace(blueprint(), trial_gpus=1.0), LIMITS, tmp_path)

    @pytest.mark.parametrize(("share", "trials"), [(1.0, 2), (0.5, 4), (0.3, 6), (0.2, 10), (0.1, 20), (0.01, 64)])
    def test_as_many_trials_as_share_a_gpu_fit(self, share: float, trials: int) -> None:
        from automcu.actors.run import slots_of

        assert slots_of({"CPU": 64.0, "GPU": 2.0, "memory": 1e9}, {"CPU": 1.0, "GPU": share}) == trials
        assert slots_of({"CPU": 64.0}, {"CPU": 1.0, "GPU": share}) == 0
        assert slots_of({"CPU": 3.0}, {"CPU": 1.0, "GPU": 0.0}) == 3


@pytest.mark.slow
class TestRayFailures(RayRuns, FailureContract):
    def test_a_trial_whose_process_dies_is_run_again(self, tmp_path: Path) -> None:
        trainer = Misbehaving(die, tmp_path / "marker")
        ended = self.run(blueprint(trainer), LIMITS, tmp_path)
        finished, funnel = ended.finished, ended.funnel
        assert funnel.deployed == 1 and funnel.trained == LIMITS.max_trained
        assert not any(isinstance(end, Failed) for end in finished.values())

    def test_a_training_that_hangs_is_ended_and_costs_no_other(self, tmp_path: Path) -> None:
        trainer = Misbehaving(hang, tmp_path / "marker")
        ended = self.run(blueprint(trainer), replace(LIMITS, seconds=20.0), tmp_path)
        (failed,) = [end for end in ended.finished.values() if isinstance(end, Failed)]
        assert failed.stage == "train" and "did not end" in failed.message
        assert ended.funnel.deployed == 1 and ended.trouble is None

    def test_a_final_training_that_hangs_leaves_what_the_search_found(self, tmp_path: Path) -> None:
        trainer = Misbehaving(hang, tmp_path / "marker")
        plain = blueprint()
        role = plain.make_training(data())
        finals = replace(plain, make_training=partial(_finally, role, trainer))
        ended = self.run(finals, replace(LIMITS, final_candidates=1, final_seconds=1.0), tmp_path / "run")
        assert ended.funnel.deployed == 1 and ended.trouble is None and not ended.funnel.failed
        told = [entry.event for entry in read_journal(tmp_path / "run" / "journal.jsonl")]
        (failed,) = [event for event in told if isinstance(event, WorkFailed)]
        assert failed.stage == "retrain" and not failed.retryable and "did not end" in failed.message

    def test_checkers_whose_processes_die_are_replaced_and_all_candidates_end(self, tmp_path: Path) -> None:
        deadly = replace(blueprint(), make_gate=partial(deadly_gate, tmp_path), checkers=2)
        ended = self.run(deadly, LIMITS, tmp_path / "run")
        finished, funnel = ended.finished, ended.funnel
        assert len(list(tmp_path.glob("death*"))) == DEATHS
        assert funnel.deployed == 1 and sorted(finished) == list(range(1, funnel.proposed + 1))
        assert not any(isinstance(end, Failed) for end in finished.values())

    def test_a_deployment_whose_process_dies_ends_as_a_bundle_without_a_board(self, tmp_path: Path) -> None:
        deadly = replace(blueprint(), make_deployment=partial(deadly_deployment, tmp_path / "asked"))
        ended = self.run(deadly, LIMITS, tmp_path / "run")
        finished, funnel = ended.finished, ended.funnel
        assert ended.trouble is None and funnel.deployed == 1 and funnel.failed == 0
        (deployed,) = [end for end in finished.values() if isinstance(end, Deployed)]
        assert deployed.deployment.measurement is None and "process died" in deployed.deployment.unverified
        assert (tmp_path / "asked").read_text() == f"{deployed.candidate.id}\n"
        told = [entry.event for entry in read_journal(tmp_path / "run" / "journal.jsonl")][-2:]
        assert isinstance(told[0], WorkFailed) and isinstance(told[1], DeployDone)
        assert (tmp_path / "run" / "best" / "model_int8.tflite").exists()


def _finally(role: TrainingRole, trainer: Trainer, data: TrainingData) -> TrainingRole:
    return replace(role, final_trainer=trainer)


@dataclass(frozen=True)
class DeadlyDeployer(QuickDeployer):
    """Notes the candidate in `asked` and ends its process, where it may ask a board."""

    asked: Path = Path()

    def deploy(self, design: Design, *settings: Any) -> DeployedBundle:
        with self.asked.open("a") as asked:
            asked.write(f"{design.candidate.id}\n")
        die()
        raise AssertionError


def deadly_deployment(asked: Path, data: TrainingData, shared: Shared) -> DeploymentRole:
    return DeploymentRole(DeadlyDeployer(asked=asked), DeployAgent(None), data, TASK, BUDGET, {}, 2)  # type: ignore[arg-type]


DEATHS = 3
"""One more than Ray's own retry hides."""


def deadly_gate(folder: Path) -> Gate:
    return DeadlyGate(SPACE, BUDGET, [PlannerTier()], folder=folder)


class DeadlyGate(Gate):
    """Ends its process in mid-batch, until that has happened `DEATHS` times."""

    def __init__(self, *settings: Any, folder: Path) -> None:
        super().__init__(*settings)
        self._folder = folder

    def screen(self, architecture: Architecture) -> Verdict | None:
        verdict = super().screen(architecture)
        for number in range(DEATHS):
            with suppress(FileExistsError):
                (self._folder / f"death{number}").touch(exist_ok=False)
                die()
        return verdict
