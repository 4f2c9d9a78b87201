"""Where each tensor lies in the arena, and how large the arena must be.

Placement is that of TensorFlow Lite Micro's `GreedyMemoryPlanner` (tflite-micro, `micro/memory_planner/
greedy_memory_planner.cc`; lifetimes as in `micro/micro_allocation_info.cc`): buffers by descending size, later ones of
equal size first, each at the lowest offset that no buffer alive at the same time covers; sizes in multiples of 16
bytes. `arena_bytes` therefore equals the `head` that TFLM's recording allocator reports with the reference kernels.
"""

from dataclasses import dataclass
from math import prod

from automcu.graph.int8 import Int8Graph

ALIGNMENT = 16
"""Bytes; TFLM's `MicroArenaBufferAlignment()`."""


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """A placement of all tensors. Times are operator indices; -1 is before the first operator.

    `offsets[i]` (bytes) and `lifetimes[i]` (first and last time, both included) belong to `graph.tensors[i]`.
    `lower_bound_bytes` is what the tensors alive at the worst operator need; no placement can do with less, and
    `arena_bytes` exceeds it where gaps are left. `binding_operator` is that worst operator (the first such),
    `binding_tensors` are the tensors alive there, `scratch_bytes` the operator's own scratch buffer there.
    """

    offsets: tuple[int, ...]
    lifetimes: tuple[tuple[int, int], ...]
    arena_bytes: int
    lower_bound_bytes: int
    binding_operator: int
    binding_tensors: tuple[int, ...]
    scratch_bytes: int


def plan_memory(graph: Int8Graph) -> MemoryPlan:
    """The placement of the tensors of `graph`, which has at least one operator.

    Takes n log n steps for n tensors, as long as the number alive at one time is bounded.
    """
    count = len(graph.operators)
    first = [-1] * len(graph.tensors)
    last = [-1] * len(graph.tensors)
    scratch: dict[int, int] = {}
    for time, operator in enumerate(graph.operators):
        first[operator.output] = last[operator.output] = time
        for tensor in operator.inputs:
            last[tensor] = time
        if operator.kind == "MEAN":  # TFLM's reference kernel sums in int32
            scratch[time] = _aligned(4 * prod(graph.tensors[operator.output].shape))
    for tensor in graph.outputs:
        last[tensor] = count - 1
    sizes = [_aligned(tensor.bytes) for tensor in graph.tensors]
    alive = _alive_bytes(sizes, first, last, scratch, count)
    binding = max(range(count), key=alive.__getitem__)
    offsets, arena = _place(sizes + list(scratch.values()), first + list(scratch), last + list(scratch))
    return MemoryPlan(
        offsets=tuple(offsets[: len(graph.tensors)]),
        lifetimes=tuple(zip(first, last, strict=True)),
        arena_bytes=arena,
        lower_bound_bytes=alive[binding],
        binding_operator=binding,
        binding_tensors=tuple(i for i in range(len(sizes)) if first[i] <= binding <= last[i]),
        scratch_bytes=scratch.get(binding, 0),
    )


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _alive_bytes(sizes: list[int], first: list[int], last: list[int], scratch: dict[int, int], count: int) -> list[int]:
    """Bytes alive at each operator. Nothing is alive before the first operator alone that is not alive at it too."""
    change = [0] * (count + 1)
    for size, begin, end in zip(sizes, first, last, strict=True):
        change[max(begin, 0)] += size
        change[end + 1] -= size
    alive = []
    total = 0
    for time in range(count):
        total += change[time]
        alive.append(total + scratch.get(time, 0))
    return alive


def _place(sizes: list[int], first: list[int], last: list[int]) -> tuple[list[int], int]:
    """Offset of each buffer, and the end of the highest."""
    offsets = [0] * len(sizes)
    placed: list[list[tuple[int, int, int]]] = [[] for _ in range(max(last) + 2)]  # by time; (offset, end, buffer)
    arena = 0
    for buffer in sorted(range(len(sizes)), key=lambda i: (-sizes[i], -i)):
        size = sizes[buffer]
        times = range(first[buffer] + 1, last[buffer] + 2)
        neighbours = set().union(*(placed[time] for time in times))
        offset = 0
        for begin, end, _ in sorted(neighbours):
            if begin - offset >= size:
                break
            offset = max(offset, end)
        offsets[buffer] = offset
        arena = max(arena, offset + size)
        for time in times:
            placed[time].append((offset, offset + size, buffer))
    return offsets, arena
