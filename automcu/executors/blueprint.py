"""Everything an executor needs to build the roles of a run, wherever they are to live; and how a run ends."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from automcu.agents.supervisor import SupervisorAgent
from automcu.agents.training import TrainingAgent
from automcu.executors.steps import DeploymentRole, EvaluationRole, TrainingRole
from automcu.feasibility.gate import Gate
from automcu.finished import Finished
from automcu.ledger import Costs
from automcu.llm.conversation import Context
from automcu.llm.meter import MeterLike
from automcu.proposal import Proposer
from automcu.search import Funnel
from automcu.training.data import TrainingData
from automcu.work import Outcome


@dataclass(frozen=True, slots=True)
class Shared:
    """What the language models of all roles have in common: the meter of what they may use (None where there is no
    model); and one context, where the roles are to share it (None: each has its own)."""

    meter: MeterLike | None
    context: Context | None


@dataclass(frozen=True, slots=True)
class Blueprint:
    """One factory a role. It holds plain settings and no process, so it can be sent to another machine.

    The gate and the evaluator may own processes: whoever makes one closes it. `make_supervisor` and
    `make_training_agent` are None where no one is to be asked; `make_meter` and `make_context` make what roles share,
    as far as they do.
    `trial_cpus` and `trial_gpus` are what one training takes, `final_cpus` and `final_gpus` what one of the final phase
    does; `epochs` is how long it lasts; `grace_epochs` and
    `reduction_factor` are ASHA's; `checkers` is the size of the feasibility pool.
    """

    make_meter: Callable[[], MeterLike] | None
    make_context: Callable[[], Context] | None
    make_supervisor: Callable[[Shared], SupervisorAgent] | None
    make_proposer: Callable[[Shared], Proposer]
    make_gate: Callable[[], Gate]
    make_training_agent: Callable[[Shared], TrainingAgent] | None
    make_training: Callable[[TrainingData], TrainingRole]
    make_evaluation: Callable[[TrainingData, Shared], EvaluationRole]
    make_deployment: Callable[[TrainingData, Shared], DeploymentRole]
    board: str
    epochs: int
    grace_epochs: int
    reduction_factor: int
    trial_cpus: int
    trial_gpus: float
    final_cpus: int
    final_gpus: float
    checkers: int

    def shared(self) -> Shared:
        """What roles share when all live in this process."""
        return Shared(
            self.make_meter() if self.make_meter else None, self.make_context() if self.make_context else None
        )


Past = Sequence[tuple[float, Outcome]]
"""What a run that is resumed has seen: outcomes, each with the seconds since the run began."""


@dataclass(frozen=True, slots=True)
class RunEnd:
    """A search that has ended: every candidate's end by id, the counts, what it cost. `stopped_by` says what ended the
    proposing in good order before time and candidates were spent, `trouble` what went wrong with it; None for
    nothing."""

    finished: Mapping[int, Finished]
    funnel: Funnel
    costs: Costs
    stopped_by: str | None
    trouble: str | None
