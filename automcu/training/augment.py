"""Batches of training images, made on the device from one uint8 tensor that stays there.

All chance comes from a generator on the CPU, so that a seed means the same on every device.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from automcu.training.model import normalise
from automcu.training.recipe import Recipe


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Normalised images (N, C, H, W) and their labels; where they are blended, each is `share` of itself and the rest
    of the image with label `other_labels`."""

    images: Tensor
    labels: Tensor
    other_labels: Tensor
    share: float


def batch_of(images: Tensor, labels: Tensor, chosen: Tensor, recipe: Recipe, generator: torch.Generator) -> Batch:
    """The `chosen` of all images (uint8, NHWC) and labels, augmented as the recipe says."""
    pixels = normalise(_shifted(images, chosen, recipe, generator))
    found = labels[chosen.to(labels.device)]
    if recipe.cutout:
        pixels = pixels * _outside_square(pixels, recipe.cutout, generator)
    if not recipe.mixup:
        return Batch(pixels, found, found, 1.0)
    # torch draws from no Beta distribution with a generator of one's own.
    seed = int(torch.randint(2**62, (1,), generator=generator))
    share = float(np.random.default_rng(seed).beta(recipe.mixup, recipe.mixup))
    return Batch(torch.lerp(pixels.flip(0), pixels, share), found, found.flip(0), share)


def _shifted(images: Tensor, chosen: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """The chosen images, each shifted and mirrored at random: one gather by row and column."""
    rows = _positions(images.shape[1], len(chosen), recipe.crop_padding, generator)
    columns = _positions(images.shape[2], len(chosen), recipe.crop_padding, generator)
    if recipe.flip:
        mirrored = torch.rand(len(chosen), 1, generator=generator) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    where = (chosen[:, None, None], rows[:, :, None], columns[:, None, :])
    return images[tuple(index.to(images.device) for index in where)]


def _positions(extent: int, count: int, padding: int, generator: torch.Generator) -> Tensor:
    """For each of `count` images the `extent` source positions of a crop, reflected at the borders."""
    shift = torch.randint(-padding, padding + 1, (count, 1), generator=generator)
    last = extent - 1
    return (last - (last - (torch.arange(extent) + shift).abs()).abs()).clamp(min=0)


def _outside_square(pixels: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """(N, 1, H, W): 0 in a square around a random pixel of each image, 1 outside; squares may lie across the border."""
    inside = []
    for extent in pixels.shape[2:]:
        first = torch.randint(extent, (len(pixels), 1), generator=generator) - side // 2
        position = torch.arange(extent)
        inside.append((position >= first) & (position < first + side))
    outside = ~(inside[0][:, None, :, None] & inside[1][:, None, None, :])
    return outside.to(pixels.device, pixels.dtype)
