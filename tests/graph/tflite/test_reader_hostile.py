"""Damaged and hostile files: each gives a graph with bounded figures, and a model whose constants are its own, or one
sentence, in bounded time and memory."""

import math
import random
import struct
import time
import tracemalloc
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tflite

from automcu.errors import CandidateFailure
from automcu.feasibility.planner_tier import PlannerTier
from automcu.graph.costs import costs
from automcu.graph.int8 import Int8Graph
from automcu.graph.planner import plan_memory
from automcu.graph.tflite.constants import read_model
from automcu.graph.tflite.file import MAX_ACTIVATION_BYTES, MAX_ALIVE, MAX_OPERATORS, MAX_TENSORS
from automcu.graph.tflite.reader import UnsupportedModel, read_tflite
from tests.graph.shared_models import DATA
from tests.graph.tflite.build import O, T, build

GRAPH = Path(__file__).parents[1]
SECONDS = 1.0
MEMORY = 8 << 20
"""Bytes that one file may make the reader and the planner allocate; the largest honest graph takes about 1 MiB."""
BASES = sorted(
    {
        *(GRAPH / "converted").glob("*.tflite"),
        GRAPH.parent / "export" / "small_int8.tflite",
        *(
            path
            for folder in ("mlperf_tiny_models", "st_models", "stedgeai_reports")
            for path in (DATA / folder).rglob("*.tflite")
        ),
    }
)
EXTREMES = [struct.pack("<i", value) for value in (0, -1, 1, -(2**31), 2**31 - 1, 2**16, 2**24, -4, 255)]


@cache
def base(path: Path) -> tuple[bytes, tuple[range, ...]]:
    """The file, and where it is something other than weights, whose values are never looked at."""
    data = path.read_bytes()
    model = tflite.Model.GetRootAs(data, 0)
    parts = []
    begin = 0
    for start, length in sorted(
        (buffer._tab.Vector(buffer._tab.Offset(4)), buffer.DataLength())
        for buffer in map(model.Buffers, range(model.BuffersLength()))
        if buffer.DataLength() > 16
    ):
        parts.append(range(begin, start))
        begin = start + length
    return data, (*parts, range(begin, len(data)))


