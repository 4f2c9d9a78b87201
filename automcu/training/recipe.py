"""How a network is trained: the numbers of a schedule."""

from dataclasses import dataclass, replace
from typing import Literal

from automcu.errors import ConfigError
from automcu.messages import RecipeChoice

MOST_SMOOTHING = 0.5
"""Label smoothing to which a choice may raise the configured one."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a training does.

    `optimizer` is SGD with Nesterov momentum, or AdamW; the learning rate peaks at `learning_rate` (`schedule`, see
    `optimizer.share_of_peak`). `weight_decay` acts on kernels only. `averaging` is the decay, by step, of an
    exponential moving average of the weights, which then is what is validated and kept; 0 keeps the last weights.
    `bfloat16` computes convolutions in bfloat16 where the processor is faster in it; all else is float32.

    Training images: `shares` are the shares of all images that the first epochs see, the first of them in their order,
    so that a search may look at a candidate before it has paid for whole epochs; later epochs see all. `crop_padding`
    is the largest shift, in pixels; what it uncovers is filled by reflection. `flip` mirrors half of them left to
    right. `cutout` is the side, in pixels, of a square greyed out in each (arXiv 1708.04552), 0 for none. `mixup` is
    the parameter of the Beta distribution by which pairs are blended (arXiv 1710.09412), 0 for not at all.

    `distillation` is the share of the loss that is the distance from what a teacher says of the same augmented images,
    both softened by `temperature` (arXiv 1503.02531, 2106.05237); the rest is that from the labels. Raises
    `ConfigError` for values out of range.
    """

    epochs: int = 8
    batch_size: int = 64
    optimizer: Literal["sgd", "adamw"] = "sgd"
    schedule: Literal["triangle", "cosine"] = "triangle"
    learning_rate: float = 0.2
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    averaging: float = 0.0
    bfloat16: bool = False
    shares: tuple[float, ...] = ()
    flip: bool = False
    crop_padding: int = 0
    cutout: int = 0
    mixup: float = 0.0
    distillation: float = 0.0
    temperature: float = 4.0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2:
            raise ConfigError("a recipe needs epochs >= 1 and batch_size >= 2; raise them")
        if self.learning_rate <= 0 or self.weight_decay < 0:
            raise ConfigError("a recipe needs learning_rate > 0 and weight_decay >= 0; raise them")
        if not 0 <= self.label_smoothing < 1 or not 0 <= self.averaging < 1:
            raise ConfigError("a recipe needs label_smoothing and averaging in [0, 1); correct them")
        if len(self.shares) > self.epochs or not all(0 < share <= 1 for share in self.shares):
            raise ConfigError("a recipe needs shares in (0, 1], no more of them than epochs; correct them")
        if self.crop_padding < 0 or self.cutout < 0 or self.mixup < 0:
            raise ConfigError("a recipe needs crop_padding, cutout and mixup >= 0; raise them")
        if not 0 <= self.distillation <= 1 or self.temperature <= 0:
            raise ConfigError("a recipe needs distillation in [0, 1] and temperature > 0; correct them")

    @property
    def shares_by_epoch(self) -> tuple[float, ...]:
        """The share of the images that each epoch sees."""
        return (*self.shares, *[1.0] * (self.epochs - len(self.shares)))


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
