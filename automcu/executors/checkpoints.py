"""Checkpoints of trainings that have ended."""

from automcu.run_folder import RunFolder, checkpoint_name
from automcu.work import Outcome, Trained, WorkFailed


class CheckpointRemover:
    """A recorder of `drive`, after the journal: removes the checkpoint of a training once the journal tells how it
    ended, for whatever happens before that the training must be able to go on. One that may be tried again keeps it."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder

    def __call__(self, outcome: Outcome) -> None:
        """Take one outcome. Raises `OutputError` when the file cannot be removed."""
        match outcome:
            case Trained(candidate_id, trial):
                self._folder.remove(checkpoint_name(candidate_id, trial.final))
            case WorkFailed("train" | "retrain" as stage, int(candidate_id), False):
                self._folder.remove(checkpoint_name(candidate_id, stage == "retrain"))
