"""Pareto dominance, all objectives minimised."""

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def dominates(left: Sequence[float], right: Sequence[float]) -> bool:
    """Whether `left` is nowhere worse than `right` and somewhere better."""
    return all(a <= b for a, b in zip(left, right, strict=True)) and any(
        a < b for a, b in zip(left, right, strict=True)
    )


def pareto_front(items: Sequence[T], objectives: Callable[[T], Sequence[float]]) -> list[T]:
    """The items that no other dominates, in their order; equals stay side by side. O(n^2) in the number of items."""
    points = [objectives(item) for item in items]
    return [
        item for item, point in zip(items, points, strict=True) if not any(dominates(other, point) for other in points)
    ]
