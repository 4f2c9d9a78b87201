"""Deployments to one board, each by an actor of its own, which lives no longer and holds the board's custom resource.

A deployment whose actor died may have left anything on the board. So the board is not touched again in that run: what
is deployed after that is bundled without a board, and the bundle says why.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError

from automcu.actors.cluster import BOARD_RESOURCE, require_resources
from automcu.actors.pool import sentence
from automcu.actors.roles import DeploymentActor
from automcu.errors import ConfigError
from automcu.executors.blueprint import Shared
from automcu.executors.steps import DeploymentRole
from automcu.training.data import TrainingData
from automcu.work import Deploy, Outcome, WorkFailed


class Deployments:
    """Those of one run. `make` makes the role, on the host that `board` is wired to; `data` refers to its argument."""

    def __init__(
        self,
        make: Callable[[TrainingData, Shared], DeploymentRole],
        board: str,
        data: "ray.ObjectRef[TrainingData]",
        shared: Shared,
    ) -> None:
        self._make = make
        self._shared = shared
        self._board = board
        self._data = data
        self._calls: dict[Any, tuple[Deploy, ActorHandle]] = {}
        self._unverified = ""

    def start(self, work: Deploy, tflite: bytes, journal: bytes) -> Any:
        """Begin `work`, or have it wait until the board is free. Returns the reference that `land` takes."""
        board = {BOARD_RESOURCE.format(self._board): 1.0}
        if not self._unverified:
            try:
                require_resources({f"deploying to {self._board}": board})
            except ConfigError as error:  # its host has left the cluster, and might never come back
                self._unverified = str(error)
        wanted = {} if self._unverified else board
        actor = DeploymentActor.options(resources=wanted).remote(self._make, self._data, self._shared, self._unverified)
        reference = actor.deploy.remote(work, tflite, journal)
        self._calls[reference] = work, actor
        return reference

    def land(self, reference: Any) -> tuple[Sequence[Outcome], Mapping[str, bytes]]:
        """The outcome of the deployment that is done, with the bundle's files (none on failure)."""
        work, actor = self._calls.pop(reference)
        try:
            done: tuple[Sequence[Outcome], Mapping[str, bytes]] = ray.get(reference)
            return done
        except RayError as error:
            told = sentence(error)
            self._unverified = f"a deployment to {self._board} was lost, and may have left anything on it ({told})"
            return [WorkFailed("deploy", work.candidate.id, True, told)], {}
        finally:
            ray.kill(actor)  # gives the board back
