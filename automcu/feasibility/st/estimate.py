"""The tier that predicts what ST Edge AI would report, without the tool.

Weights are exact; activations come from a model of ST's memory use (`automcu.feasibility.st.memory`); the rest from
constants for each generation of the tool, all fitted by `python -m experiments.st_calibration.calibrate` on ST's model
zoo tables (STM32H747, int8, the optimization its scripts choose) and on captured reports. Every row with its error, and
the errors with a model family left out of the fit, stand in `experiments/st_calibration/README.md`.

A build optimized for time alone can take far more activations before version 10 (MLPerf Tiny's: up to 1.8 times).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from automcu.errors import CandidateFailure, ConfigError
from automcu.feasibility.st.memory import StLayer, st_layers, st_memory
from automcu.feasibility.tier import busiest_layer, heaviest_layer
from automcu.graph.costs import costs
from automcu.graph.int8 import Int8Graph
from automcu.results import FeasibilityReport

BASE_BYTES = 1_061
"""Small buffers beside those of the layer that needs most."""
SCREEN_SHARE = 0.7
"""No real figure known, of RAM or code, is below this share of the predicted one; the lowest is 0.73 (ad01)."""


@dataclass(frozen=True, slots=True)
class Generation:
    """Constants of the tool's versions `first` to `last` (X-CUBE-AI's numbers, see `pack_version`).

    Activations are those of `st_memory` times `growth`, or times `growth_full_size` where the first depthwise
    convolution keeps its map's size; `margin` covers the worst row known. Runtime RAM is `ram_base` bytes and further
    ones for each layer with weights, addition, subtraction or concatenation, and other layer; code likewise, and for
    each output channel of a layer with weights.
    """

    first: int
    last: int
    growth: float
    growth_full_size: float
    margin: float
    ram_base: int
    ram_weighted: int
    ram_joining: int
    ram_other: int
    code_base: float
    code_layer: int
    code_channel: float


GENERATIONS = (
    Generation(5, 7, 1.00, 1.00, 0.30, 0, 608, 214, 279, 38_051, 833, 3.9),
    Generation(8, 9, 1.00, 1.00, 0.24, 0, 608, 214, 279, 38_051, 833, 3.9),
    Generation(10, 10, 1.05, 1.26, 0.38, 40, 548, 137, 479, 28_360, 1_109, 2.2),
    Generation(11, 12, 1.05, 1.26, 0.38, 0, 7, 330, 76, 29_025, 0, 2.6),
)
DEFAULT_VERSION = "4.0"
_VERSION = re.compile(
    r"(?:(?:stm32cube\.?ai|st ?edge ?ai(?: core)?|x-cube-ai)[- ]?)?(?:version )?v?"
    r"(\d{1,2})(?:\.(?:\d{1,2}|x)){0,2}(?:-\d{1,8})?",
    re.I,
)
_CORE_TO_PACK = {1: 9, 2: 10, 3: 11, 4: 12}


def pack_version(version: str) -> int:
    """The major number of X-CUBE-AI (from 11 on STM32CubeAI) that `version` belongs to: 5 to 12, or ST Edge AI Core's
    number 1 to 4, which are 9 to 12; with or without minor and build numbers, such as `8.1.0`, `stedgeai-3.0.0`,
    `10.x`, or `ST Edge AI Core v2.2.0-20266` as the tool has it.

    Raises `ConfigError` for anything else.
    """
    found = _VERSION.fullmatch(version.strip())
    number = int(found[1]) if found else 0
    pack = _CORE_TO_PACK.get(number, number)
    if not GENERATIONS[0].first <= pack <= GENERATIONS[-1].last:
        raise ConfigError(
            f"version {version!r:.40} of ST's tool is not known; give one of X-CUBE-AI 5 to 12 or ST Edge AI Core 1 to "
            "4"
        )
    return pack


class StEstimate:
    """ST's figures as predicted for one version of its tool. Needs no file and no tool."""

    name = "st_estimate"
    target = "any Cortex-M (fitted on stm32h7)"

    def __init__(self, tool_version: str | None = None) -> None:
        self.version = DEFAULT_VERSION if tool_version is None else tool_version.strip()
        pack = pack_version(self.version)
        self._generation = next(g for g in GENERATIONS if g.first <= pack <= g.last)
        self._share = 1.0

    def optimistic(self) -> "StEstimate":
        """A tier for early rejection before ST's own tool: its figures are the least that tool may come to."""
        low = StEstimate(self.version)
        low.name, low._share = "st_estimate_low", SCREEN_SHARE
        return low

    def report(self, graph: Int8Graph, model_file: Callable[[], Path]) -> FeasibilityReport:
        """What ST's tool would say of the network of `graph`; `model_file` is not used.

        Raises `CandidateFailure` when there is nothing left to compute once ST's compiler has fused the operators.
        """
        layers = st_layers(graph)
        if not layers:
            raise CandidateFailure("the network computes nothing; add a convolution or a dense layer")
        memory, cost, generation = st_memory(graph, layers), costs(graph), self._generation
        growth = generation.growth_full_size if keeps_size(graph) else generation.growth
        ram, code = _runtime(graph, layers, generation)
        return FeasibilityReport(
            graph_fingerprint=graph.fingerprint,
            macs=cost.total_macs,
            weights_bytes=cost.total_weights_bytes,
            code_bytes=round(self._share * code),
            activations_bytes=round(self._share * growth * (memory.bytes + BASE_BYTES)),
            runtime_ram_bytes=round(self._share * ram),
            binding_layer=f"{graph.operators[memory.layer.operator].name} ({memory.parts})",
            heaviest_layer=heaviest_layer(graph, cost),
            busiest_layer=busiest_layer(graph, cost),
            tier=self.name,
            tool="ST Edge AI, estimated",
            tool_version=self.version,
            target=self.target,
            margin=generation.margin if self._share == 1.0 else 0.0,
        )

    def close(self) -> None:
        """Nothing to free."""


def keeps_size(graph: Int8Graph) -> bool:
    """Whether the first depthwise convolution of `graph` has stride 1; False when it has none."""
    windows = (operator.window for operator in graph.operators if operator.kind == "DEPTHWISE_CONV_2D")
    first = next(windows, None)
    return first is not None and first.stride == (1, 1)


def _runtime(graph: Int8Graph, layers: tuple[StLayer, ...], generation: Generation) -> tuple[int, int]:
    """Bytes of RAM and of code that ST's runtime needs for `layers`."""
    ram, code = generation.ram_base, generation.code_base
    for layer in layers:
        operator = graph.operators[layer.operator]
        code += generation.code_layer
        if operator.kind in ("ADD", "CONCATENATION", "SUB"):
            ram += generation.ram_joining
        elif operator.weights:
            ram += generation.ram_weighted
            code += generation.code_channel * graph.tensors[operator.output].shape[-1]
        else:
            ram += generation.ram_other
    return ram, round(code)
