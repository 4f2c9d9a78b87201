"""The evaluation agent: what limits a measured candidate and what to try next, as a note for the history.

It sees one candidate's measurements and its own earlier notes. The measurements themselves are code's: the note goes
beside them, it changes none.
"""

from collections import deque
from collections.abc import Mapping

from automcu.agents.role import Role
from automcu.architecture import Candidate
from automcu.board import Budget, Resource
from automcu.llm.conversation import Conversation
from automcu.messages import CandidateNote
from automcu.results import EpochPoint, Evaluation, FeasibilityReport, TrialResult

NOTES_KEPT = 5
EPOCHS_SHOWN = 8
LOST_TO_INT8 = 0.03
"""Accuracy lost by quantization that counts as what limits a network."""
STILL_RISING = 0.02
"""Accuracy that the last epoch must have brought for more epochs to be worth a try."""
LEARNT_BY_HEART = 0.2, 0.005
"""Overfitting: in the second half of a training the loss fell by more than the first share, while the accuracy rose by
less than the second."""
ROOMY, TIGHT, FULL = 0.5, 0.8, 0.95
"""Shares of a limit: a network below the first in all leaves capacity unused, one above the last has no room."""

SYSTEM = """\
You look at one small neural network that was trained and measured for a microcontroller, and say what limits its \
accuracy and what to try next.
Answer with one JSON object {"limited_by": "capacity", "training", "overfitting", "quantization" or "nothing_clear", \
"advice": "larger", "smaller", "deeper", "wider", "train_longer", "other_blocks" or "keep", "note": why, in a \
few words} and nothing else."""


class EvaluationAgent(Role):
    """Writes notes. Remembers its latest ones, with the accuracy they were about."""

    def __init__(self, conversation: Conversation | None) -> None:
        super().__init__(conversation)
        self._notes: deque[tuple[float, CandidateNote]] = deque(maxlen=NOTES_KEPT)

    def note(
        self,
        candidate: Candidate,
        report: FeasibilityReport,
        trial: TrialResult,
        evaluation: Evaluation,
        budget: Budget,
    ) -> CandidateNote:
        """The note on one candidate. Raises what ends the run (`EndsTheRun`)."""
        used = shares(report, budget)
        note = self._decide(
            SYSTEM,
            self._question(report, trial, evaluation, used),
            note_by_code(candidate.id, trial, evaluation, used),
            given=("candidate_id",),
            refusal=lambda note: refusal(note, used),
        )
        self._notes.append((evaluation.int8_validation_accuracy, note))
        return note

    def _question(
        self, report: FeasibilityReport, trial: TrialResult, evaluation: Evaluation, used: Mapping[Resource, float]
    ) -> str:
        curve = ", ".join(f"{point.validation_accuracy:.3f}" for point in trial.curve[-EPOCHS_SHOWN:])
        return "\n".join(
            [
                f"Validation accuracy: int8 {evaluation.int8_validation_accuracy:.4f}, float "
                f"{evaluation.float_validation_accuracy:.4f}.",
                f"{len(trial.curve)} epochs, ended: {trial.ended}; accuracy by epoch: {curve}; training loss first "
                f"{trial.curve[0].train_loss:.3f}, last {trial.curve[-1].train_loss:.3f}.",
                f"Of its limits it uses {', '.join(f'{share:.0%} of {what}' for what, share in used.items())}; "
                f"{report.macs:,} MACs, {report.weights_bytes:,} bytes of weights.",
                *(
                    f"Earlier: accuracy {accuracy:.4f}, you said {note.limited_by}, {note.advice}."
                    for accuracy, note in self._notes
                ),
            ]
        )


def shares(report: FeasibilityReport, budget: Budget) -> dict[Resource, float]:
    """How much of each limit of `budget` a network uses."""
    limits: dict[Resource, float | None] = {
        "ram": budget.ram_bytes,
        "flash": budget.flash_bytes,
        "macs": budget.macs,
        "latency": None if budget.latency_ms is None else 1_000 * budget.latency_ms,
    }
    return {what: budget.figure(what, report) / limit for what, limit in limits.items() if limit}


def refusal(note: CandidateNote, used: Mapping[Resource, float]) -> str:
    """Why `note` cannot be: a network at a limit that is to grow; or nothing."""
    fullest = max(used.values())
    if note.advice == "larger" and fullest > FULL:
        return f"the network uses {fullest:.0%} of a limit; larger would not fit"
    return ""


def note_by_code(
    candidate_id: int, trial: TrialResult, evaluation: Evaluation, used: Mapping[Resource, float]
) -> CandidateNote:
    """What the curve, the loss by quantization and the room below the limits say, in that order."""
    lost = evaluation.float_validation_accuracy - evaluation.int8_validation_accuracy
    if lost >= LOST_TO_INT8:
        told = f"int8 loses {100 * lost:.1f} points of accuracy against float"
        return CandidateNote(candidate_id, "quantization", "other_blocks", told)
    if by_heart(trial.curve):
        told = "the training loss still fell while the validation accuracy stood still"
        return CandidateNote(candidate_id, "overfitting", "smaller", told)
    gained = trial.curve[-1].validation_accuracy - trial.curve[max(0, len(trial.curve) - 2)].validation_accuracy
    if trial.ended == "deadline" or gained >= STILL_RISING:
        told = f"still learning: {100 * gained:.1f} points in the last of {len(trial.curve)} epochs"
        return CandidateNote(candidate_id, "training", "train_longer", told)
    fullest = max(used, key=lambda what: used[what])
    if used[fullest] < ROOMY:
        told = f"no limit is used to more than {used[fullest]:.0%}"
        return CandidateNote(candidate_id, "capacity", "larger", told)
    if used["ram"] >= TIGHT > used["flash"]:
        told = f"RAM is used to {used['ram']:.0%}, Flash to {used['flash']:.0%}"
        return CandidateNote(candidate_id, "capacity", "deeper", told)
    if used["flash"] >= TIGHT > used["ram"]:
        told = f"Flash is used to {used['flash']:.0%}, RAM to {used['ram']:.0%}"
        return CandidateNote(candidate_id, "capacity", "other_blocks", told)
    return CandidateNote(candidate_id, "nothing_clear", "keep", f"uses {used[fullest]:.0%} of its {fullest} limit")


def by_heart(curve: tuple[EpochPoint, ...]) -> bool:
    """Whether the second half of a training lowered the loss, but did not help on images it had not seen."""
    fall, rise = LEARNT_BY_HEART
    middle, last = curve[(len(curve) - 1) // 2], curve[-1]
    return (
        len(curve) >= 4
        and last.train_loss < (1 - fall) * middle.train_loss
        and last.validation_accuracy < middle.validation_accuracy + rise
    )
