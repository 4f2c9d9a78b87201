"""One model judged against boards: what `automcu check` finds out, before anything is printed."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from automcu.architecture import Shape
from automcu.board import Board, Budget, Violation
from automcu.errors import CandidateFailure, ConfigError, DataError, InvalidArchitecture
from automcu.feasibility.choice import Runtime, TierName, TierSettings, choose
from automcu.feasibility.temporary import file_on_demand, untrained
from automcu.feasibility.tier import FeasibilityTier
from automcu.graph.int8 import Int8Graph
from automcu.graph.kernel_sets import kernel_set_for
from automcu.graph.lowering import lower
from automcu.graph.planner import MemoryPlan, plan_memory
from automcu.results import FeasibilityReport

MODEL_LIMIT_BYTES = 128_000_000
ARCHITECTURE_LIMIT_BYTES = 1_000_000
MAX_CLASSES = 100_000
GRAPH_TIERS = ("planner", "st_estimate")
"""Tiers that need no file, so that changes of the network can be tried by them."""
_KEYS = {"space", "description", "fingerprint", "input_shape", "class_count"}
_FORM = "give the architecture.json of a bundle: an object with space and description"


@dataclass(frozen=True, slots=True)
class Model:
    """What is judged: the file it came from, its int8 graph, and whether the file is an int8 .tflite itself."""

    path: Path
    graph: Int8Graph
    is_tflite: bool


@dataclass(frozen=True, slots=True)
class Limits:
    """What the user allows beside what the board has, None for no limit of that kind. All are more than 0."""

    ram_bytes: int | None = None
    flash_bytes: int | None = None
    macs: int | None = None
    latency_ms: float | None = None

    def on(self, board: Board) -> Budget:
        """The budget on `board`."""
        ram = board.ram_bytes if self.ram_bytes is None else self.ram_bytes
        flash = board.flash_bytes if self.flash_bytes is None else self.flash_bytes
        return Budget(ram, flash, self.macs, self.latency_ms).on(board)


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdict for one board: the limits on it, the facts, what is broken, and the tier with why it judged."""

    board: Board
    tier: FeasibilityTier
    budget: Budget
    report: FeasibilityReport
    violations: tuple[Violation, ...]
    reason: str

    @property
    def fits(self) -> bool:
        """True when no limit is broken."""
        return not self.violations

    @property
    def arena_limit_bytes(self) -> int:
        """What is left for activations under the RAM limit, runtime and margin taken off; negative when less than
        nothing is."""
        return math.floor((self.budget.ram_bytes - self.report.runtime_ram_bytes) / (1 + self.report.margin))


def read_model(path: Path, input_shape: Shape | None, class_count: int | None) -> Model:
    """The model in a .tflite file, or in a .json file that describes an architecture.

    An architecture needs `input_shape` and `class_count`, of the task, where its file does not state them. Raises
    `DataError` for a file that cannot be read or is no architecture, `ConfigError` for arguments that are missing or
    of no use, `InvalidArchitecture` and `UnsupportedModel` for what the file holds.
    """
    if path.suffix.lower() == ".json":
        return _architecture(path, _read_bytes(path, ARCHITECTURE_LIMIT_BYTES), input_shape, class_count)
    if input_shape is not None or class_count is not None:
        raise ConfigError(
            f"{path} states its own input and output; leave --input and --classes out (they go with ARCH.json)"
        )
    from automcu.graph.tflite.reader import read_tflite

    content = _read_bytes(path, MODEL_LIMIT_BYTES)
    try:
        return Model(path, read_tflite(content), is_tflite=True)
    except CandidateFailure as error:
        raise type(error)(f"{path}: {error}") from error


def _read_bytes(path: Path, limit: int) -> bytes:
    try:
        if path.is_dir():
            raise DataError(f"{path} is a folder; give a .tflite file, or an architecture.json")
        if not path.exists():
            raise DataError(f"{path} does not exist; give a .tflite file, or an architecture.json")
        if not path.is_file():
            raise DataError(f"{path} is no regular file; give a .tflite file, or an architecture.json")
        size = path.stat().st_size
        if size > limit:
            raise DataError(f"{path} has {size:,} bytes, over {limit:,}; give a model made for microcontrollers")
        with path.open("rb") as file:
            content = file.read(limit)
    except OSError as error:
        raise DataError(f"cannot read {path} ({error.strerror}); check the path and its permissions") from error
    if not content:
        raise DataError(f"{path} is empty; give a .tflite file, or an architecture.json")
    return content


