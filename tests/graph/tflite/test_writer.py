import random
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tflite
from hypothesis import given, settings
from hypothesis import strategies as st

from automcu.errors import CandidateFailure, InvalidArchitecture
from automcu.export.int8_file import Int8File
from automcu.export.interpreter import run_int8
from automcu.graph.costs import costs
from automcu.graph.int8 import Int8Graph, Operator, Tensor
from automcu.graph.int8_model import Attributes, Int8Model
from automcu.graph.lowering import lower
from automcu.graph.tflite.constants import read_model
from automcu.graph.tflite.reader import read_tflite
from automcu.graph.tflite.writer import write_model, write_tflite
from automcu.spaces import make_space
from tests.contracts.feasibility_tier import RESIDUAL
from tests.deploy.random_models import random_model
from tests.graph.networks import random_network
from tests.graph.shared_models import shared
from tests.graph.tflite.model_equality import require_equal

CONVERTED = Path(__file__).parents[1] / "converted"
SHAPES = (((32, 32, 3), 10), ((8, 8, 1), 10), ((49, 10, 1), 12))


def constant_bytes(data: bytes) -> int:
    """Bytes of all constant tensors but shapes, and whether each is aligned."""
    model = tflite.Model.GetRootAs(data, 0)
    graph = model.Subgraphs(0)
    total = 0
    for index in range(graph.TensorsLength()):
        tensor = graph.Tensors(index)
        buffer = model.Buffers(tensor.Buffer())
        if buffer.DataLength():
            assert buffer._tab.Vector(buffer._tab.Offset(4)) % 16 == 0
            if not tensor.Name().endswith(b"/shape"):
                total += buffer.DataLength()
    return total


def check(graph: Int8Graph, seed: int) -> None:
    data = write_tflite(graph, seed)
    found = read_tflite(data)
    assert found == graph
    assert found.fingerprint == graph.fingerprint
    assert [tensor.name for tensor in found.tensors] == [tensor.name for tensor in graph.tensors]
    assert constant_bytes(data) == costs(graph).total_weights_bytes
    Int8File.read(data).check()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_a_written_network_of_any_wiring_is_read_as_the_same_graph(seed: int) -> None:
    try:
        graph = lower(random_network(random.Random(seed)))
    except InvalidArchitecture:
        return
    check(graph, seed)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(SHAPES))
def test_a_written_network_of_the_space_is_read_as_the_same_graph(seed: int, task: tuple[tuple, int]) -> None:
    space = space_of(*task)
    check(lower(space.build(space.random(random.Random(seed)))), seed)


space_of = cache(lambda shape, classes: make_space("mcu_cnn", shape, classes))


def test_the_seed_decides_the_weights_and_nothing_else() -> None:
    graph = lower(RESIDUAL)
    assert write_tflite(graph, 1) == write_tflite(graph, 1)
    other = write_tflite(graph, 2)
    assert other != write_tflite(graph, 1) and read_tflite(other) == graph


def test_a_written_file_runs() -> None:
    images = np.random.default_rng(0).integers(-128, 128, (6, 16, 16, 3)).astype(np.int8)
    outputs = run_int8(write_tflite(lower(RESIDUAL), 0), images, processes=1, time_limit_s=30)
    assert outputs.shape == (6, 4)
    assert all(len(set(column)) > 1 for column in outputs.T.tolist())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_a_random_model_is_read_as_it_was_written(seed: int) -> None:
    model = random_model(seed)
    data = write_model(model)
    require_equal(read_model(data), model)
    assert write_model(read_model(data)) == data


def versions(data: bytes) -> list[tuple[int, int]]:
    """Kind and version of every operator but those that only compute shapes."""
    model = tflite.Model.GetRootAs(data, 0)
    graph = model.Subgraphs(0)
    codes = [model.OperatorCodes(graph.Operators(i).OpcodeIndex()) for i in range(graph.OperatorsLength())]
    shapes = (tflite.BuiltinOperator.SHAPE, tflite.BuiltinOperator.STRIDED_SLICE, tflite.BuiltinOperator.PACK)
    return [(code.BuiltinCode(), code.Version()) for code in codes if code.BuiltinCode() not in shapes]


def check_rewritten(data: bytes) -> None:
    model = read_model(data)
    written = write_model(model)
    require_equal(read_model(written), model)
    assert versions(written) == versions(data)


@pytest.mark.parametrize("name", ["rich_int8", "varied_int8", "plain_int8_float_ends", "mean_int8", "reduce_max_int8"])
def test_a_converted_file_is_written_with_all_it_says(name: str) -> None:
    check_rewritten((CONVERTED / f"{name}.tflite").read_bytes())


def test_real_files_are_written_with_all_they_say() -> None:
    paths = [path for folder in ("mlperf_tiny_models", "st_models") for path in shared(folder).rglob("*.tflite")]
    assert len(paths) == 14
    for path in paths:
        check_rewritten(path.read_bytes())


def test_an_operator_that_is_not_known_is_refused() -> None:
    tensors = Tensor("image", (1, 4), "int8"), Tensor("made", (1, 4), "int8")
    graph = Int8Graph(tensors, (Operator("made", "DIV", (0,), 1),), (0,), (1,))
    with pytest.raises(CandidateFailure, match="DIV cannot be written; give"):
        write_model(Int8Model(graph, (None, None), (None,), (Attributes(),)))


def test_what_lowering_does_not_make_is_refused() -> None:
    image, made = Tensor("image", (1, 4), "int8"), Tensor("made", (1, 4), "int8")
    graph = Int8Graph((image, made), (Operator("made", "SOFTMAX", (0,), 1),), (0,), (1,))
    with pytest.raises(CandidateFailure, match="SOFTMAX cannot be written; give"):
        write_tflite(graph, 0)
    graph = Int8Graph((image, made), (Operator("made", "ADD", (0,), 1, (1,)),), (0,), (1,))
    with pytest.raises(CandidateFailure, match="ADD cannot be written; give"):
        write_tflite(graph, 0)
    with pytest.raises(CandidateFailure, match="cannot be written; give"):
        write_tflite(read_tflite(shared("mlperf_tiny_models/kws_ref_model.tflite").read_bytes()), 0)
