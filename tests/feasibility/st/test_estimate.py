"""The estimate of ST's figures against ST's own: captured reports and model zoo tables."""

import random
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest

from automcu.errors import ConfigError
from automcu.feasibility.st.estimate import BASE_BYTES, GENERATIONS, SCREEN_SHARE, StEstimate, pack_version
from automcu.feasibility.st.memory import st_layers, st_memory
from automcu.feasibility.tier import FeasibilityTier
from automcu.graph.int8 import Int8Graph
from automcu.graph.lowering import lower
from automcu.graph.network import INPUT, Conv, Dense, DepthwiseConv, Network, Pool
from automcu.graph.tflite.reader import read_tflite
from automcu.results import FeasibilityReport
from automcu.spaces import make_space
from experiments.st_calibration.calibrate import fit_base, fit_growth
from experiments.st_calibration.rows import Row, load_rows
from tests.contracts.feasibility_tier import FeasibilityTierContract
from tests.graph.shared_models import shared


def no_file() -> Path:
    raise AssertionError("the estimate needs no file")


def predicted(row: Row) -> FeasibilityReport:
    return StEstimate(row.version).report(row.graph, no_file)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return load_rows(shared("st_model_zoo_footprints.csv").parent)


@pytest.mark.parametrize("version", ["7.3.0", "8.1.0", "2.2.0", "4.0"])
class TestStEstimate(FeasibilityTierContract):
    @pytest.fixture
    def tier(self, version: str) -> FeasibilityTier:
        return StEstimate(version)

    @pytest.fixture
    def model_file(self) -> Callable[[], Path]:
        return no_file


def test_weights_are_sts_own(rows: list[Row]) -> None:
    judged = [row for row in rows if row.weights is not None]
    assert len(judged) > 25
    for row in judged:
        assert predicted(row).weights_bytes == pytest.approx(row.weights, rel=0.002), row.network


@pytest.mark.parametrize(("first", "last"), [(5, 9), (10, 12)])
def test_activations_keep_the_stated_error(rows: list[Row], first: int, last: int) -> None:
    errors = [
        abs(predicted(row).activations_bytes / row.activations - 1)
        for row in rows
        if row.use == "fit" and first <= pack_version(row.version) <= last
    ]
    assert len(errors) >= 12
    assert median(errors) <= 0.10


def test_the_margin_covers_every_row_known(rows: list[Row]) -> None:
    for row in rows:
        report = predicted(row)
        assert report.activations_bytes * (1 + report.margin) >= 0.95 * row.activations, (row.network, row.version)


def test_the_screen_is_never_above_sts_figure(rows: list[Row]) -> None:
    for row in rows:
        low = StEstimate(row.version).optimistic().report(row.graph, no_file)
        assert low.margin == 0.0
        assert low.activations_bytes <= row.activations, (row.network, row.version)


def test_the_constants_are_those_of_the_fit(rows: list[Row]) -> None:
    fitted = [row for row in rows if row.use == "fit"]
    assert fit_base(fitted) == pytest.approx(BASE_BYTES, abs=1)
    for generation in GENERATIONS[2:]:
        assert fit_growth(fitted, False) == pytest.approx(generation.growth, abs=0.01)
        assert fit_growth(fitted, True) == pytest.approx(generation.growth_full_size, abs=0.01)


@pytest.mark.parametrize(
    ("path", "activations"),
    [
        ("stedgeai_reports/stedgeai-2.2.0_finger-int8-stm32h7/finger_int8.tflite", 45_072),
        # The report's figure is 3 bytes more: it ends on a multiple of 4.
        ("stedgeai_reports/stedgeai-1.0.0_yamnet-stm32-h7default/yamnet_256_64x96_tl_int8.esc10.tflite", 112_193),
        ("st_models/mobilenet_v2_0.35_128_fft_int8.tflite", 229_888),
    ],
)
def test_the_memory_model_is_exact_where_reports_are_explained(path: str, activations: int) -> None:
    graph = read_tflite(shared(path).read_bytes())
    assert st_memory(graph, st_layers(graph)).bytes == activations


def layers_of(*layers: Conv | DepthwiseConv | Pool | Dense) -> tuple[Int8Graph, int]:
    graph = lower(Network((16, 16, 8), layers))
    return graph, st_memory(graph, st_layers(graph)).bytes


def test_a_depthwise_output_overlays_its_padded_input() -> None:
    _, needed = layers_of(DepthwiseConv("depthwise", INPUT, 3, 1, "relu"))
    assert needed == 18 * 18 * 8 + 16 * 8 + 37 * 8 + 1


def test_a_pointwise_layer_overlays_up_to_twice_the_channels() -> None:
    _, needed = layers_of(Conv("wide", INPUT, 16, 1, 1, "relu"))
    assert needed == 16 * 16 * 16 + 16 * 8 + 4 * 8 + 10 * 16
    _, needed = layers_of(Conv("wider", INPUT, 24, 1, 1, "relu"))
    assert needed == 16 * 16 * (8 + 24) + 4 * 8 + 10 * 24


def test_pooling_is_taken_into_the_convolution() -> None:
    graph, needed = layers_of(Conv("conv", INPUT, 16, 3, 1, "relu"), Pool("pool", "conv", "max", 2, 2))
    (layer,) = st_layers(graph)
    assert graph.tensors[layer.writes].name == "pool" and layer.pooled == (1, 16, 16, 16)
    # Output rows of 8 x 16 bytes each use up two padded input rows of 18 x 8.
    assert needed == 8 * 16 + 18 * 18 * 8 + (5_120 + 64 * 9 * 8 // 9) + 2 * 16 * 16


def test_any_architecture_gets_figures_that_hold_its_tensors() -> None:
    rng = random.Random(0)
    space = make_space("mcu_cnn", (32, 32, 3), 10)
    for _ in range(100):
        graph = lower(space.build(space.random(rng)))
        report = StEstimate().report(graph, no_file)
        assert report.activations_bytes >= max(graph.tensors[layer.writes].bytes for layer in st_layers(graph))
        assert report.ram_bytes > report.activations_bytes + report.runtime_ram_bytes  # the margin is judged
        assert StEstimate().optimistic().report(graph, no_file).activations_bytes == pytest.approx(
            SCREEN_SHARE * report.activations_bytes, abs=1
        )


@pytest.mark.parametrize(
    ("version", "pack"),
    [("8.1.0", 8), ("8.x", 8), ("10", 10), ("2.2.0", 10), ("v3.0.0", 11), ("stedgeai-4.0.1", 12), ("1.0", 9),
     ("stm32cubeai-7.3.0", 7), ("X-CUBE-AI 5.2", 5), ("ST Edge AI Core v2.2.0-20266", 10),
     ("STM32Cube.AI version 10.0.0", 10), ("STEdgeAI Core version 3.0.0", 11)],
)  # fmt: skip
def test_versions_as_people_write_them(version: str, pack: int) -> None:
    assert pack_version(version) == pack


@pytest.mark.parametrize("version", ["", "0", "13.0", "latest", "8.1.0; rm", "1e3", "-8", "8.1.0.0.0", "x" * 10_000])
def test_other_versions_are_refused(version: str) -> None:
    with pytest.raises(ConfigError, match="give one of X-CUBE-AI 5 to 12"):
        StEstimate(version)
