import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from automcu.deploy.emit.emitter import SUPPORTED, emit_network
from automcu.errors import CandidateFailure
from automcu.feasibility import planner_tier
from automcu.graph.int8_model import Int8Model, Quantization
from automcu.graph.planner import plan_memory
from automcu.graph.tflite.constants import read_model
from tests.deploy.emit.native import SHA256, emit, run_networks
from tests.deploy.random_models import random_inputs, random_model

ROOT = Path(__file__).parents[2]


def model(path: str = "export/small_int8.tflite") -> Int8Model:
    return read_model((ROOT / path).read_bytes())


def test_the_header_tells_the_sizes() -> None:
    small = model()
    network = emit(small, "tiny_net")
    assert (network.input_bytes, network.output_bytes) == (9 * 8 * 3, 5)
    header = network.sources["tiny_net.h"]
    for name, value in (
        *(("ARENA_BYTES", network.arena_bytes), ("INPUT_BYTES", 216), ("OUTPUT_BYTES", 5)),
        *(("INPUTS", 1), ("OUTPUTS", 1)),
    ):
        assert re.search(rf"^#define TINY_NET_{name} {value}$", header, re.M)
    assert SHA256 in header
    assert network.sources["tiny_net.c"].count("0xab") == 32


def test_the_same_text_every_time() -> None:
    assert emit(model()).sources == emit(model()).sources


def test_weights_are_stored_once_and_do_not_grow() -> None:
    small = model()
    source = emit(small).sources["network.c"]
    arrays = re.findall(r"static const (\w+) network_(\d+)_(\w+)\[(\d+)\]", source)
    for index, operator in enumerate(small.graph.operators):
        sizes = {name: int(count) for _, layer, name, count in arrays if int(layer) == index}
        if operator.weights:
            assert sizes.pop("weights") == np.prod(operator.weights)
            assert set(sizes) == {"bias", "multiplier", "shift"}
            assert set(sizes.values()) == {operator.bias}
        else:
            assert not sizes


def test_only_the_kernels_that_are_called_are_linked() -> None:
    assert set(emit(model("graph/converted/mean_int8.tflite")).sources) == {
        *("network.c", "network.h", "automcu_kernels.h", "automcu_mean.c")
    }


def test_a_layer_name_cannot_leave_its_comment(tmp_path: Path) -> None:
    small = model()
    names = ("*/ #error */", "a\nb\\", "//", '"??/', "ü/*")
    operators = tuple(replace(operator, name=name) for operator, name in zip(small.graph.operators, names, strict=True))
    named = replace(small, graph=replace(small.graph, operators=operators))
    samples = random_inputs(small, 0, 3)
    plain, odd = run_networks({"a": emit(small, "a"), "b": emit(named, "b")}, [samples, samples], tmp_path)
    assert np.array_equal(plain, odd)


def test_what_cannot_be_emitted_is_named() -> None:
    with pytest.raises(CandidateFailure, match=r"RESIZE_NEAREST_NEIGHBOR \(layer .*\) has no kernel; use ADD, "):
        emit(model("graph/converted/varied_int8.tflite"))
    small = model()
    vanishing = (*small.quantization[:-1], Quantization(1e-30, 0))
    with pytest.raises(
        CandidateFailure, match=r"FULLY_CONNECTED \(layer .*\) has scales that differ by the factor .*; "
    ):
        emit(replace(small, quantization=vanishing))
    with pytest.raises(CandidateFailure, match="no prefix of C symbols; use lower-case"):
        emit(small, "Net-1")
    with pytest.raises(CandidateFailure, match="no code is emitted for the kernels tflm; use"):
        emit_network(small, plan_memory(small.graph), "tflm", SHA256)


def test_one_arena_in_a_section_of_its_own() -> None:
    source = emit(random_model(3)).sources["network.c"]
    assert 'section(".arena")' in source
    assert len(re.findall(r"^static int8_t network_arena", source, re.M)) == 1


def test_the_tier_knows_what_can_be_emitted() -> None:
    assert SUPPORTED == planner_tier.SUPPORTED