def _architecture(path: Path, content: bytes, input_shape: Shape | None, class_count: int | None) -> Model:
    document = _read_json(path, content)
    if not isinstance(document, dict) or not isinstance(document.get("space"), str) or "description" not in document:
        raise DataError(f"{path} describes no architecture; {_FORM}")
    if unknown := sorted(document.keys() - _KEYS):
        raise DataError(f"{path} has the unknown key {unknown[0]!r:.60}; {_FORM}")
    if input_shape is None:
        if "input_shape" not in document:
            raise ConfigError(f"{path} does not state its input; add --input HEIGHTxWIDTHxCHANNELS")
        stated = document["input_shape"]
        if not isinstance(stated, list) or len(stated) != 3 or not all(_is_count(extent, 4096) for extent in stated):
            raise DataError(f"{path} states the input_shape {stated!r:.60}; write it as [height, width, channels]")
        input_shape = stated[0], stated[1], stated[2]
    if class_count is None:
        if "class_count" not in document:
            raise ConfigError(f"{path} does not state its number of classes; add --classes N")
        if not _is_count(document["class_count"], MAX_CLASSES):
            raise DataError(
                f"{path} states the class_count {document['class_count']!r:.60}; write a number up to {MAX_CLASSES:,}"
            )
        class_count = document["class_count"]
    from automcu.spaces import make_space

    space = make_space(document["space"], input_shape, class_count)
    try:
        graph = lower(space.build(space.parse(document["description"])))
    except InvalidArchitecture as error:
        raise InvalidArchitecture(f"{path}: {error}") from error
    return Model(path, graph, is_tflite=False)


def _is_count(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


def _read_json(path: Path, content: bytes) -> object:
    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if len(found := dict(pairs)) < len(pairs):
            raise ValueError("a key stands twice in one object")
        return found

    def refuse(constant: str) -> object:
        raise ValueError(f"{constant} is no JSON number")

    try:
        return json.loads(content.decode(), object_pairs_hook=unique, parse_constant=refuse)
    except RecursionError:
        raise DataError(f"{path} is nested too deeply; {_FORM}") from None
    except ValueError as error:
        raise DataError(f"{path} is no JSON ({str(error).split(';')[0]:.100}); {_FORM}") from None


def plan_on(graph: Int8Graph, judged: Judged, *, in_place_add: bool = False) -> MemoryPlan:
    """Where everything lies in memory by AutoMCU's planner: with the scratch buffers of the kernels that the board
    would run, or of TensorFlow Lite Micro's where that tier judged."""
    kernels = "tflm" if judged.report.tier == "tflm" else kernel_set_for(judged.board.core)
    return plan_memory(graph, in_place_add=in_place_add, kernels=kernels)


def judge(
    model: Model,
    boards: Sequence[Board],
    asked: TierName,
    runtime: Runtime,
    settings: TierSettings,
    limits: Limits,
    environment: Mapping[str, str] = os.environ,
) -> tuple[Judged, ...]:
    """The verdict for each of `boards`, in their order; a tier is asked once for each target that it tells apart.

    Raises what `choose` and the tiers raise.
    """
    reports: dict[tuple[str, str], FeasibilityReport] = {}
    judged = []
    own = nullcontext(lambda: model.path)
    with own if model.is_tflite else file_on_demand(lambda: untrained(model.graph)) as file, ExitStack() as stack:
        for board in boards:
            choice = choose(asked, runtime, board, settings, environment)
            stack.callback(choice.tier.close)
            key = choice.tier.name, choice.tier.target
            if key not in reports:
                reports[key] = choice.tier.report(model.graph, file)
            budget = limits.on(board)
            violations = budget.violations(reports[key])
            judged.append(Judged(board, choice.tier, budget, reports[key], violations, choice.reason))
    return tuple(judged)


def explain(model: Model, judged: Judged) -> Judged:
    """`judged` with cheaper changes for what is broken, where its tier judges from the graph alone."""
    if judged.fits or judged.tier.name not in GRAPH_TIERS:
        return judged
    from automcu.feasibility.findings import with_changes

    changed = with_changes(model.graph, judged.tier, judged.budget, judged.violations)
    return replace(judged, violations=changed)


def smallest_that_fits(judged: Sequence[Judged]) -> Judged | None:
    """Of those that fit, the board with the smallest RAM region, then Flash, then clock; None when none fits."""
    return min((one for one in judged if one.fits), key=size, default=None)


def largest(judged: Sequence[Judged]) -> Judged:
    """The board with most RAM, then Flash, then clock."""
    return max(judged, key=size)


def size(judged: Judged) -> tuple[int, int, int]:
    """What makes a board smaller than another: RAM region, then Flash, then clock."""
    return judged.board.ram_bytes, judged.board.flash_bytes, judged.board.clock_hz
