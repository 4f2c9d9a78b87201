"""How a network is trained: the numbers of a schedule."""

from dataclasses import dataclass, replace

from automcu.errors import ConfigError
from automcu.messages import RecipeChoice

MOST_SMOOTHING = 0.5
"""Label smoothing to which a choice may raise the configured one."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """SGD with Nesterov momentum under a triangular learning rate that peaks at `learning_rate`.

    `weight_decay` acts on kernels only. `crop_padding` is the largest shift of a training image, in pixels; what it
    uncovers is filled by reflection. `flip` mirrors half of them left to right. Raises `ConfigError` for values out
    of range.
    """

    epochs: int = 8
    batch_size: int = 64
    learning_rate: float = 0.2
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    flip: bool = False
    crop_padding: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2:
            raise ConfigError("a recipe needs epochs >= 1 and batch_size >= 2; raise them")
        if self.learning_rate <= 0 or self.weight_decay < 0:
            raise ConfigError("a recipe needs learning_rate > 0 and weight_decay >= 0; raise them")
        if not 0 <= self.label_smoothing < 1 or self.crop_padding < 0:
            raise ConfigError("a recipe needs label_smoothing in [0, 1) and crop_padding >= 0; correct them")


def applied(recipe: Recipe, choice: RecipeChoice) -> Recipe:
    """`recipe` with the training agent's choice; the choice of 100 % each is `recipe` itself."""
    smoothing = _share(recipe.label_smoothing, choice.label_smoothing_percent)
    return replace(
        recipe,
        learning_rate=_share(recipe.learning_rate, choice.learning_rate_percent),
        weight_decay=_share(recipe.weight_decay, choice.weight_decay_percent),
        label_smoothing=min(smoothing, max(recipe.label_smoothing, MOST_SMOOTHING)),
    )


def _share(configured: float, percent: int) -> float:
    """Exactly `configured` for 100 %, and half, a quarter or twice of it without rounding."""
    return configured * (percent / 100)
