"""The fast kernels, and CMSIS-NN's, on virtual boards: the bytes of tflite-micro, within the planned arena."""

from collections.abc import Mapping

import numpy as np
import pytest

from automcu.deploy.emit.dsp import Dsp
from automcu.deploy.emit.kernel_set import layers
from automcu.graph.int8_model import Int8Model
from automcu.graph.kernel_sets import KernelSet
from automcu.graph.planner import plan_memory
from automcu.graph.tflite.writer import write_model
from tests.deploy.emit.native import emit
from tests.deploy.kernels.boards import CORES, run_networks
from tests.deploy.kernels.single_layers import KINDS, single_layer
from tests.deploy.oracle import Oracle
from tests.deploy.random_models import random_inputs

SAMPLES = 3


def require_exact(models: Mapping[str, Int8Model], kernels: KernelSet, core: str) -> None:
    networks = {name: emit(model, name, kernels) for name, model in models.items()}
    samples = [random_inputs(model, seed, SAMPLES) for seed, model in enumerate(models.values())]
    made = run_networks(networks, samples, core)
    with Oracle() as oracle:
        for (name, model), rows, outputs in zip(models.items(), samples, made, strict=True):
            expected = oracle.outputs(model.graph, write_model(model), rows)
            assert np.array_equal(outputs, expected), f"{name}: {(outputs != expected).sum()} bytes differ"


def single_layers(seeds: range) -> dict[str, Int8Model]:
    return {f"{kind.lower()}_{seed}": single_layer(kind, seed) for kind in KINDS for seed in seeds}


def test_dsp_kernels() -> None:
    require_exact(single_layers(range(1)), "dsp", "cortex-m4f")


@pytest.mark.slow
@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("kernels", ["dsp", "cmsis_nn"])
def test_single_layers_on_all_cores(kernels: KernelSet, core: str) -> None:
    require_exact(single_layers(range(100, 140)), kernels, core)


def test_dsp_constants_do_not_grow() -> None:
    """Weights keep their size, scales and biases have 12 bytes a channel; and most layers have a fast kernel."""
    fast = portable = 0
    for model in single_layers(range(20)).values():
        (layer,) = layers(model, plan_memory(model.graph, kernels="dsp"), "network")
        call = Dsp().call(layer)
        is_fast = call.statements[0].startswith("automcu_dsp")
        fast, portable = fast + is_fast, portable + (not is_fast)
        if is_fast and layer.operator.weights:
            assert call.arrays is not None
            assert call.arrays["weights"].nbytes == layer.constants.weights.nbytes
            assert call.arrays["channels"].nbytes == 12 * layer.output.shape[-1]
    assert fast > 2 * portable
