"""What a method is shown of a data set: the search space with its images and classes, and the task in words.

Two ways to keep a language model from recalling what it has read about the benchmark. `renamed`: operations are called
op_a to op_e, another way round for each seed, and the description says what each does; no data set or benchmark is
named, and whatever the data set, images and classes are said to be the same, neither of which any of them has (so are
what footprints are of). `hidden`: nor does it say what operations do, but that one of them
must not stand in every way, as else a cell is none. Who does as well renamed as by the true names
needs no memory of the table; what is lost from there to hidden is what knowing operations is worth.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from automcu.architecture import Shape, Task
from automcu.nasbench.table import DataSet
from automcu.spaces.nasbench201 import OPERATIONS, NasBench201Space

View = Literal["true", "renamed", "hidden"]

_IMAGES: Mapping[DataSet, tuple[str, Shape, int]] = {
    "cifar10": ("CIFAR-10", (32, 32, 3), 10),
    "cifar100": ("CIFAR-100", (32, 32, 3), 100),
    "imagenet16_120": ("ImageNet16-120", (16, 16, 3), 120),
}
_NONE_OF_THEM: tuple[Shape, int] = (24, 24, 3), 20


@dataclass(frozen=True, slots=True)
class Setting:
    """Space and task."""

    space: NasBench201Space
    task: Task


def setting(data_set: DataSet, seed: int, view: View) -> Setting:
    """What is shown of `data_set` to the search with that seed."""
    if view == "true":
        title, shape, classes = _IMAGES[data_set]
        words = f"Classify the images of {title}; the networks are the cells of NAS-Bench-201."
        return Setting(NasBench201Space(shape, classes), Task(data_set, data_set, shape, classes, words))
    names = [f"op_{letter}" for letter in "abcde"[: len(OPERATIONS)]]
    random.Random(seed).shuffle(names)
    shape, classes = _NONE_OF_THEM
    space = NasBench201Space(shape, classes, tuple(names), explained=view == "renamed")
    return Setting(space, Task("images", "images", shape, classes, "Tell small colour images apart."))
