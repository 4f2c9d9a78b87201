"""Firmware on virtual boards gives tflite-micro's bytes; the whole matrix is `python -m benchmarks.bit_exact`."""

from dataclasses import replace

import numpy as np
import pytest

from automcu.deploy.emit.emitter import SUPPORTED
from automcu.errors import CandidateFailure
from automcu.graph.int8_model import Quantization
from benchmarks.bit_exact import BOARDS, KERNELS, cases, emit, matrix, random_cases, run_image
from tests.deploy.corner_models import corner_cases
from tests.deploy.corner_net import Net, constants

NEAR_TIES = ("FULLY_CONNECTED by", "HARD_SWISH", "LEAKY_RELU by", "SUB by", "RELU6 at")


def test_networks_in_one_image() -> None:
    corners = [corner for corner in corner_cases() if corner[0].startswith(NEAR_TIES)][::10]
    given = list(cases([*random_cases(range(24, 33)), *corners]))
    assert any("removed" in case.label for case in given)
    wrong = replace(given[0], label="wrong", outputs=given[0].outputs ^ np.uint8(1))
    found = run_image("cortex-m4f", "dsp", [*given, wrong])
    assert [line.split(":")[0] for line in found.different] == ["cortex-m4f dsp wrong"], found.different
    assert (found.compared, found.equal, found.right) == (4 * len(given) + 4, 4 * len(given), False)
    assert 200 < found.stack_peak_bytes < found.stack_bytes


@pytest.mark.parametrize("kind", ["CONV_2D", "DEPTHWISE_CONV_2D", "MAX_POOL_2D", "AVERAGE_POOL_2D", "MEAN"])
@pytest.mark.parametrize("kernels", KERNELS)
def test_a_batch_of_maps_is_refused(kind: str, kernels: str) -> None:
    net = Net((1, 60), quantization=Quantization(0.1, 5))
    maps = net.add("RESHAPE", 0, shape=(2, 5, 3, 2))
    random = np.random.default_rng(0)
    weights = {
        "CONV_2D": constants(random, (2, 3, 2, 2)),
        "DEPTHWISE_CONV_2D": constants(random, (1, 3, 2, 2), axis=3),
    }.get(kind)
    if kind == "MEAN":
        net.add(kind, maps, shape=(2, 2))
    else:
        net.slide(kind, maps, (3, 2), constants=weights)
    with pytest.raises(CandidateFailure, match=f"{kind} .* reads a batch of 2 feature maps; keep to batch size 1"):
        emit(net.model(), kernels, "network")  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize(("core", "kernels"), matrix(list(BOARDS), KERNELS))
def test_random_networks_and_corner_cases(core: str, kernels: str) -> None:
    given = list(cases([*random_cases(range(100)), *corner_cases()]))
    assert {operator.kind for case in given for operator in case.model.graph.operators} == SUPPORTED
    for begin in range(0, len(given), 60):
        found = run_image(core, kernels, given[begin : begin + 60])  # type: ignore[arg-type]
        assert found.right, found.different
