"""What a search asks to be done, and what can come back: the messages between `Search` and an executor."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from automcu.architecture import Candidate
from automcu.board import Violation
from automcu.finished import Evaluated, Finished
from automcu.proposal import ProposalItem
from automcu.results import Deployment, Evaluation, FeasibilityReport, TestResult, TrialResult


# What an executor can be asked to do -------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Propose:
    """Show `news` to the proposer, then ask it for up to `count` architectures."""

    count: int
    news: tuple[Finished, ...]


@dataclass(frozen=True, slots=True)
class Check:
    """Judge one candidate's int8 graph against the budget."""

    candidate: Candidate


@dataclass(frozen=True, slots=True)
class Train:
    """Train one candidate; `seconds` is all the time it may take."""

    candidate: Candidate
    report: FeasibilityReport
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Evaluate:
    """Convert a trained candidate to int8 and measure it on the validation split."""

    candidate: Candidate
    report: FeasibilityReport
    trial: TrialResult


@dataclass(frozen=True, slots=True)
class Test:
    """Measure the chosen candidate on the test set, once."""

    evaluated: Evaluated

    @property
    def candidate(self) -> Candidate:
        """The candidate to measure."""
        return self.evaluated.candidate


@dataclass(frozen=True, slots=True)
class Deploy:
    """Bundle and validate the chosen candidate."""

    evaluated: Evaluated
    test: TestResult

    @property
    def candidate(self) -> Candidate:
        """The candidate to bundle."""
        return self.evaluated.candidate


Stage = Literal["propose", "check", "train", "evaluate", "test", "deploy"]
STAGES: tuple[Stage, ...] = ("propose", "check", "train", "evaluate", "test", "deploy")

CandidateWork = Check | Train | Evaluate | Test | Deploy
Work = Propose | CandidateWork


# What comes back ---------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Proposed:
    """One item of a proposer's stream."""

    item: ProposalItem


@dataclass(frozen=True, slots=True)
class ProposalsEnded:
    """The proposer has said all it had to say to the last `Propose`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Checked:
    """A gate's facts and verdict on one candidate; it fits when `violations` is empty."""

    candidate_id: int
    report: FeasibilityReport
    violations: tuple[Violation, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Trained:
    """A training that ended, early or not."""

    candidate_id: int
    trial: TrialResult


@dataclass(frozen=True, slots=True)
class EvaluationDone:
    """The int8 measurement of one candidate."""

    candidate_id: int
    evaluation: Evaluation


@dataclass(frozen=True, slots=True)
class TestDone:
    """The test-set measurement of the chosen candidate."""

    candidate_id: int
    test: TestResult


@dataclass(frozen=True, slots=True)
class DeployDone:
    """The chosen candidate's bundle."""

    candidate_id: int
    deployment: Deployment


@dataclass(frozen=True, slots=True)
class WorkFailed:
    """A piece of work failed: for good, or (`retryable`) by the infrastructure's fault. Proposing has no candidate."""

    stage: Stage
    candidate_id: int | None
    retryable: bool
    message: str


Result = Checked | Trained | EvaluationDone | TestDone | DeployDone
Outcome = Proposed | ProposalsEnded | Result | WorkFailed


def stage_of(work: Work) -> Stage:
    """The name of the stage that does `work`."""
    return _STAGE[type(work)]


_STAGE: Mapping[type[Work], Stage] = {
    Propose: "propose",
    Check: "check",
    Train: "train",
    Evaluate: "evaluate",
    Test: "test",
    Deploy: "deploy",
}
