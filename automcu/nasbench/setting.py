"""What a method is shown of a data set: the search space with its images and classes, and the task in words.

Hidden, operations are called op_a to op_e, another way round for each seed, and no data set or benchmark is named: a
language model that remembers the table gains nothing by it.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass

from automcu.architecture import Shape, Task
from automcu.nasbench.table import DataSet
from automcu.spaces.nasbench201 import OPERATIONS, NasBench201Space

_IMAGES: Mapping[DataSet, tuple[str, Shape, int]] = {
    "cifar10": ("CIFAR-10", (32, 32, 3), 10),
    "cifar100": ("CIFAR-100", (32, 32, 3), 100),
    "imagenet16_120": ("ImageNet16-120", (16, 16, 3), 120),
}


@dataclass(frozen=True, slots=True)
class Setting:
    """Space and task."""

    space: NasBench201Space
    task: Task


def setting(data_set: DataSet, seed: int, *, hidden: bool) -> Setting:
    """What is shown of `data_set` to the search with that seed."""
    title, shape, classes = _IMAGES[data_set]
    if not hidden:
        words = f"Classify the images of {title}; the networks are the cells of NAS-Bench-201."
        return Setting(NasBench201Space(shape, classes), Task(data_set, data_set, shape, classes, words))
    names = [f"op_{letter}" for letter in "abcde"[: len(OPERATIONS)]]
    random.Random(seed).shuffle(names)
    words = f"Tell {classes} kinds of small colour images apart."
    return Setting(NasBench201Space(shape, classes, tuple(names)), Task("images", "hidden", shape, classes, words))
