"""The planner against a literal transcription of TFLM's greedy planner and against the laws of memory."""

import random
from itertools import combinations, permutations
from pathlib import Path
from time import process_time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from automcu.errors import InvalidArchitecture
from automcu.graph.int8 import Int8Graph, Operator, Tensor
from automcu.graph.lowering import lower
from automcu.graph.network import INPUT, Add, Concat, Conv, Dense, GlobalAveragePool, Layer, Network
from automcu.graph.planner import MemoryPlan, ScratchBuffer, place_buffers, plan_memory
from automcu.graph.tflite.reader import read_tflite
from tests.graph.networks import chain_network, random_network
from tests.graph.shared_models import tflm_heads
from tests.graph.tflm_greedy import Buffer, aligned_buffers, tflm_greedy

CONVERTED = Path(__file__).parent / "converted"
ANY_SIZE = st.integers(1, 300)
ALIKE = st.sampled_from((16, 30, 32, 80, 160))
"""Few sizes, so that sums often have the size of an operand."""


@st.composite
def graphs(draw: st.DrawFn, most: int = 14, size: st.SearchStrategy[int] = ANY_SIZE) -> Int8Graph:
    """Random wirings of operators without meaning: any operator reads any earlier tensors."""
    tensors = [Tensor("t", (1, draw(size)), "int8")]
    operators = []
    for _ in range(draw(st.integers(1, most))):
        inputs = tuple(draw(st.lists(st.integers(0, len(tensors) - 1), min_size=1, max_size=3)))
        kind = draw(st.sampled_from(("ADD", "ADD", "ADD", "MEAN", "REDUCE_MAX")))
        operators.append(Operator(f"o{len(tensors)}", kind, inputs, len(tensors)))
        tensors.append(Tensor("t", (1, draw(size)), "int8"))
    outputs = draw(st.sets(st.integers(0, len(tensors) - 1), max_size=2)) | {len(tensors) - 1}
    return Int8Graph(tuple(tensors), tuple(operators), (0,), tuple(sorted(outputs)))


@given(graphs())
def test_placement_is_tflms(graph: Int8Graph) -> None:
    plan = plan_memory(graph)
    wanted = aligned_buffers(graph, plan)
    expected = tflm_greedy(wanted)
    assert [*plan.offsets, *(buffer.offset for buffer in plan.scratch)] == expected
    assert [(buffer.bytes, buffer.operator, buffer.operator) for buffer in plan.scratch] == wanted[len(graph.tensors) :]
    assert plan.arena_bytes == max(offset + size for offset, (size, _, _) in zip(expected, wanted, strict=True))


@given(st.randoms(use_true_random=False), st.integers(1, 150), st.sampled_from((3, 20, 200)))
@settings(max_examples=50)
def test_placement_of_many_buffers_is_tflms(rng: random.Random, count: int, longest: int) -> None:
    wanted: list[Buffer] = []
    for _ in range(count):
        first = rng.randint(-1, 60)
        wanted.append((16 * rng.randint(1, 12), first, first + rng.randint(0, longest)))
    sizes, first, last = zip(*wanted, strict=True)
    offsets, arena = place_buffers(sizes, first, last)
    assert offsets == tflm_greedy(wanted)
    assert arena == max(offset + size for offset, size in zip(offsets, sizes, strict=True))


def test_no_buffers_need_no_arena() -> None:
    assert place_buffers([], [], []) == ([], 0)


