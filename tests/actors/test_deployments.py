"""Deployments on Ray: a board is never shared, and one that was lost takes nothing else with it."""

import os
import shlex
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from automcu.agents.deploy import DeployAgent
from automcu.board_table import load_board
from automcu.deploy.boards.virtual import VirtualBoard
from automcu.deploy.deployer import Deployer
from automcu.deploy.images import FirmwareOptions
from automcu.deploy.prover import Prover
from automcu.deploy.toolchain.objects import ObjectCache
from automcu.deploy.toolchain.zig import ZigToolchain
from automcu.executors.blueprint import Shared
from automcu.executors.steps import DeploymentRole
from automcu.finished import Evaluated
from automcu.training.data import TrainingData
from automcu.work import Deploy, DeployDone, Outcome, WorkFailed
from tests import builders
from tests.deploy.test_deployer import BUDGET, TASK, design
from tests.export.small import SMALL, SMALL_TFLITE, random_images
from tests.feasibility.test_program import alive

if TYPE_CHECKING:
    from automcu.actors.deployments import Deployments

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]
BOARD = load_board("nucleo_f446re")  # of which the session's cluster has one


def deployments(make: Any, data: TrainingData | None = None) -> "Deployments":
    import ray

    from automcu.actors.deployments import Deployments

    return Deployments(make, BOARD.name, ray.put(data), Shared(None, None))


def work() -> Deploy:
    made = design()
    return Deploy(Evaluated(made.candidate, builders.report(), made.trial, made.evaluation), made.test)


def landed(deployments: "Deployments", reference: Any) -> tuple[Outcome, Mapping[str, bytes]]:
    import ray

    ready, _ = ray.wait([reference], timeout=60)
    assert ready, "the deployment does not end"
    (outcome,), files = deployments.land(reference)
    return outcome, files


@dataclass(frozen=True)
class Timed:
    """Holds the board for a while; tells in its bundle when that was, by the clock of all processes of this machine."""

    seconds: float

    def deploy(self, work: Deploy, tflite: bytes, journal: bytes) -> tuple[list[Outcome], Mapping[str, bytes]]:
        began = time.monotonic()
        time.sleep(self.seconds)
        when = f"{began} {time.monotonic()}".encode()
        return [DeployDone(work.candidate.id, builders.deployment())], {"when": when}


def timed(seconds: float, data: object, shared: Shared) -> Timed:
    return Timed(seconds)


def test_two_runs_that_want_one_board_have_it_one_after_the_other() -> None:
    runs = [deployments(partial(timed, 0.4)) for _ in range(2)]
    begun = [(run, run.start(work(), b"", b"")) for run in runs]
    asked = time.monotonic()
    times = [tuple(map(float, landed(run, reference)[1]["when"].split())) for run, reference in begun]
    (_, first_end), (second_begin, _) = sorted(times)
    assert asked < first_end <= second_begin  # both were under way, and never both on the board


def stuck_in_its_compiler(folder: Path, data: TrainingData, shared: Shared) -> DeploymentRole:
    zig = ZigToolchain(program=(str(folder / "zig"),), objects=ObjectCache(folder / "objects"))
    prover = Prover(BOARD, zig, VirtualBoard(BOARD), FirmwareOptions())
    return DeploymentRole(Deployer(BOARD, prover), DeployAgent(None), data, TASK, BUDGET, {}, 2)


def test_a_killed_deployment_is_not_repeated_and_leaves_neither_board_nor_process_behind(tmp_path: Path) -> None:
    import ray

    pids = tmp_path / "pids"
    (tmp_path / "zig").write_text(
        '#!/bin/sh\nif [ "$1" = version ]; then echo 0.0.0; exit; fi\n'
        f"sleep 300 & echo $$ $! $PPID >> {shlex.quote(str(pids))}; wait\n"
    )
    (tmp_path / "zig").chmod(0o755)
    images, labels = random_images(SMALL, 3, 4), np.arange(4)
    data = TrainingData(images, labels, images, labels, tuple("01234"))
    run = deployments(partial(stuck_in_its_compiler, tmp_path), data)
    reference = run.start(work(), SMALL_TFLITE, b"")
    while not pids.exists() or not pids.read_text().endswith("\n"):
        assert not ray.wait([reference], timeout=0.02)[0]
    assert ray.available_resources().get("board:nucleo_f446re", 0) == 0
    os.kill(int(pids.read_text().split()[2]), signal.SIGKILL)  # the actor
    lost, files = landed(run, reference)
    assert isinstance(lost, WorkFailed) and lost.retryable and "process died" in lost.message and not files
    left = [int(pid) for line in pids.read_text().splitlines() for pid in line.split()]
    deadline = time.monotonic() + 20
    while any(map(alive, left)) or ray.available_resources().get("board:nucleo_f446re", 0) != 1:
        assert time.monotonic() < deadline, "a process or the board is left behind"
        time.sleep(0.02)

    compiled = pids.read_text()
    done, files = landed(run, run.start(work(), SMALL_TFLITE, b""))  # as the search asks again
    assert isinstance(done, DeployDone) and files["model_int8.tflite"] == SMALL_TFLITE
    assert done.deployment.measurement is None and "may have left anything on it" in done.deployment.unverified
    assert pids.read_text() == compiled and not any(name.startswith("firmware/") for name in files)


@dataclass(frozen=True)
class Told:
    """Asks no board, and repeats why."""

    unverified: str = ""

    def without_board(self, unverified: str) -> "Told":
        return Told(unverified)

    def deploy(self, work: Deploy, tflite: bytes, journal: bytes) -> tuple[list[Outcome], Mapping[str, bytes]]:
        return [DeployDone(work.candidate.id, builders.deployment())], {"why": self.unverified.encode()}


def told(data: object, shared: Shared) -> Told:
    return Told()


@pytest.mark.slow
def test_a_board_whose_host_has_left_the_cluster_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("automcu.actors.cluster.ray.nodes", lambda: [])
    run = deployments(told)
    _, files = landed(run, run.start(work(), b"", b""))
    assert b"no node of the Ray cluster has what deploying to nucleo_f446re needs" in files["why"]
