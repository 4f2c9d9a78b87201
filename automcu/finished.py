"""How a candidate ends. Progress is a type: a proposer sees only these, so none is ever fed an unfinished candidate."""

from dataclasses import dataclass
from typing import Literal

from automcu.architecture import Candidate
from automcu.board import Violation
from automcu.messages import CandidateNote
from automcu.results import Deployment, Evaluation, FeasibilityReport, TestResult, TrialResult


@dataclass(frozen=True, slots=True)
class Rejected:
    """Does not fit the budget. Never trained, unless the search trains first and checks later: then `trial` says how
    well."""

    candidate: Candidate
    report: FeasibilityReport
    violations: tuple[Violation, ...]
    trial: TrialResult | None = None


@dataclass(frozen=True, slots=True)
class Stopped:
    """Fits, but its training was ended early by the scheduler in favour of better ones."""

    candidate: Candidate
    report: FeasibilityReport
    trial: TrialResult


@dataclass(frozen=True, slots=True)
class Evaluated:
    """Trained, converted to int8 and measured on the validation split. `note` is what the evaluation agent makes of
    it, None where it was not asked; `searched` is what the search had measured before the final phase trained it on the
    validation images too."""

    candidate: Candidate
    report: FeasibilityReport
    trial: TrialResult
    evaluation: Evaluation
    note: CandidateNote | None = None
    searched: Evaluation | None = None

    @property
    def chosen_by(self) -> Evaluation:
        """The measurement on images that had not been trained on."""
        return self.searched or self.evaluation


@dataclass(frozen=True, slots=True)
class Deployed:
    """Evaluated, measured once on the test set, bundled and validated."""

    candidate: Candidate
    report: FeasibilityReport
    trial: TrialResult
    evaluation: Evaluation
    test: TestResult
    deployment: Deployment
    searched: Evaluation | None = None

    @property
    def chosen_by(self) -> Evaluation:
        """See `Evaluated`."""
        return self.searched or self.evaluation


@dataclass(frozen=True, slots=True)
class Failed:
    """A stage failed for good: it would fail anywhere (`candidate`), or the retries are used up (`infrastructure`)."""

    candidate: Candidate
    stage: str
    cause: Literal["candidate", "infrastructure"]
    message: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """Not carried on because the budget of the run was spent; `stage` is what it was waiting for."""

    candidate: Candidate
    stage: str


Finished = Rejected | Stopped | Evaluated | Deployed | Failed | Skipped
