"""The training agent: which recipe of a closed list a candidate is trained with, from how earlier trainings went.

It sees sizes and learning curves, no architecture and no text of another role. It may scale three figures of the
configured recipe by listed factors; epochs, batch size and data are not its to decide.
"""

from collections import deque
from collections.abc import Iterable

from automcu.agents.role import Role
from automcu.llm.conversation import Conversation
from automcu.messages import CONFIGURED, ConvergenceNote, RecipeChoice, RecipeRequest

NOTES_KEPT = 40
NOTES_SHOWN = 8

SYSTEM = """\
You choose how a small neural network is trained: learning rate, weight decay and label smoothing, each in per cent of \
a recipe that is known to work. 100, 100, 100 is that recipe: leave it unless earlier trainings show a reason. \
Accuracy that falls or stays where it began asks for a lower learning rate.
Answer with one JSON object {"learning_rate_percent": 100, 50, 25 or 200, "weight_decay_percent": 100, 50, 0 or 200, \
"label_smoothing_percent": 100, 50, 0 or 200} and nothing else."""


class TrainingAgent(Role):
    """Chooses recipes. Remembers the latest trainings of the run."""

    def __init__(self, conversation: Conversation | None) -> None:
        super().__init__(conversation)
        self._notes: deque[ConvergenceNote] = deque(maxlen=NOTES_KEPT)

    def choose(self, request: RecipeRequest) -> RecipeChoice:
        """The recipe for one candidate. Raises what ends the run (`EndsTheRun`)."""
        self._notes.extend(request.notes)
        return self._decide(SYSTEM, self._question(request), recipe_by_code(self._notes))

    def _question(self, request: RecipeRequest) -> str:
        lines = [f"To be trained: {request.macs:,} MACs, {request.weights_bytes:,} bytes of weights."]
        if self._notes:
            lines.append(
                "Earlier trainings: percents, accuracy after the first, last but one and last epoch, last loss:"
            )
        for note in list(self._notes)[-NOTES_SHOWN:]:
            used = note.recipe
            percents = f"{used.learning_rate_percent}, {used.weight_decay_percent}, {used.label_smoothing_percent}"
            lines.append(
                f"- {percents}: {note.first_accuracy:.3f}, {note.previous_accuracy:.3f}, {note.last_accuracy:.3f}, "
                f"loss {note.last_loss:.3f}, {note.epochs} epochs, ended: {note.ended}"
            )
        return "\n".join(lines)


def diverged(note: ConvergenceNote) -> bool:
    """The training failed, or left the network no better than its first epoch had."""
    return note.ended == "failed" or (note.epochs > 1 and note.last_accuracy <= note.first_accuracy)


def recipe_by_code(notes: Iterable[ConvergenceNote]) -> RecipeChoice:
    """The configured recipe; with half or a quarter of its learning rate where at least half of the trainings with a
    higher one diverged."""
    kept = tuple(notes)
    for percent in (100, 50):
        ends = [diverged(note) for note in kept if note.recipe.learning_rate_percent == percent]
        if 2 * sum(ends) < len(ends) or not ends:
            return CONFIGURED if percent == 100 else RecipeChoice(50, 100, 100)
    return RecipeChoice(25, 100, 100)
