"""Ray Tune's part: trials fed by the search, stopped early by ASHA.

Tune neither chooses nor remembers anything: its searcher asks the supervisor, and what a trial learns goes to the
supervisor. Weights of networks this small travel with the result, so no shared file system is needed.
"""

import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ray
from ray import tune
from ray.actor import ActorHandle
from ray.tune.schedulers import AsyncHyperBandScheduler
from ray.tune.search import Searcher

from automcu.executors import steps
from automcu.executors.blueprint import Blueprint
from automcu.results import EpochPoint
from automcu.training.data import TrainingData
from automcu.work import Retrain, Train, Trained, WorkFailed, stage_of

METRIC = "mean_accuracy"
"""Tune's own name for it. The other columns of a trial's `progress.csv`: `mean_loss`, and what Tune adds."""
_TOLD_WITHIN_SECONDS = 60.0


class SearchFeed(Searcher):  # type: ignore[misc]  # Ray has no types that mypy could follow
    """Hands the search's trainings to Tune. Tune pickles its searcher, so this holds an actor handle and no more."""

    def __init__(self, supervisor: ActorHandle) -> None:
        super().__init__(metric=METRIC, mode="max")
        self._supervisor = supervisor
        self._candidates: dict[str, int] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next candidate as a trial's configuration; None for not yet; FINISHED for never again."""
        work = ray.get(self._supervisor.suggest.remote())
        if not isinstance(work, Train):
            return Searcher.FINISHED if work == "finished" else None
        self._candidates[trial_id] = work.candidate.id
        return {"candidate": work.candidate.id, "architecture": work.candidate.architecture.text, "work": work}

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        """Tell the supervisor, in case the trial could not."""
        candidate_id = self._candidates.pop(trial_id, None)
        if candidate_id is not None:
            ray.get(self._supervisor.trial_over.remote(candidate_id, error))

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the search's memory."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, see `save`."""


def train_candidate(
    config: Mapping[str, Any], supervisor: ActorHandle, blueprint: Blueprint, data: TrainingData
) -> None:
    """One trial. Tune ends it inside `tune.report` when the scheduler has seen enough."""
    work: Train = config["work"]
    candidate_id = work.candidate.id

    def on_epoch(point: EpochPoint) -> None:
        ray.get(supervisor.epoch.remote(candidate_id, point))
        # The scheduler is not asked about the last epoch, nor about one near the time limit, which may be the last:
        # there is little left to save, and the weights to lose.
        if point.epoch < blueprint.epochs and point.seconds < 0.9 * work.seconds:
            _report(point)

    try:
        with _watched(work, supervisor):
            trial, weights = blueprint.make_training(data).train(work, on_epoch)
    except Exception as error:
        failed = steps.failure("train", candidate_id, error)
        ray.get(supervisor.trained.remote(candidate_id, failed, b""))
        tune.report({"failed": failed.message})
        return
    ray.get(supervisor.trained.remote(candidate_id, Trained(candidate_id, trial), weights))
    _report(trial.curve[-1])


@ray.remote(max_retries=0)  # type: ignore[untyped-decorator]
def retrain(
    work: Retrain, supervisor: ActorHandle, blueprint: Blueprint, data: TrainingData
) -> tuple[Trained | WorkFailed, bytes]:
    """One training of the final phase, and its weights. A task, since there is nothing for Tune to decide."""

    def on_epoch(point: EpochPoint) -> None:
        ray.get(supervisor.epoch.remote(work.candidate.id, point))

    try:
        with _watched(work, supervisor):
            trial, weights = blueprint.make_training(data).train(work, on_epoch)
    except Exception as error:
        return steps.failure("retrain", work.candidate.id, error), b""
    return Trained(work.candidate.id, trial), weights


@contextmanager
def _watched(work: Train | Retrain, supervisor: ActorHandle) -> Iterator[None]:
    """Ends this process, and tells the supervisor why, when the training is long past its time.

    A trainer ends by itself in time; what does not is stuck where no exception reaches it.
    """

    def end() -> None:
        message = f"the training did not end within its {work.seconds:.0f} s and was killed; look at the machine's load"
        failed = WorkFailed(stage_of(work), work.candidate.id, False, message)
        try:
            ray.get(supervisor.hung.remote(failed), timeout=_TOLD_WITHIN_SECONDS)
        finally:
            os._exit(1)

    timer = threading.Timer(1.2 * work.seconds + 30, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _report(point: EpochPoint) -> None:
    tune.report({METRIC: point.validation_accuracy, "mean_loss": point.train_loss, "epoch": point.epoch})


def run_trials(supervisor: ActorHandle, blueprint: Blueprint, data: ray.ObjectRef, storage: str) -> None:
    """Run trials until the search wants no more. `storage` gets Tune's own files (params.json, progress.csv, ...)."""
    # Failed trials are told of by the supervisor; Tune would print their tracebacks.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    trainable = tune.with_parameters(train_candidate, supervisor=supervisor, blueprint=blueprint, data=data)
    tune.Tuner(
        tune.with_resources(trainable, {"cpu": blueprint.trial_cpus, "gpu": blueprint.trial_gpus}),
        tune_config=tune.TuneConfig(
            search_alg=SearchFeed(supervisor),
            scheduler=AsyncHyperBandScheduler(
                time_attr="epoch",
                metric=METRIC,
                mode="max",
                max_t=blueprint.epochs + 1,
                grace_period=min(blueprint.grace_epochs, blueprint.epochs),
                reduction_factor=blueprint.reduction_factor,
            ),
            num_samples=-1,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(name="tune", storage_path=storage, verbose=0),
    ).fit()