def mutated(path: Path, rng: random.Random) -> bytes:
    whole, parts = base(path)
    data = bytearray(whole)

    def place(align: int) -> int:
        part = rng.choices(parts, [len(part) for part in parts])[0]
        return min(rng.choice(part) // align * align, len(data) - 4)

    def flip() -> None:
        data[place(1)] ^= 1 << rng.randrange(8)

    def noise() -> None:
        data[place(1)] = rng.randrange(256)

    def extreme() -> None:
        at = place(4)
        data[at : at + 4] = rng.choice(EXTREMES)

    def nudge() -> None:
        at = place(4)
        data[at : at + 4] = struct.pack(
            "<i", (struct.unpack_from("<i", data, at)[0] % 2**30) + rng.choice((-4, -1, 1, 4))
        )

    def swap() -> None:
        one, other = place(4), place(4)
        data[one : one + 4], data[other : other + 4] = data[other : other + 4], data[one : one + 4]

    def copy() -> None:
        one, other = place(4), place(4)
        data[one : one + 4] = data[other : other + 4]

    def vtable() -> None:
        struct.pack_into("<H", data, place(2), rng.choice((0, 4, 6, 8, 12, 16, 0xFFFF, rng.randrange(2**16))))

    def negative() -> None:
        at = place(4)
        data[at : at + 4] = struct.pack("<i", -rng.randrange(1, len(data)))

    changes: tuple[Callable[[], None], ...] = (flip, noise, extreme, nudge, swap, copy, vtable, negative)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        rng.choice(changes)()
    if rng.random() < 0.08:
        del data[rng.randrange(len(data)) :]
    if len(data) >= 8 and rng.random() < 0.9:
        data[4:8] = b"TFL3"
    return bytes(data)


def require_sane(graph: Int8Graph, file_bytes: int) -> None:
    """Whatever is computed from a graph that was read works, and stays within bounds."""
    for in_place_add in (False, True):
        plan = plan_memory(graph, in_place_add=in_place_add)
        assert 0 < plan.lower_bound_bytes <= plan.arena_bytes < 5 * MAX_ACTIVATION_BYTES + 16 * MAX_TENSORS
        assert len(plan.binding_tensors) <= MAX_ALIVE
    found = costs(graph)
    assert found.total_weights_bytes <= file_bytes * len(graph.operators)
    assert found.total_macs < 2**63
    assert len(graph.fingerprint) == 16
    assert all(name.isprintable() and 0 < len(name) <= 200 for name in (op.name for op in graph.operators))
    try:
        PlannerTier().report(graph, lambda: Path())
    except CandidateFailure as error:
        assert "is not supported by" in str(error)


def is_read(data: bytes) -> bool:
    """True when the file is read, False when it is refused; everything else fails."""
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    began = time.process_time()
    graph = None
    for reader in (graph_with_model, read_tflite):  # a graph may be read where its constants are refused
        try:
            graph = reader(data)
            require_sane(graph, len(data))
            break
        except UnsupportedModel as error:
            text = str(error)
            assert "; " in text and text.isprintable() and len(text) < 1000, text
    assert time.process_time() - began < SECONDS
    assert tracemalloc.get_traced_memory()[1] - before < MEMORY
    return graph is not None


def graph_with_model(data: bytes) -> Int8Graph:
    """The graph that `read_model` reads, with constants and quantization that can be computed with."""
    model = read_model(data)
    for tensor, quantization in zip(model.graph.tensors, model.quantization, strict=True):
        assert (quantization is None) == (tensor.dtype == "float32")
        assert quantization is None or (0 < quantization.scale < math.inf and -128 <= quantization.zero_point <= 255)
    for operator, constants in zip(model.graph.operators, model.constants, strict=True):
        assert (constants is not None) == bool(operator.weights)
        if constants is not None:
            assert constants.weights.dtype == np.int8 and constants.weights.shape == operator.weights
            assert (constants.scales > 0).all() and np.isfinite(constants.scales).all()
            assert operator.bias == (0 if constants.bias is None else len(constants.bias))
    return model.graph


@pytest.fixture(autouse=True)
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.parametrize("path", BASES, ids=lambda path: path.stem)
def test_damaged_files_are_read_or_refused(path: Path) -> None:
    rng = random.Random(path.stem)
    outcomes = [is_read(mutated(path, rng)) for _ in range(12)]
    assert False in outcomes


@pytest.mark.slow
@pytest.mark.parametrize("path", BASES, ids=lambda path: path.stem)
def test_many_damaged_files_are_read_or_refused(path: Path) -> None:
    rng = random.Random(f"many {path.stem}")
    outcomes = [is_read(mutated(path, rng)) for _ in range(200)]
    assert False in outcomes
    assert (True in outcomes) == ("plain_" not in path.stem or "int8" in path.stem)


def test_every_prefix_is_refused() -> None:
    data = base(GRAPH / "converted" / "rich_int8.tflite")[0]
    assert not any(is_read(data[:length]) for length in range(0, len(data) - 200, 97))


MAP = T((1, 8, 8, 8))


def add(operand: int, output: int) -> O:
    return O("ADD", (operand, operand), (output,), "AddOptions")


def join(operand: int, output: int, times: int = 64) -> O:
    return O("CONCATENATION", (operand,) * times, (output,), "ConcatenationOptions", {"Axis": 3})


@pytest.mark.slow
def test_the_largest_files_take_no_longer() -> None:
    count = MAX_OPERATORS
    chain = build([MAP] * MAX_TENSORS, [add(i, i + 1) for i in range(count)], [0], [count])
    wide = build([T((1, 1, 1, 8)), *[T((1, 1, 1, 512))] * count], [join(0, i + 1) for i in range(count)], [0], [count])
    rng = random.Random(0)
    kept: list[int] = []
    shapes, operators = [T((1, 1, 1, 8))], []
    while len(operators) < count:
        if len(kept) < MAX_ALIVE - 2:
            times = rng.randrange(1, 64)
            operators.append(join(0, len(shapes), times))
            shapes.append(T((1, 1, 1, 8 * times)))
            kept.append(len(shapes) - 1)
        else:
            read = kept.pop(rng.randrange(len(kept)))
            operators.append(add(read, len(shapes)))
            shapes.append(shapes[read])
    tangled = build(shapes, operators, [0], [count])
    tracemalloc.stop()  # it would cost more time than the reader
    for data in (chain, wide, tangled):
        began = time.process_time()
        graph = read_tflite(data)
        assert len(graph.operators) == count
        plan_memory(graph)
        assert time.process_time() - began < 2 * SECONDS
    tracemalloc.start()


def test_sizes_that_are_only_stated_are_not_allocated() -> None:
    long_name = build(
        [T((1, 8, 8, 8), name="x" * 1_000_000), *[MAP] * 200], [add(i, i + 1) for i in range(200)], [0], [200]
    )
    assert is_read(long_name)
    growth = [T((1, 1, 1, 16 * 64**i)) for i in range(5)]
    assert not is_read(build(growth, [join(i, i + 1) for i in range(4)], [0], [4]))
    assert not is_read(build([T((2**31 - 1,) * 6), MAP], [add(0, 1)], [0], [1]))


@pytest.mark.slow
def test_any_word_may_be_said_to_be_a_huge_length() -> None:
    """Every 4-byte word that may be a length, one after the other, is set to 2**32 - 1."""
    data = base(GRAPH.parent / "export" / "small_int8.tflite")[0]
    for at in range(8, len(data) - 4, 4):
        is_read(data[:at] + b"\xff\xff\xff\xff" + data[at + 4 :])


def test_weights_that_are_not_in_the_file_are_not_counted() -> None:
    """Shape and stated length agree, but the file ends before."""
    units = 1 << 20
    source, output = T((1, 8)), T((1, units))
    kernel = T((units, 8), data=b"\x55" * 64)
    data = bytearray(
        build([source, output, kernel], [O("FULLY_CONNECTED", (0, 2), (1,), "FullyConnectedOptions")], [0], [1])
    )
    struct.pack_into("<I", data, data.index(b"\x55" * 64) - 4, units * 8)
    with pytest.raises(UnsupportedModel, match=r"damaged .*; convert"):
        read_tflite(bytes(data))


def test_tables_that_refer_to_themselves_are_refused() -> None:
    data = bytearray(build([MAP, MAP], [add(0, 1)], [0], [1]))
    model = tflite.Model.GetRootAs(data, 0)
    for field in (6, 8, 12):  # operator codes, subgraphs, buffers
        copy = bytearray(data)
        at = model._tab.Pos + model._tab.Offset(field)
        struct.pack_into("<I", copy, at, 0)
        assert not is_read(bytes(copy))
        copy = bytearray(data)
        vector = model._tab.Vector(model._tab.Offset(field))
        struct.pack_into("<I", copy, vector, 0)
        is_read(bytes(copy))
