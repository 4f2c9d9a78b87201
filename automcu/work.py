"""What a search asks to be done, and what can come back: the messages between `Search` and an executor."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from automcu.architecture import Candidate
from automcu.board import Violation
from automcu.exchange import Exchange
from automcu.finished import Evaluated, Finished
from automcu.messages import CandidateNote, RecipeChoice, RecipeRequest, RoundPlan, RoundRequest
from automcu.proposal import Notice, ProposalItem
from automcu.results import Deployment, Evaluation, FeasibilityReport, TestResult, TrialResult


# What an executor can be asked to do -------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Plan:
    """Ask the supervisor agent what the next round of proposals should be."""

    request: RoundRequest


@dataclass(frozen=True, slots=True)
class Propose:
    """Show `news` to the proposer, then ask it for up to `count` architectures, after `plan` where there is one."""

    count: int
    news: tuple[Finished, ...]
    plan: RoundPlan | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """Judge one candidate's int8 graph against the budget."""

    candidate: Candidate


@dataclass(frozen=True, slots=True)
class ChooseRecipe:
    """Ask the training agent how to train a candidate. `violations` are as in `Train`."""

    candidate: Candidate
    report: FeasibilityReport
    request: RecipeRequest
    violations: tuple[Violation, ...] = ()


@dataclass(frozen=True, slots=True)
class Train:
    """Train one candidate; `seconds` is all the time it may take, `epochs` the most it may have where these are fewer
    than the recipe's, `recipe` what the training agent chose, if it was asked. `violations` are of a candidate that
    will be rejected after its training, see `Limits.unfit_epochs`."""

    candidate: Candidate
    report: FeasibilityReport
    seconds: float = 0.0
    recipe: RecipeChoice | None = None
    violations: tuple[Violation, ...] = ()
    epochs: int | None = None


@dataclass(frozen=True, slots=True)
class Evaluate:
    """Convert a trained candidate to int8 and measure it on the validation split."""

    candidate: Candidate
    report: FeasibilityReport
    trial: TrialResult


@dataclass(frozen=True, slots=True)
class Retrain:
    """Train one of the best candidates again, with the final recipe, for at most `seconds`."""

    evaluated: Evaluated
    seconds: float

    @property
    def candidate(self) -> Candidate:
        """The candidate to train."""
        return self.evaluated.candidate


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


Stage = Literal["plan", "propose", "check", "recipe", "train", "evaluate", "retrain", "test", "deploy"]
STAGES: tuple[Stage, ...] = ("plan", "propose", "check", "recipe", "train", "evaluate", "retrain", "test", "deploy")

CandidateWork = Check | ChooseRecipe | Train | Evaluate | Retrain | Test | Deploy
Work = Plan | Propose | CandidateWork


# What comes back ---------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Exchanged:
    """A role asked its language model. News for the journal and the ledger; the search decides nothing by it."""

    exchange: Exchange


@dataclass(frozen=True, slots=True)
class Noticed:
    """A role has something to tell the user."""

    notice: Notice


@dataclass(frozen=True, slots=True)
class Planned:
    """The supervisor agent's plan."""

    plan: RoundPlan


@dataclass(frozen=True, slots=True)
class Proposed:
    """One item of a proposer's stream."""

    item: ProposalItem


@dataclass(frozen=True, slots=True)
class ProposalsEnded:
    """The proposer has said all it had to say to the last `Propose`. `cap` is empty, or says which cap of the budget
    forbids to ask a language model again, which ends the proposing."""

    seconds: float
    cap: str = ""


@dataclass(frozen=True, slots=True)
class Checked:
    """A gate's facts and verdict on one candidate; it fits when `violations` is empty."""

    candidate_id: int
    report: FeasibilityReport
    violations: tuple[Violation, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class RecipeChosen:
    """How a candidate is to be trained."""

    candidate_id: int
    recipe: RecipeChoice


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
    note: CandidateNote | None = None


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


Result = Checked | RecipeChosen | Trained | EvaluationDone | TestDone | DeployDone
Outcome = Exchanged | Noticed | Planned | Proposed | ProposalsEnded | Result | WorkFailed


def stage_of(work: Work) -> Stage:
    """The name of the stage that does `work`."""
    return _STAGE[type(work)]


_STAGE: Mapping[type[Work], Stage] = {
    Plan: "plan",
    Propose: "propose",
    Check: "check",
    ChooseRecipe: "recipe",
    Train: "train",
    Evaluate: "evaluate",
    Retrain: "retrain",
    Test: "test",
    Deploy: "deploy",
}