def run_in_memory(graph: Int8Graph, plan: MemoryPlan) -> None:
    """Write and read whole tensors where the plan puts them, in the order of the operators.

    Every operator writes its output before it has read its operands, and scribbles on its scratch buffers. Only an ADD
    may find an operand gone: when the sum lies exactly there, as it takes one element after the other.
    """
    memory = [-1] * plan.arena_bytes

    def write(tensor: int) -> None:
        begin = plan.offsets[tensor]
        memory[begin : begin + graph.tensors[tensor].bytes] = [tensor] * graph.tensors[tensor].bytes
        assert begin >= 0 and begin % 16 == 0 and len(memory) == plan.arena_bytes

    def is_whole(tensor: int) -> bool:
        begin = plan.offsets[tensor]
        return set(memory[begin : begin + graph.tensors[tensor].bytes]) == {tensor}

    for tensor in graph.inputs:
        write(tensor)
    for index, operator in enumerate(graph.operators):
        assert all(is_whole(tensor) for tensor in operator.inputs)
        write(operator.output)
        for buffer in plan.scratch:
            if buffer.operator == index:
                memory[buffer.offset : buffer.offset + buffer.bytes] = [-2] * buffer.bytes
        for tensor in operator.inputs:
            in_place = (
                operator.kind == "ADD"
                and plan.offsets[tensor] == plan.offsets[operator.output]
                and graph.tensors[tensor].bytes == graph.tensors[operator.output].bytes
            )
            assert in_place or is_whole(tensor)
        assert is_whole(operator.output)
    assert all(is_whole(tensor) for tensor in graph.outputs)


@given(graphs() | graphs(14, ALIKE))
def test_a_plain_plan_keeps_every_tensor_whole(graph: Int8Graph) -> None:
    plan = plan_memory(graph)
    run_in_memory(graph, plan)
    for operator in graph.operators:
        assert all(plan.offsets[tensor] != plan.offsets[operator.output] for tensor in operator.inputs)


@given(graphs() | graphs(14, ALIKE))
def test_an_in_place_plan_is_sound_and_no_larger(graph: Int8Graph) -> None:
    plain, plan = plan_memory(graph), plan_memory(graph, in_place_add=True)
    run_in_memory(graph, plan)
    assert plan.lower_bound_bytes <= plan.arena_bytes <= plain.arena_bytes
    assert plan.lifetimes == plain.lifetimes


def smallest_arena(wanted: list[Buffer]) -> int:
    """The smallest arena there is: lowest offsets first, in every order (an optimum, pushed down, is one of them)."""
    best = sum(size for size, _, _ in wanted)
    for order in permutations(range(len(wanted))):
        placed: dict[int, int] = {}
        for buffer in order:
            size, first, last = wanted[buffer]
            offset = 0
            for begin, other in sorted((begin, other) for other, begin in placed.items()):
                if wanted[other][1] <= last and first <= wanted[other][2] and begin - offset < size:
                    offset = max(offset, begin + wanted[other][0])
            placed[buffer] = offset
        best = min(best, max(offset + wanted[buffer][0] for buffer, offset in placed.items()))
    return best


@given(graphs(4, ALIKE))
@settings(max_examples=40)
def test_bounds_hold_against_brute_force(graph: Int8Graph) -> None:
    plain, plan = plan_memory(graph), plan_memory(graph, in_place_add=True)
    wanted = aligned_buffers(graph, plain)
    assume(len(wanted) <= 8)  # their orders are tried one by one
    best = smallest_arena(wanted)
    assert plain.lower_bound_bytes <= best <= plain.arena_bytes
    sums = [
        (operand, operator.output)
        for time, operator in enumerate(graph.operators)
        for operand in dict.fromkeys(operator.inputs)
        if operator.kind == "ADD" and operand not in graph.outputs and plain.lifetimes[operand][1] == time
        if graph.tensors[operand].bytes == graph.tensors[operator.output].bytes
    ]
    for count in range(1, len(sums) + 1):
        for chosen in combinations(sums, count):
            if len({output for _, output in chosen}) == count:
                best = min(best, smallest_arena(merged(wanted, chosen)))
    assert best <= plan.arena_bytes


