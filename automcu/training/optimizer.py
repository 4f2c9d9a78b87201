"""How weights move: two optimizers, the schedule of the learning rate, the average over the steps.

The updates are those of `torch.optim`, against which they are tested. They are our own because the first optimizer of
`torch.optim` in a process loads torch's compiler, which takes seconds: far longer than a step, and every trial is a
process.
"""

from collections.abc import Iterable
from math import cos, pi
from typing import Literal

import torch
from torch import Tensor, nn

MOST_GRADIENT_NORM = 5.0
"""Gradients longer than this, all parameters together, are shortened to it (arXiv 1211.5063)."""

_MOMENTUM = 0.9
_BETAS = (0.9, 0.999)
_EPSILON = 1e-8


def share_of_peak(schedule: Literal["triangle", "cosine"], progress: float) -> float:
    """Share of the peak learning rate once `progress` of all steps are done. Both begin at a tenth and end at zero:
    `triangle` rises over the first quarter and falls in a line; `cosine` rises over a twentieth and falls as half a
    cosine (arXiv 1608.03983)."""
    warm_up = 0.25 if schedule == "triangle" else 0.05
    if progress < warm_up:
        return 0.1 + 0.9 * progress / warm_up
    left = (1 - progress) / (1 - warm_up)
    return left if schedule == "triangle" else (1 - cos(pi * left)) / 2


class Optimizer:
    """What both optimizers share: gradients shortened and taken off the parameters; decay on kernels only."""

    slots: int
    """Tensors of state that each parameter has."""

    def __init__(self, parameters: Iterable[Tensor], weight_decay: float) -> None:
        self._parameters = list(parameters)
        self._decays = [parameter.ndim > 1 for parameter in self._parameters]
        self._weight_decay = weight_decay
        self.state = [[torch.zeros_like(one) for one in self._parameters] for _ in range(self.slots)]
        """By slot and parameter: all that the next step depends on, beside the weights and the count of steps."""

    @torch.no_grad()
    def step(self, rate: float, count: int) -> None:
        """Move by the gradients with learning rate `rate` and drop them; it is step number `count`, from 1."""
        gradients = [one.grad if one.grad is not None else torch.zeros_like(one) for one in self._parameters]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        torch._foreach_mul_(gradients, (MOST_GRADIENT_NORM / (norm + 1e-6)).clamp(max=1.0))
        self._move(gradients, rate, count)
        for parameter in self._parameters:
            parameter.grad = None

    def _move(self, gradients: list[Tensor], rate: float, count: int) -> None:
        raise NotImplementedError

    def _decaying(self, values: Iterable[Tensor]) -> list[Tensor]:
        return [value for value, decays in zip(values, self._decays, strict=True) if decays]


class NesterovSGD(Optimizer):
    """`torch.optim.SGD(momentum=0.9, nesterov=True)`."""

    slots = 1

    def _move(self, gradients: list[Tensor], rate: float, count: int) -> None:
        (velocity,) = self.state
        torch._foreach_add_(self._decaying(gradients), self._decaying(self._parameters), alpha=self._weight_decay)
        torch._foreach_mul_(velocity, _MOMENTUM)
        torch._foreach_add_(velocity, gradients)
        torch._foreach_add_(gradients, velocity, alpha=_MOMENTUM)
        torch._foreach_add_(self._parameters, gradients, alpha=-rate)


class AdamW(Optimizer):
    """`torch.optim.AdamW` (arXiv 1711.05101) with its usual betas."""

    slots = 2

    def _move(self, gradients: list[Tensor], rate: float, count: int) -> None:
        mean, square = self.state
        torch._foreach_mul_(self._decaying(self._parameters), 1 - rate * self._weight_decay)
        torch._foreach_lerp_(mean, gradients, 1 - _BETAS[0])
        torch._foreach_mul_(square, _BETAS[1])
        torch._foreach_addcmul_(square, gradients, gradients, 1 - _BETAS[1])
        spread = torch._foreach_sqrt(square)
        torch._foreach_div_(spread, (1 - _BETAS[1] ** count) ** 0.5)
        torch._foreach_add_(spread, _EPSILON)
        torch._foreach_addcdiv_(self._parameters, mean, spread, -rate / (1 - _BETAS[0] ** count))


class Average:
    """An exponential moving average of a model's weights and statistics, kept in a model of its own.

    The decay grows to `decay` with the steps, so that the random start is soon forgotten.
    """

    def __init__(self, model: nn.Module, average: nn.Module, decay: float) -> None:
        self._decay = decay
        self._pairs = [
            (kept, new)
            for kept, new in zip(average.state_dict().values(), model.state_dict().values(), strict=True)
            if kept.is_floating_point()
        ]
        with torch.no_grad():
            for kept, new in self._pairs:
                kept.copy_(new)

    @torch.no_grad()
    def update(self, count: int) -> None:
        """Take in the weights after step number `count`, from 1."""
        share = 1 - min(self._decay, (1 + count) / (10 + count))
        kept, new = zip(*self._pairs, strict=True)
        torch._foreach_lerp_(list(kept), list(new), share)
