"""Where each tensor lies in the arena, and how large the arena must be.

Placement is that of TensorFlow Lite Micro's `GreedyMemoryPlanner` (tflite-micro, `micro/memory_planner/
greedy_memory_planner.cc`; lifetimes as in `micro/micro_allocation_info.cc`): buffers by descending size, later ones of
equal size first, each at the lowest offset that no buffer alive at the same time covers; sizes in multiples of 16
bytes. `arena_bytes` therefore equals the `head` that TFLM's recording allocator reports with the reference kernels.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain

from automcu.graph.int8 import Int8Graph
from automcu.graph.kernel_sets import SCRATCH, KernelSet

ALIGNMENT = 16
"""Bytes; TFLM's `MicroArenaBufferAlignment()`."""
_MERGE_EVERY = 16
"""Placements at one time, after which touching ones are counted as one."""


@dataclass(frozen=True, slots=True)
class ScratchBuffer:
    """Memory that the operator of that index needs while it runs, one of several such buffers perhaps; offset in the
    arena and size are in bytes."""

    operator: int
    offset: int
    bytes: int


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """A placement of all tensors. Times are operator indices; -1 is before the first operator.

    `offsets[i]` (bytes) and `lifetimes[i]` (first and last time, both included) belong to `graph.tensors[i]`;
    `scratch` holds the operators' own buffers, in operator order. `lower_bound_bytes` is what is alive at the worst
    operator; no placement can do with less, and `arena_bytes` exceeds it where gaps are left. `binding_operator` is
    that worst operator (the first such), `binding_tensors` are the tensors alive there, `scratch_bytes` is what the
    operator's own scratch buffers take there.
    """

    offsets: tuple[int, ...]
    lifetimes: tuple[tuple[int, int], ...]
    scratch: tuple[ScratchBuffer, ...]
    arena_bytes: int
    lower_bound_bytes: int
    binding_operator: int
    binding_tensors: tuple[int, ...]
    scratch_bytes: int


def plan_memory(graph: Int8Graph, *, in_place_add: bool = False, kernels: KernelSet = "tflm") -> MemoryPlan:
    """The placement of the tensors of `graph`, which has at least one operator, with the scratch buffers of `kernels`.

    With `in_place_add`, the output of an ADD lies where one of its operands lies, if that operand has the output's size
    and is read by no one later; the two then have the same offset, and are counted once at that operator. Element i of
    the sum is written after element i of both operands has been read, so one operand may even be added to itself.
    Buffers that live on in this way are longer-lived, and greedy placement may leave more gaps between them: the
    better of the two plans is returned, the plain one when they are equal. The arena is thus never larger than the
    plain one; nothing is promised about how much smaller it is.

    Takes n log n steps for n tensors, as long as few different last uses fall into the lifetime of any one of them, as
    in chains, with skips, and where many branches meet in one operator.
    """
    first, last = _lifetimes(graph)
    scratch = [
        (time, _aligned(size))
        for time, operator in enumerate(graph.operators)
        for size in SCRATCH[kernels](graph, operator)
    ]
    plain = _plan(graph, first, last, {}, scratch)
    homes = _homes(graph, last) if in_place_add else {}
    if not homes:
        return plain
    return min(plain, _plan(graph, first, last, homes, scratch), key=lambda plan: plan.arena_bytes)


