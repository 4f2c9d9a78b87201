"""Search spaces: what can be proposed, and how a proposal becomes a network."""

from collections.abc import Callable, Mapping

from automcu.architecture import Shape
from automcu.errors import ConfigError, InvalidArchitecture
from automcu.spaces.mcu_cnn import McuCnnSpace
from automcu.spaces.nasbench201 import NasBench201Space
from automcu.spaces.space import Space

__all__ = ["SPACES", "Space", "make_space"]

SPACES: Mapping[str, Callable[[Shape, int], Space]] = {
    McuCnnSpace.name: McuCnnSpace,
    NasBench201Space.name: NasBench201Space,
}
"""The search spaces there are, by name."""


def make_space(name: str, input_shape: Shape, class_count: int) -> Space:
    """The space of that name for a task. Raises `ConfigError` when there is none, or no network can serve the task."""
    if name not in SPACES:
        raise ConfigError(f"no search space is named {name!r}; choose one of: {', '.join(sorted(SPACES))}")
    if class_count < 2:
        raise ConfigError(f"{class_count} classes leave nothing to tell apart; give a task with at least 2")
    space = SPACES[name](input_shape, class_count)
    try:
        space.build(space.smallest())
    except InvalidArchitecture as error:
        raise ConfigError(
            f"space {name} has no network for input {input_shape} and {class_count} classes: {error}"
        ) from error
    return space
