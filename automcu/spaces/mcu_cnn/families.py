"""Shapes of network that are known to be good on small images, in all widths.

A network of a family has levels, from the input's resolution (large inputs are halved at once) down to maps of 4 to 8,
and grows wider by the same factor from level to level, by `_LEAST_GROWTH` in all at least. So two numbers say all: the
width of the first level decides the RAM and most of the work, that of the last one most of the weights.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, get_args

from automcu.architecture import Architecture, Shape
from automcu.spaces.mcu_cnn.description import (
    Channels,
    ConvStage,
    InvertedStage,
    McuCnn,
    PoolStage,
    ResidualStage,
    SeparableStage,
    Stage,
    Stride,
)
from automcu.spaces.mcu_cnn.moves import LARGE_INPUT

_LAST_EXTENT = 8
_WIDTHS: tuple[Channels, ...] = get_args(Channels)
_MOST_FIRST = 64
_MOST_LEVELS = 5
_LEAST_GROWTH = 1.5


def families(input_shape: Shape) -> Mapping[str, Sequence[Sequence[Architecture]]]:
    """All families for the input shape, see `Space.families`."""
    extent = min(input_shape[:2])
    stride: Stride = 2 if extent > LARGE_INPUT else 1
    extent = -(-extent // stride)
    halvings = max(math.ceil(math.log2(extent / _LAST_EXTENT)), min(1, extent - 1))
    levels = min(1 + halvings, _MOST_LEVELS)  # a network has at most MAX_STAGES stages
    return {
        name: [
            [
                McuCnn(tuple(stages(_between(first, last, levels), stride)), hidden_units=0).architecture
                for last in (_WIDTHS if levels > 1 else (first,))
            ]
            for first in _WIDTHS
            if first <= _MOST_FIRST
        ]
        for name, stages in _FAMILIES.items()
    }


def _between(first: Channels, last: Channels, levels: int) -> list[Channels]:
    """The widths of all levels."""
    growth = max(last / first, _LEAST_GROWTH) ** (1 / max(levels - 1, 1))
    wanted = [first * growth**level for level in range(levels)]
    return [min(_WIDTHS, key=lambda width: abs(width - exact)) for exact in wanted]


def _plain(widths: Sequence[Channels], stride: Stride) -> Iterator[Stage]:
    """Two convolutions at each level (VGG, arXiv 1409.1556)."""
    yield _conv(widths[0], stride)
    yield _conv(widths[0], 1)
    for width in widths[1:]:
        yield PoolStage(block="max_pool", kernel=2)
        yield _conv(width, 1, repeats=2)


def _residual(widths: Sequence[Channels], stride: Stride) -> Iterator[Stage]:
    """One residual block at each level (ResNet-8 of MLPerf Tiny, arXiv 2106.07597)."""
    yield _conv(widths[0], stride)
    yield _block(widths[0], 1)
    for width in widths[1:]:
        yield _block(width, 2)


def _pooled_residual(widths: Sequence[Channels], stride: Stride) -> Iterator[Stage]:
    """Plain convolutions where maps are large, residual blocks where they are small, the last level one deeper: the
    costly level is kept short."""
    yield _conv(widths[0], stride)
    yield _conv(widths[0], 1)
    for level, width in enumerate(widths[1:], start=1):
        if level == 1:
            yield PoolStage(block="max_pool", kernel=2)
        yield _block(width, 1 if level == 1 else 2, repeats=2 if level == len(widths) - 1 else 1)


def _separable(widths: Sequence[Channels], stride: Stride) -> Iterator[Stage]:
    """Depthwise separable convolutions (MobileNet, arXiv 1704.04861)."""
    yield _conv(widths[0], stride)
    for level, width in enumerate(widths):
        yield SeparableStage(channels=width, kernel=3, stride=2 if level else 1, repeats=2, activation="relu")


def _inverted(widths: Sequence[Channels], stride: Stride) -> Iterator[Stage]:
    """Inverted bottlenecks (MobileNetV2, arXiv 1801.04381), as there without expansion where maps are largest."""
    yield _conv(widths[0], stride)
    for level, width in enumerate(widths):
        yield InvertedStage(
            channels=width,
            kernel=3,
            stride=2 if level else 1,
            expansion=3 if level else 1,
            repeats=2 if level else 1,
            activation="relu",
        )


_FAMILIES: Mapping[str, Callable[[Sequence[Channels], Stride], Iterator[Stage]]] = {
    "plain": _plain,
    "residual": _residual,
    "pooled residual": _pooled_residual,
    "separable": _separable,
    "inverted": _inverted,
}


def _conv(channels: Channels, stride: Stride, repeats: Literal[1, 2] = 1) -> ConvStage:
    return ConvStage(channels=channels, kernel=3, stride=stride, repeats=repeats, activation="relu")


def _block(channels: Channels, stride: Stride, repeats: Literal[1, 2] = 1) -> ResidualStage:
    return ResidualStage(channels=channels, kernel=3, stride=stride, repeats=repeats, activation="relu")
