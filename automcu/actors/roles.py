"""The agent roles as actors: each holds its own state, and does its work by the steps that every executor uses.

What may be repeated when an actor dies: a check and an evaluation, since they depend on their input alone; the test,
since it changes nothing. A proposal costs money: the search decides. A deployment may touch a board: `Deployments`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import ray

from automcu.agents.supervisor import SupervisorAgent
from automcu.agents.training import TrainingAgent
from automcu.evaluation import Measured
from automcu.executors import steps
from automcu.executors.blueprint import Shared
from automcu.executors.steps import DeploymentRole, EvaluationRole
from automcu.feasibility.gate import Gate
from automcu.proposal import Proposer
from automcu.training.data import TrainingData
from automcu.work import (
    Check,
    Checked,
    ChooseRecipe,
    Deploy,
    Evaluate,
    Outcome,
    Plan,
    Propose,
    Test,
    TestDone,
    WorkFailed,
)


class Planning:
    """Holds the supervisor's agent. The supervisor itself must not wait for a language model: it drives the run."""

    def __init__(self, make: Callable[[Shared], SupervisorAgent], shared: Shared) -> None:
        self._agent = make(shared)

    def plan(self, work: Plan) -> Sequence[Outcome]:
        """The plan of a round."""
        return steps.plan(self._agent, work)


class Proposal:
    """Holds the proposer, with its conversation or its population."""

    def __init__(self, make: Callable[[Shared], Proposer], shared: Shared) -> None:
        self._proposer = make(shared)

    def propose(self, work: Propose) -> Iterator[Outcome]:
        """Streams what the proposer says."""
        yield from steps.propose(self._proposer, work)


class Feasibility:
    """One member of the feasibility pool."""

    def __init__(self, make: Callable[[], Gate]) -> None:
        self._gate = make()

    def screen(self, works: Sequence[Check]) -> Sequence[Checked | WorkFailed | None]:
        """The gate's verdicts where it needs no slow tool, None for the others."""
        return [steps.screen(self._gate, work) for work in works]

    def check(self, work: Check) -> Checked | WorkFailed:
        """The gate's verdict."""
        return steps.check(self._gate, work)


class Training:
    """Holds the training agent; the trainings themselves are trials of Ray Tune."""

    def __init__(self, make: Callable[[Shared], TrainingAgent], shared: Shared) -> None:
        self._agent = make(shared)

    def choose(self, work: ChooseRecipe) -> Sequence[Outcome]:
        """The recipe of one training."""
        return steps.choose_recipe(self._agent, work)


class Evaluation:
    """Evaluation and conversion; the process that tensorflow runs in is this actor's child."""

    def __init__(
        self, make: Callable[[TrainingData, Shared], EvaluationRole], data: TrainingData, shared: Shared
    ) -> None:
        self._role = make(data, shared)

    def evaluate(self, work: Evaluate, weights: bytes) -> tuple[Sequence[Outcome], Measured | None]:
        """The int8 measurement and the files measured."""
        return self._role.evaluate(work, weights)

    def test(self, work: Test, weights: bytes, tflite: bytes) -> TestDone | WorkFailed:
        """The measurement on the test set."""
        return self._role.test(work, weights, tflite)


class Deployment:
    """Builds, runs and bundles, on the host that the board is wired to; asks no board where `unverified` says why."""

    def __init__(
        self,
        make: Callable[[TrainingData, Shared], DeploymentRole],
        data: TrainingData,
        shared: Shared,
        unverified: str,
    ) -> None:
        role = make(data, shared)
        self._role = role.without_board(unverified) if unverified else role

    def deploy(self, work: Deploy, tflite: bytes, journal: bytes) -> tuple[Sequence[Outcome], Mapping[str, bytes]]:
        """What came of it, and the bundle's files."""
        return self._role.deploy(work, tflite, journal)


# Advice costs money and can be done without: whoever dies over it is asked again only when there is something new.
PlanningActor = ray.remote(num_cpus=0, max_restarts=2, max_task_retries=0)(Planning)
TrainingActor = ray.remote(num_cpus=0, max_restarts=2, max_task_retries=0)(Training)
# A restarted proposer begins with an empty memory; the search then tells it everything again.
ProposalActor = ray.remote(num_cpus=0, max_restarts=2, max_task_retries=0)(Proposal)
# Ray's own retry makes a call wait for an actor that is being restarted; without it the call would fail at once.
FeasibilityActor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=1)(Feasibility)
EvaluationActor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=1)(Evaluation)
# Created with the board's custom resource, so that no two deployments ever hold one board.
DeploymentActor = ray.remote(num_cpus=0, max_restarts=0, max_task_retries=0)(Deployment)
