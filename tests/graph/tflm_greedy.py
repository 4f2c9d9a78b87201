"""TFLM's greedy planner, transcribed step by step: what the planner is held against."""

from math import prod

from automcu.graph.int8 import Int8Graph
from automcu.graph.planner import MemoryPlan

Buffer = tuple[int, int, int]
"""Size in bytes, first and last time."""


def aligned_buffers(graph: Int8Graph, plan: MemoryPlan) -> list[Buffer]:
    """Aligned size, first and last time of every tensor, then of every scratch buffer."""
    found = [
        (-(-tensor.bytes // 16) * 16, *lifetime) for tensor, lifetime in zip(graph.tensors, plan.lifetimes, strict=True)
    ]
    for time, operator in enumerate(graph.operators):
        if operator.kind == "MEAN":
            found.append((-(-4 * prod(graph.tensors[operator.output].shape) // 16) * 16, time, time))
        if operator.kind in ("MEAN", "REDUCE_MAX"):
            found += [(16, time, time)] * 2
    return found


def tflm_greedy(wanted: list[Buffer]) -> list[int]:
    """Offsets by `GreedyMemoryPlanner::CalculateOffsetsIfNeeded`, as written there, bubble sort and all."""
    ids = list(reversed(range(len(wanted))))
    swapped = True
    while swapped:
        swapped = False
        for i in range(1, len(ids)):
            if wanted[ids[i - 1]][0] < wanted[ids[i]][0]:
                ids[i - 1], ids[i] = ids[i], ids[i - 1]
                swapped = True
    placed: list[tuple[int, int]] = []  # (offset, buffer), sorted by offset, equal offsets in order of insertion
    offsets = [0] * len(wanted)
    for buffer in ids:
        size, first, last = wanted[buffer]
        candidate, prior = 0, None
        for offset, other in [p for p in placed if not (wanted[p[1]][1] > last or wanted[p[1]][2] < first)]:
            if prior is not None:
                candidate = max(candidate, prior[0] + wanted[prior[1]][0])
            if offset - candidate >= size:
                break
            prior = (offset, other)
        else:
            if prior is not None:
                candidate = max(candidate, prior[0] + wanted[prior[1]][0])
        offsets[buffer] = candidate
        at = next((i for i, p in enumerate(placed) if p[0] > candidate), len(placed))
        placed.insert(at, (candidate, buffer))
    return offsets
