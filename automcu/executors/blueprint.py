"""Everything an executor needs to build the roles of a run, wherever they are to live."""

from collections.abc import Callable
from dataclasses import dataclass

from automcu.evaluation import Evaluator
from automcu.executors.steps import DeploymentRole, TrainingRole
from automcu.feasibility.gate import Gate
from automcu.proposal import Proposer
from automcu.training.data import TrainingData


@dataclass(frozen=True, slots=True)
class Blueprint:
    """One factory a role. It holds plain settings and no process, so it can be sent to another machine.

    The gate and the evaluator may own processes: whoever makes one closes it. `trial_cpus` and `trial_gpus` are what
    one training takes; `epochs` is how long it lasts; `grace_epochs` and `reduction_factor` are ASHA's; `checkers` is
    the size of the feasibility pool.
    """

    make_proposer: Callable[[], Proposer]
    make_gate: Callable[[], Gate]
    make_training: Callable[[TrainingData], TrainingRole]
    make_evaluator: Callable[[TrainingData], Evaluator]
    make_deployment: Callable[[TrainingData], DeploymentRole]
    board: str
    epochs: int
    grace_epochs: int
    reduction_factor: int
    trial_cpus: int
    trial_gpus: float
    checkers: int
