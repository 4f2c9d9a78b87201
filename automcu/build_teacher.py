"""The teacher of a run: what an earlier run of AutoMCU trained and deployed, read from its folder."""

import json
from typing import Any

from pydantic import BaseModel, ValidationError

from automcu.architecture import Task
from automcu.config import OwnDataConfig, RunConfig
from automcu.deploy.bundle import EVIDENCE
from automcu.deploy.evidence import read_evidence
from automcu.errors import AutoMCUError, ConfigError
from automcu.run_folder import weights_name
from automcu.spaces import make_space
from automcu.training.teacher import Teacher
from automcu.training.weights import check_weights, weights_from_bytes


class _Data(BaseModel):
    validation_share: float
    path: str | None = None


class _Taught(BaseModel):
    """What of a run's configuration says which images its networks saw."""

    seed: int
    task: Task
    data: _Data


def teacher_of(config: RunConfig) -> Teacher | None:
    """The teacher of the recipes that ask for one, None where none does.

    Raises `ConfigError` when there is none, it was trained for other images or classes, or it has seen images by whose
    accuracy its pupils would be ranked.
    """
    in_search = config.training.recipe.distillation > 0
    in_final = config.final.candidates > 0 and config.final.recipe.distillation > 0
    if config.teacher is None:
        if in_search or in_final:
            raise ConfigError("a recipe asks for distillation; name the folder of a run as teacher, or set it to 0")
        return None
    if not in_search and not in_final:
        raise ConfigError(
            "a teacher is named and no recipe has distillation; set final.recipe.distillation=0.5, or name no teacher"
        )
    folder = config.teacher
    try:
        taught = _Taught.model_validate(json.loads((folder / "run.json").read_bytes())["config"])
        design = read_evidence((folder / "best" / EVIDENCE).read_bytes()).design
        if design is None:
            raise ValueError("its bundle is of no network that it designed")
        weights = weights_from_bytes((folder / weights_name(design.candidate.id, design.trial.final)).read_bytes())
        architecture = design.candidate.architecture
        network = make_space(architecture.space, taught.task.input_shape, taught.task.class_count).build(architecture)
        check_weights(network, weights)
    except (OSError, ValueError, KeyError, TypeError, ValidationError, RecursionError, AutoMCUError) as error:
        told = str(error).splitlines()[0]
        raise ConfigError(
            f"{folder} is no run that could be the teacher ({told:.200}); name the folder of one that has deployed"
        ) from None
    if _problem(taught.task, taught.data.path) != _problem(config.task, _path(config)):
        raise ConfigError(
            f"the teacher in {folder} learned {taught.task.dataset} {taught.task.input_shape} with "
            f"{taught.task.class_count} classes; name one that learned this run's images"
        )
    ranked = in_search or not config.final.all_images
    same_split = (taught.seed, taught.data.validation_share) == (config.seed, config.data.validation_share)
    if ranked and (design.trial.saw_validation or not same_split):
        raise ConfigError(
            f"the teacher in {folder} was trained on images that this run validates on; distil only in a final phase "
            "with final.all_images=true, or train a teacher with this seed and data.validation_share and "
            "final.all_images=false"
        )
    return Teacher(network, weights)


def _problem(task: Task, path: str | None) -> tuple[Any, ...]:
    return task.dataset, task.input_shape, task.class_count, path


def _path(config: RunConfig) -> str | None:
    return str(config.data.path) if isinstance(config.data, OwnDataConfig) else None