def place_buffers(sizes: Sequence[int], first: Sequence[int], last: Sequence[int]) -> tuple[list[int], int]:
    """Greedy placement: the offset of each buffer, and the end of the highest, which is 0 without buffers.

    Buffer i has `sizes[i]` bytes, which the caller has raised to a multiple of the alignment, and is alive from time
    `first[i]` to time `last[i]`, both included. Buffers alive at the same time never overlap. The rule is that of the
    module's head.
    """
    # Two buffers meet exactly when the last time of some buffer lies in both lifetimes, so only such times are kept.
    times = sorted(set(last))
    taken: list[list[tuple[int, int]]] = [[] for _ in times]  # begin and end of what is placed there
    offsets = [0] * len(sizes)
    arena = 0
    for buffer in sorted(range(len(sizes) - 1, -1, -1), key=sizes.__getitem__, reverse=True):
        size = sizes[buffer]
        lifetime = taken[bisect_left(times, first[buffer]) : bisect_left(times, last[buffer]) + 1]
        offset = 0
        for begin, end in sorted(chain.from_iterable(lifetime)):
            if begin - offset >= size:
                break
            if end > offset:
                offset = end
        offsets[buffer] = offset
        end = offset + size
        if end > arena:
            arena = end
        for spans in lifetime:
            spans.append((offset, end))
            if len(spans) % _MERGE_EVERY == 0:
                spans[:] = _merged(spans)
    return offsets, arena


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same bytes in as few spans as possible; what is placed at one time does not overlap."""
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if merged and begin == merged[-1][1]:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((begin, end))
    return merged


def _lifetimes(graph: Int8Graph) -> tuple[list[int], list[int]]:
    """First and last time of every tensor."""
    first = [-1] * len(graph.tensors)
    last = [-1] * len(graph.tensors)
    for time, operator in enumerate(graph.operators):
        first[operator.output] = last[operator.output] = time
        for tensor in operator.inputs:
            last[tensor] = time
    for tensor in graph.outputs:
        last[tensor] = len(graph.operators) - 1
    return first, last


def _homes(graph: Int8Graph, last: list[int]) -> dict[int, int]:
    """For each sum that can lie in an operand's place: the tensor whose place that is, itself perhaps a sum's home."""
    homes: dict[int, int] = {}
    for time, operator in enumerate(graph.operators):
        if operator.kind != "ADD":
            continue
        size = graph.tensors[operator.output].bytes
        for operand in operator.inputs:
            if last[operand] == time and operand not in graph.outputs and graph.tensors[operand].bytes == size:
                homes[operator.output] = homes.get(operand, operand)
                break
    return homes


def _plan(
    graph: Int8Graph, first: list[int], last: list[int], homes: dict[int, int], scratch: list[tuple[int, int]]
) -> MemoryPlan:
    """The plan where each tensor that is a key of `homes` lies in the place of another one; `scratch` holds operator
    and size of each scratch buffer, in operator order."""
    sizes = [_aligned(tensor.bytes) for tensor in graph.tensors]
    freed = last.copy()
    for tensor, home in homes.items():
        sizes[tensor] = 0
        freed[home] = last[tensor]  # sums that share a home come in operator order, the longest-lived last
    times = [time for time, _ in scratch]
    alive = _alive_bytes(sizes, first, freed, scratch, len(graph.operators))
    lower_bound = max(alive)
    binding = alive.index(lower_bound)
    offsets, arena = place_buffers([*sizes, *(size for _, size in scratch)], [*first, *times], [*freed, *times])
    for tensor, home in homes.items():
        offsets[tensor] = offsets[home]
    return MemoryPlan(
        offsets=tuple(offsets[: len(sizes)]),
        lifetimes=tuple(zip(first, last, strict=True)),
        scratch=tuple(
            [
                ScratchBuffer(time, offset, size)
                for (time, size), offset in zip(scratch, offsets[len(sizes) :], strict=True)
            ]
        ),
        arena_bytes=arena,
        lower_bound_bytes=lower_bound,
        binding_operator=binding,
        binding_tensors=tuple([i for i in range(len(sizes)) if first[i] <= binding <= last[i]]),
        scratch_bytes=sum(size for time, size in scratch if time == binding),
    )


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _alive_bytes(
    sizes: list[int], first: list[int], last: list[int], scratch: list[tuple[int, int]], count: int
) -> list[int]:
    """Bytes alive at each operator. Nothing is alive before the first operator alone that is not alive at it too."""
    change = [0] * (count + 1)
    for size, begin, end in zip(sizes, first, last, strict=True):
        change[begin if begin > 0 else 0] += size
        change[end + 1] -= size
    for time, size in scratch:
        change[time] += size
        change[time + 1] -= size
    return list(accumulate(change[:-1]))
