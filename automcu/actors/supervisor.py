"""The supervisor actor: it owns the search, the journal and the run folder, and drives the one with the others.

`run` occupies one thread of the actor until the search is done; meanwhile Ray Tune asks for trainings and hands in
their results, and the driver reads the progress lines, on others.
"""

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import ray

from automcu.actors.executor import RayExecutor
from automcu.errors import AutoMCUError, InfraFailure
from automcu.executors.blueprint import Blueprint, Past, RunEnd
from automcu.executors.checkpoints import CheckpointRemover
from automcu.journal import Header, Journal
from automcu.ledger import Ledger
from automcu.report.progress import Progress
from automcu.results import EpochPoint, TrialResult
from automcu.run_folder import RunFolder
from automcu.search import Limits, Search, drive
from automcu.work import Train, Trained, WorkFailed


class Supervisor:
    """Runs one search on Ray, on the driver's machine: `began` is by its clock. `slots` trials fit at once; `past` is
    what a resumed run has seen."""

    def __init__(
        self, blueprint: Blueprint, limits: Limits, header: Header, folder: Path, data: Sequence[ray.ObjectRef],
        *, began: float, slots: int, past: Past,
    ) -> None:  # fmt: skip
        self._clock = lambda: time.monotonic() - began
        self._folder = RunFolder(folder)
        self._journal = Journal(folder / "journal.jsonl", self._clock)
        if not past:
            self._journal(header)
        self._search = Search(
            limits,
            self._clock,
            plans=blueprint.make_supervisor is not None,
            recipes=blueprint.make_training_agent is not None,
        )
        self._ledger = Ledger(self._clock)
        self._ledger.replay(past)
        self._search.replay(outcome for _, outcome in past)
        self._lines: list[str] = []
        self._progress = Progress(self._search, self._clock, self._lines.append)
        # The reference comes wrapped in a list: bare, Ray would hand over the data itself.
        self._executor = RayExecutor(blueprint, data[0], self._folder, slots)
        self._assigned: set[int] = set()
        self._curves: dict[int, list[EpochPoint]] = {}
        self._seed = header.seed
        self._lock = threading.Lock()
        self._ended = False

    def run(self) -> str | None:
        """Drive the search to its end. Returns the sentence to show when that was not possible."""
        try:
            remover = CheckpointRemover(self._folder)
            drive(self._search, self._executor, (self._journal, self._ledger, self._progress, remover))
        except AutoMCUError as error:
            return str(error)
        finally:
            self._ended = True
        return None

    def result(self) -> RunEnd:
        """How the search ended."""
        search = self._search
        return RunEnd(search.finished, search.funnel, self._ledger.costs(), search.stopped_by, search.trouble)

    def lines(self, after: int) -> Sequence[str]:
        """The progress lines from number `after` on."""
        return self._lines[after:]

    # ---- for Ray Tune ----------------------------------------------------------------------------------------------
    def suggest(self) -> Train | str | None:
        """The next training, None when there is none yet, or `finished` when there will be none."""
        with self._lock:
            if self._ended:
                return "finished"
            work = self._executor.next_training()
            if work is None:
                return "finished" if self._search.training_over else None
            self._assigned.add(work.candidate.id)
            self._curves[work.candidate.id] = []
            return work

    def epoch(self, candidate_id: int, point: EpochPoint) -> None:
        """One more point of a learning curve. Raises `InfraFailure`, to stop the trial, when the run is over."""
        if self._ended:
            raise InfraFailure("the run has ended; start it again")
        with self._lock:
            self._curves.setdefault(candidate_id, []).append(point)  # a resumed run has none of earlier trials
        self._progress.epoch(candidate_id, point)

    def trained(self, candidate_id: int, outcome: Trained | WorkFailed, weights: bytes) -> None:
        """A trial's own word on how it ended, with the trained weights."""
        with self._lock:
            if candidate_id not in self._assigned:
                return
            self._assigned.remove(candidate_id)
        self._executor.deliver(outcome, weights)

    def hung(self, failed: WorkFailed) -> None:
        """The last word of a training, of either phase, that did not end in time. Its process ends after it."""
        assert failed.candidate_id is not None
        with self._lock:
            self._assigned.discard(failed.candidate_id)
        self._executor.deliver(failed)

    def trial_over(self, candidate_id: int, died: bool) -> None:
        """Tune's word that a trial is over. News only when the trial itself could say nothing: it died, or the
        scheduler stopped it."""
        with self._lock:
            if candidate_id not in self._assigned:
                return
            self._assigned.remove(candidate_id)
            curve = tuple(self._curves[candidate_id])
        if died or not curve:
            reason = (
                "the trial's process was ended by a signal (a crash, or the system's, for lack of memory); if this "
                "repeats, see the cluster's logs, and lower training.recipe.batch_size if memory is short"
            )
            self._executor.deliver(WorkFailed("train", candidate_id, True, reason))
        else:
            seed = self._seed + candidate_id
            trial = TrialResult(curve, "scheduler", seed, seconds=curve[-1].seconds)
            self._executor.deliver(Trained(candidate_id, trial))