def merged(wanted: list[Buffer], pairs: tuple[tuple[int, int], ...]) -> list[Buffer]:
    """The buffers, with each output joined to the operand whose place it takes."""
    joined = dict(enumerate(wanted))
    for operand, output in sorted(pairs, reverse=True):
        size, first, _ = joined[operand]
        joined[operand] = (size, first, joined.pop(output)[2])
    return list(joined.values())


def test_an_in_place_sum_saves_its_size_at_the_peak() -> None:
    layers = (
        Conv("stem", INPUT, 8, 3, 1, "relu"),
        Conv("inner", "stem", 8, 3, 1, "none"),
        Add("sum", "inner", "stem", "relu"),
        Dense("logits", "sum", 4, "none"),
    )
    graph = lower(Network((8, 8, 3), layers))
    plain, plan = plan_memory(graph), plan_memory(graph, in_place_add=True)
    assert plain.arena_bytes == 3 * 512 and plan.arena_bytes == plan.lower_bound_bytes == 2 * 512
    assert plan.offsets[3] in (plan.offsets[1], plan.offsets[2])


@pytest.mark.parametrize("outputs, arena", [((1,), 64), ((0, 1), 128)])
def test_a_tensor_added_to_itself_is_overwritten_unless_it_is_an_output(outputs: tuple[int, ...], arena: int) -> None:
    tensors = (Tensor("once", (1, 64), "int8"), Tensor("twice", (1, 64), "int8"))
    graph = Int8Graph(tensors, (Operator("twice", "ADD", (0, 0), 1),), (0,), outputs)
    assert plan_memory(graph).arena_bytes == 128
    assert plan_memory(graph, in_place_add=True).arena_bytes == arena


@given(graphs())
def test_binding_operator_makes_the_lower_bound(graph: Int8Graph) -> None:
    plan = plan_memory(graph)
    wanted = aligned_buffers(graph, plan)
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


def test_scratch_is_placed_with_the_tensors() -> None:
    tensors = (Tensor("map", (1, 4, 4, 8), "int8"), Tensor("mean", (1, 8), "int8"))
    plan = plan_memory(Int8Graph(tensors, (Operator("mean", "MEAN", (0,), 1),), (0,), (1,)))
    assert plan.scratch == (ScratchBuffer(0, 128, 32), ScratchBuffer(0, 176, 16), ScratchBuffer(0, 160, 16))
    assert plan.scratch_bytes == 32 + 16 + 16 and plan.arena_bytes == 128 + 64 + 16


def test_scratch_of_reductions_is_tflms() -> None:
    """Two networks of one operator, converted, where it makes the peak."""
    paths = [CONVERTED / "mean_int8.tflite", CONVERTED / "reduce_max_int8.tflite"]
    graphs = [read_tflite(path.read_bytes()) for path in paths]
    assert [graph.operators[0].kind for graph in graphs] == ["MEAN", "REDUCE_MAX"]
    assert [plan_memory(graph).arena_bytes for graph in graphs] == tflm_heads(paths)


def wide_network(branches: int) -> Network:
    names = tuple(f"c{i}" for i in range(branches))
    layers: list[Layer] = [Conv("stem", INPUT, 16, 3, 2, "relu")]
    layers += [Conv(name, "stem", 4 + 4 * (i % 5), 3, 1, "relu") for i, name in enumerate(names)]
    return Network((32, 32, 3), (*layers, Concat("join", names), Dense("logits", "join", 10, "none")))


@pytest.mark.parametrize("kind", ["chain", "wide"])
def test_time_grows_about_linearly(kind: str) -> None:
    """Ten times the operators take 16 times as long by n log n, and 100 times by n * n; 40 leaves room for noise."""

    def seconds(operators: int) -> float:
        network = wide_network(operators) if kind == "wide" else chain_network(random.Random(0), operators // 3)
        graph = lower(network)
        times = []
        for _ in range(7):
            began = process_time()
            plan_memory(graph, in_place_add=True)
            times.append(process_time() - began)
        return min(times)

    assert seconds(1000) < 40 * seconds(100)
