"""The emitted C with the portable kernels gives the bytes that tflite-micro gives."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from automcu.deploy.emit.emitter import SUPPORTED
from automcu.errors import CandidateFailure
from automcu.graph.int8 import Int8Graph, Operator, Tensor
from automcu.graph.int8_model import Attributes, Int8Model, Quantization
from automcu.graph.tflite.constants import read_model
from automcu.graph.tflite.writer import write_model
from tests.deploy.emit.native import emit, run_networks
from tests.deploy.oracle import Oracle
from tests.deploy.random_models import KINDS, random_inputs, random_model
from tests.graph.shared_models import DATA

CONVERTED = Path(__file__).parents[2] / "graph" / "converted"
FILES = ("mean_int8", "plain_int8", "plain_int8_float_ends", "reduce_max_int8", "rich_int8")
SAMPLES = 4


def require_exact(
    models: Mapping[str, tuple[Int8Model, bytes]], folder: Path, samples: Sequence[np.ndarray] = ()
) -> None:
    """Compare all networks on random inputs, or on `samples`; some add in place, some do not."""
    networks = {name: emit(model, name, in_place_add=i % 2 == 0) for i, (name, (model, _)) in enumerate(models.items())}
    samples = samples or [random_inputs(model, seed, SAMPLES) for seed, (model, _) in enumerate(models.values())]
    made = run_networks(networks, samples, folder)
    with Oracle() as oracle:
        for (name, (model, data)), rows, outputs in zip(models.items(), samples, made, strict=True):
            expected = oracle.outputs(model.graph, data, rows)
            kinds = sorted({operator.kind for operator in model.graph.operators})
            assert np.array_equal(outputs, expected), f"{name}: {(outputs != expected).sum()} bytes differ; {kinds}"


def random_models(seeds: range) -> dict[str, tuple[Int8Model, bytes]]:
    models = {f"random_{seed}": random_model(seed) for seed in seeds}
    return {name: (model, write_model(model)) for name, model in models.items()}


def files(paths: Sequence[Path]) -> dict[str, tuple[Int8Model, bytes]]:
    read = {f"file_{i}": path.read_bytes() for i, path in enumerate(paths)}
    return {name: (read_model(data), data) for name, data in read.items()}


def test_random_networks(tmp_path: Path) -> None:
    require_exact(random_models(range(18)), tmp_path)


@pytest.mark.slow
def test_many_random_networks(tmp_path: Path) -> None:
    models = random_models(range(1000, 1500))
    assert {operator.kind for model, _ in models.values() for operator in model.graph.operators} == KINDS <= SUPPORTED
    require_exact(models, tmp_path)


@pytest.mark.slow
def test_converted_files(tmp_path: Path) -> None:
    require_exact(files([CONVERTED / f"{name}.tflite" for name in FILES]), tmp_path)


@pytest.mark.slow
def test_real_models(tmp_path: Path) -> None:
    paths = sorted(DATA.rglob("*.tflite"))
    if not paths:
        pytest.skip("the shared models are absent; set AUTOMCU_DATA")
    require_exact(files(paths), tmp_path)


def test_activations_of_all_inputs(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    models = {}
    for i, kind in enumerate(("LOGISTIC", "TANH", "HARD_SWISH", "LEAKY_RELU", "RELU", "RELU6", "SOFTMAX") * 4):
        source = Quantization(float(np.float32(2.0 ** random.uniform(-12, 4))), int(random.integers(-128, 128)))
        target = {"LOGISTIC": Quantization(1 / 256, -128), "SOFTMAX": Quantization(1 / 256, -128)}.get(
            kind, Quantization(1 / 128, 0)
        )
        if kind in ("HARD_SWISH", "LEAKY_RELU", "RELU"):
            ratio = 2.0 ** random.uniform(-6, 3)
            target = Quantization(float(np.float32(source.scale * ratio)), int(random.integers(-128, 128)))
        model = single(kind, (1, 256), source, target, Attributes(alpha=float(np.float32(random.uniform(-1, 2)))))
        models[f"{kind.lower()}_{i}"] = (model, write_model(model))
    every = np.arange(256, dtype=np.uint8)
    samples = [np.stack([every, np.roll(every, 7), np.minimum(every, 99), np.full(256, 200, np.uint8)])] * len(models)
    require_exact(models, tmp_path, samples)


def single(
    kind: str, shape: tuple[int, ...], source: Quantization, target: Quantization, attributes: Attributes
) -> Int8Model:
    """A model of one operator without constants that keeps the shape."""
    tensors = (Tensor("input", shape, "int8"), Tensor("output", shape, "int8"))
    graph = Int8Graph(tensors, (Operator("layer", kind, (0,), 1),), (0,), (1,))
    return Int8Model(graph, (source, target), (None,), (attributes,))


def test_a_softmax_of_very_many_equal_classes_ends(tmp_path: Path) -> None:
    """tflite-micro aborts from 512 equal classes on; by its formula each has the probability 0."""
    source, target = Quantization(0.1, 0), Quantization(1 / 256, -128)
    sizes = (512, 1_024, 4_096, 8_191)
    models = {f"softmax_{size}": single("SOFTMAX", (1, size), source, target, Attributes()) for size in sizes}
    networks = {name: emit(model, name) for name, model in models.items()}
    for output in run_networks(networks, [np.zeros((1, size), np.uint8) for size in sizes], tmp_path):
        assert set(output.ravel().view(np.int8)) == {-128}
    with pytest.raises(CandidateFailure, match=r"has more than 8,191 classes; leave it out"):
        emit(single("SOFTMAX", (1, 8_192), source, target, Attributes()))
