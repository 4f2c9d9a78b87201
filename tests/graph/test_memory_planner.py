"""The planner against a literal transcription of TFLM's greedy planner and against the laws of memory."""

import random
from math import prod

from hypothesis import given, settings
from hypothesis import strategies as st

from automcu.errors import InvalidArchitecture
from automcu.graph.int8 import Int8Graph, Operator, Tensor
from automcu.graph.lowering import lower
from automcu.graph.network import INPUT, Add, Conv, Dense, GlobalAveragePool, Network
from automcu.graph.planner import MemoryPlan, plan_memory
from tests.graph.networks import random_network


@st.composite
def graphs(draw: st.DrawFn) -> Int8Graph:
    """Random wirings of operators without meaning: any operator reads any earlier tensors."""
    size = st.integers(1, 300)
    tensors = [Tensor("t", (1, draw(size)), "int8")]
    operators = []
    for _ in range(draw(st.integers(1, 14))):
        inputs = tuple(draw(st.lists(st.integers(0, len(tensors) - 1), min_size=1, max_size=3)))
        kind = draw(st.sampled_from(("ADD", "ADD", "ADD", "MEAN")))
        operators.append(Operator(f"o{len(tensors)}", kind, inputs, len(tensors)))
        tensors.append(Tensor("t", (1, draw(size)), "int8"))
    return Int8Graph(tuple(tensors), tuple(operators), (0,), (len(tensors) - 1,))


def buffers(graph: Int8Graph, plan: MemoryPlan) -> list[tuple[int, int, int]]:
    """Aligned size, first and last time of every tensor, then of every scratch buffer."""
    found = [
        (-(-tensor.bytes // 16) * 16, *lifetime) for tensor, lifetime in zip(graph.tensors, plan.lifetimes, strict=True)
    ]
    for time, operator in enumerate(graph.operators):
        if operator.kind == "MEAN":
            found.append((-(-4 * prod(graph.tensors[operator.output].shape) // 16) * 16, time, time))
    return found


def tflm_greedy(wanted: list[tuple[int, int, int]]) -> list[int]:
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


@given(graphs())
def test_placement_is_tflms(graph: Int8Graph) -> None:
    plan = plan_memory(graph)
    wanted = buffers(graph, plan)
    expected = tflm_greedy(wanted)
    assert list(plan.offsets) == expected[: len(graph.tensors)]
    assert plan.arena_bytes == max(offset + size for offset, (size, _, _) in zip(expected, wanted, strict=True))


@given(graphs())
def test_tensors_alive_together_do_not_overlap(graph: Int8Graph) -> None:
    plan = plan_memory(graph)
    wanted = buffers(graph, plan)
    placed = list(zip(plan.offsets, wanted[: len(graph.tensors)], strict=True))
    for i, (offset, (size, first, last)) in enumerate(placed):
        assert offset % 16 == 0 and offset + size <= plan.arena_bytes
        for other_offset, (other_size, other_first, other_last) in placed[:i]:
            together = first <= other_last and other_first <= last
            assert not together or offset + size <= other_offset or other_offset + other_size <= offset


@given(graphs())
def test_binding_operator_makes_the_lower_bound(graph: Int8Graph) -> None:
    plan = plan_memory(graph)
    wanted = buffers(graph, plan)
    alive = [sum(size for size, first, last in wanted if first <= time <= last) for time in range(len(graph.operators))]
    assert plan.lower_bound_bytes == max(alive) <= plan.arena_bytes
    assert alive[plan.binding_operator] == max(alive)
    at_peak = sum(wanted[index][0] for index in plan.binding_tensors) + plan.scratch_bytes
    assert at_peak == plan.lower_bound_bytes


@given(st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_lifetimes_follow_the_operators(rng: random.Random) -> None:
    try:
        graph = lower(random_network(rng, rng.randint(1, 12)))
    except InvalidArchitecture:
        return
    lifetimes = plan_memory(graph).lifetimes
    for time, operator in enumerate(graph.operators):
        assert lifetimes[operator.output][0] == time
        assert all(lifetimes[index][1] >= time for index in operator.inputs)
    assert lifetimes[graph.inputs[0]][0] == -1
    assert lifetimes[graph.outputs[0]][1] == len(graph.operators) - 1


def test_a_skip_is_counted_at_the_peak() -> None:
    network = Network(
        (8, 8, 4),
        (
            Conv("stem", INPUT, 8, 3, 1, "relu"),
            Conv("inner", "stem", 16, 3, 1, "relu"),
            Conv("outer", "inner", 8, 1, 1, "none"),
            Add("sum", "outer", "stem", "relu"),
            GlobalAveragePool("pool", "sum"),
            Dense("logits", "pool", 4, "none"),
        ),
    )
    plan = plan_memory(lower(network))
    assert plan.lower_bound_bytes == 64 * (8 + 16 + 8) == plan.arena_bytes
    assert plan.binding_operator == 2
    assert plan.binding_tensors == (1, 2, 3)
