"""The table of tasks: the files of `conf/task`, read without Hydra."""

from functools import cache
from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError

from automcu.architecture import Task
from automcu.errors import ConfigError

_CONF = Path(__file__).parent.parent / "conf"


@cache
def load_tasks() -> tuple[Task, ...]:
    """All tasks, by name. Raises `ConfigError` when a file cannot be read, or is no task."""
    adapter = TypeAdapter(Task)
    tasks = []
    for path in sorted((_CONF / "task").glob("*.yaml")):
        if path.stem == "own":  # a form for the user to fill in
            continue
        try:
            tasks.append(adapter.validate_python(yaml.safe_load(path.read_text("utf-8"))))
        except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError) as error:
            raise ConfigError(f"{path} is no task ({type(error).__name__}); correct the file") from None
    return tuple(tasks)


@cache
def recipe_of(task: str) -> str:
    """The recipe of `conf/training` for a task: the one whose name the task's begins with, else that of `digits`, the
    default."""
    recipes = [path.stem for path in (_CONF / "training").glob("*.yaml") if task.startswith(path.stem)]
    return max(recipes, key=len, default="digits")
