"""The same contract on Ray, and what only Ray can do: lose processes."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from automcu.errors import ConfigError
from automcu.executors.blueprint import Blueprint
from automcu.finished import Failed
from automcu.search import Limits
from tests.contracts.executor import (
    HEADER,
    LIMITS,
    ExecutorContract,
    FailureContract,
    Misbehaving,
    Run,
    blueprint,
    data,
    die,
)

pytestmark = pytest.mark.ray


class RayRuns:
    """Runs blueprints on the session's cluster."""

    @pytest.fixture(autouse=True)
    def _prepared(self, ray_cluster: None) -> None:
        pass

    def run(self, blueprint: Blueprint, limits: Limits, folder: Path) -> Run:
        from automcu.actors.run import run_on_ray

        lines: list[str] = []
        return run_on_ray(blueprint, limits, HEADER, folder, data(), began=time.monotonic(), say=lines.append)


class TestRay(RayRuns, ExecutorContract):
    def test_what_the_cluster_lacks_is_named_at_once(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="board:unheard_of"):
            self.run(replace(blueprint(), board="unheard_of"), LIMITS, tmp_path)
        with pytest.raises(ConfigError, match="GPU"):
            self.run(replace(blueprint(), trial_gpus=1.0), LIMITS, tmp_path)


@pytest.mark.slow
class TestRayFailures(RayRuns, FailureContract):
    def test_a_trial_whose_process_dies_is_run_again(self, tmp_path: Path) -> None:
        trainer = Misbehaving(die, tmp_path / "marker")
        finished, funnel, _ = self.run(blueprint(trainer), LIMITS, tmp_path)
        assert funnel.deployed == 1 and funnel.trained == LIMITS.max_trained
        assert not any(isinstance(end, Failed) for end in finished.values())
