"""Progress lines: one for every trained or failed candidate, and the funnel now and then."""

from collections.abc import Callable

from automcu.messages import CONFIGURED, RecipeChoice, RoundPlan
from automcu.proposal import Notice
from automcu.redaction import redacted
from automcu.results import Deployment, EpochPoint
from automcu.search import Search
from automcu.work import (
    DeployDone,
    EvaluationDone,
    Noticed,
    Outcome,
    Planned,
    RecipeChosen,
    TestDone,
    Trained,
    WorkFailed,
)

FUNNEL_SECONDS = 10.0
EPOCH_SECONDS = 60.0
TRAINED_ON = " (of images that it was trained on)"


def _board_said(deployment: Deployment) -> str:
    measured = deployment.measurement
    if measured is None:
        return f"NOT verified on any board: {deployment.unverified}"
    return (
        f"run on the {measured.link} board: {measured.matching} of {measured.checked} outputs equal byte for byte, "
        f"{measured.ticks:,} {measured.unit} an inference"
    )


def _planned(plan: RoundPlan) -> str:
    if plan.stop:
        return f"the supervisor agent ends the proposing: {plan.reason}"
    return f"round planned: {plan.count} proposals, focus {plan.focus.replace('_', ' ')} ({plan.reason})"


def _recipe(recipe: RecipeChoice) -> str:
    return (
        f"{recipe.learning_rate_percent} % of the configured learning rate, {recipe.weight_decay_percent} % of the "
        f"weight decay, {recipe.label_smoothing_percent} % of the label smoothing"
    )


class Progress:
    """A recorder that says what happens through `say`, one line a call, with the time by `clock`."""

    def __init__(self, search: Search, clock: Callable[[], float], say: Callable[[str], None]) -> None:
        self._search = search
        self._clock = clock
        self._say = say
        self._next_funnel = 0.0
        self._next_epoch = 0.0
        self._saw_validation: set[int] = set()
        self._last_funnel = ""
        self._best = -1.0

    def __call__(self, outcome: Outcome) -> None:
        """Say what `outcome` means, if a person would want to know."""
        match outcome:
            case Noticed(Notice(text)):
                self._line(text)
            case Planned(plan):
                self._line(_planned(plan))
            case RecipeChosen(candidate_id, recipe) if recipe != CONFIGURED:
                self._line(f"candidate {candidate_id} is to be trained with {_recipe(recipe)}")
            case Trained(candidate_id, trial):
                how = {"completed": "trained", "scheduler": "stopped early", "deadline": "cut by the deadline"}
                if trial.saw_validation:
                    self._saw_validation.add(candidate_id)
                self._line(
                    f"candidate {candidate_id} {how[trial.ended]}{' in the final phase' * trial.final} after "
                    f"{trial.curve[-1].epoch} epochs, {trial.seconds:.0f} s: float validation accuracy "
                    f"{trial.validation_accuracy:.1%}{TRAINED_ON * trial.saw_validation}"
                )
            case EvaluationDone(candidate_id, evaluation):
                report, seen = evaluation.report, candidate_id in self._saw_validation
                standing = TRAINED_ON if seen else self._standing(evaluation.int8_validation_accuracy)
                tuned = ", trained on in simulated int8" if evaluation.fine_tuned else ""
                self._line(
                    f"candidate {candidate_id} converted: int8 validation accuracy "
                    f"{evaluation.int8_validation_accuracy:.1%} (float {evaluation.float_validation_accuracy:.1%}), "
                    f"RAM {report.ram_bytes / 1000:.1f} KB, Flash {report.flash_bytes / 1000:.1f} KB, "
                    f"{report.macs / 1e6:.2f} M MACs{tuned}{standing}"
                )
            case TestDone(candidate_id, test):
                self._line(
                    f"candidate {candidate_id} on the test set: int8 {test.int8_accuracy:.2%}, "
                    f"float {test.float_accuracy:.2%} ({test.images:,} images, once, {test.interpreter})"
                )
            case DeployDone(candidate_id, deployment):
                self._line(f"candidate {candidate_id} bundled for {deployment.board}; {_board_said(deployment)}")
            case WorkFailed(stage, candidate_id, retryable, message):
                who = "proposing" if candidate_id is None else f"candidate {candidate_id}, {stage}"
                self._line(f"{who} failed{' (may be tried again)' if retryable else ''}: {message}")
        if self._clock() >= self._next_funnel:
            self._next_funnel = self._clock() + FUNNEL_SECONDS
            self._funnel()

    def epoch(self, candidate_id: int, point: EpochPoint) -> None:
        """Say how a training goes: how long its first epoch took, and where it stands every minute."""
        if point.epoch == 1:
            self._line(f"candidate {candidate_id} training, first epoch took {point.seconds:.1f} s")
        elif self._clock() >= self._next_epoch:
            self._line(
                f"candidate {candidate_id} training, epoch {point.epoch}, {point.seconds:.0f} s: loss "
                f"{point.train_loss:.3f}, float accuracy on the validation images {point.validation_accuracy:.1%}"
            )
        else:
            return
        self._next_epoch = self._clock() + EPOCH_SECONDS

    def _standing(self, accuracy: float) -> str:
        if accuracy <= self._best:
            return ""
        self._best = accuracy
        return " - best so far"

    def _funnel(self) -> None:
        funnel = self._search.funnel
        text = (
            f"proposed {funnel.proposed} ({funnel.invalid} invalid, {funnel.duplicate} duplicate) > "
            f"fit {funnel.feasible} ({funnel.rejected} rejected) > trained {funnel.trained} "
            f"({funnel.stopped} stopped early) > converted {funnel.evaluated}, failed {funnel.failed}"
        )
        if text != self._last_funnel:
            self._last_funnel = text
            self._line(text)

    def _line(self, text: str) -> None:
        self._say(f"[{self._clock():6.1f} s] {redacted(text)}")
