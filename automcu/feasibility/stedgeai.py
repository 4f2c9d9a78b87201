"""The tier that asks ST's own compiler: `stedgeai analyze`, X-CUBE-AI's and ST Edge AI Core's command line.

Formats as seen in captured reports (X-CUBE-AI 5.0 to ST Edge AI Core 4.0). `analyze` says nothing about fit: it ends
well for a network that fits no part, so the figures are judged by the gate like any others.
"""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import TypeAdapter, ValidationError

from automcu.errors import AutoMCUError, CandidateFailure, InfraFailure
from automcu.feasibility.program import run_program
from automcu.feasibility.tier import binding_layer, busiest_layer, heaviest_layer
from automcu.graph.costs import costs
from automcu.graph.int8 import Int8Graph
from automcu.graph.planner import plan_memory
from automcu.results import FeasibilityReport

ASSUMED_CODE_BYTES = 52_285
ASSUMED_RUNTIME_RAM_BYTES = 7_788
"""The runtime's Flash and RAM where the tool does not state them (it needs an Arm GCC on PATH for that): the larger of
the two figures captured for an int8 CNN on a Cortex-M (29,496 B / 3,360 B by Core 2.2.0, 52,285 B / 7,788 B by Core
1.0.0). `tool_version` then ends with "runtime assumed"."""
_ASSUMED = "runtime assumed"
_REPORT_LIMIT_BYTES = 64_000_000
_CORE_VERSION = re.compile(r"^(?:ST Edge AI Core v|Neural Network Tools .*?\((?:STM\.ai|AI tools) v)([\w.\-]+)", re.M)
_SUMMARY = re.compile(r"^\s*(weights \(ro\)|activations \(rw\)|ram \(total\)|macc)\s*:\s*([\d,]+)", re.M)
_RUNTIME = re.compile(r"^\s*RT total\s+([\d,]+)\s+[\d.]+%\s+([\d,]+)\s+[\d.]+%", re.M)
_TOOL_ERROR = re.compile(r"\bE(\d)\d\d\(\w+\): .*")
_MODEL_ERROR = re.compile(r"(?:INTERNAL ERROR|NOT IMPLEMENTED|TOOL ERROR|Fatal error): .*")


@dataclass(frozen=True, slots=True)
class StFigures:
    """What a report of the tool states, in bytes; `activations_bytes` includes input and output.

    Runtime figures are None where the report has none.
    """

    macs: int
    weights_bytes: int
    activations_bytes: int
    runtime_flash_bytes: int | None
    runtime_ram_bytes: int | None


@dataclass(frozen=True, slots=True)
class _Footprint:
    activations: int
    weights: int
    io: list[int]
    kernel_flash: int | None
    kernel_ram: int | None


@dataclass(frozen=True, slots=True)
class _Node:
    macc: int


@dataclass(frozen=True, slots=True)
class _Graph:
    nodes: list[_Node]


@dataclass(frozen=True, slots=True)
class _CInfo:
    json_schema_version: str
    memory_footprint: _Footprint
    graphs: list[_Graph]


def find_stedgeai(program: str = "stedgeai") -> Path | None:
    """The tool's executable: a name on PATH or a path; None when there is none."""
    found = shutil.which(program)
    return None if found is None else Path(found)


class StEdgeAi:
    """ST Edge AI's figures for one series of parts, such as `stm32f4`: the exact one, as its kernels differ by core.

    Activations, weights and MACs are the tool's own; binding, heaviest and busiest layer are AutoMCU's, as the tool
    names none. No margin is added.
    """

    name = "stedgeai"

    def __init__(self, program: Path, target: str, time_limit_seconds: float = 120.0) -> None:
        self.program = program
        self.target = target
        self._time_limit_seconds = time_limit_seconds

    def report(self, graph: Int8Graph, model_file: Callable[[], Path]) -> FeasibilityReport:
        """What the tool says of the network's file.

        Raises `CandidateFailure` when the tool does not support the network, `InfraFailure` when the tool itself
        fails: it cannot be started, hangs, refuses its arguments, or ends without a report that can be read.
        """
        figures = self._analyze(model_file())
        plan, cost = plan_memory(graph), costs(graph)
        assumed = figures.runtime_flash_bytes is None or figures.runtime_ram_bytes is None
        return FeasibilityReport(
            graph_fingerprint=graph.fingerprint,
            macs=figures.macs,
            weights_bytes=figures.weights_bytes,
            code_bytes=_or(figures.runtime_flash_bytes, ASSUMED_CODE_BYTES),
            activations_bytes=figures.activations_bytes,
            runtime_ram_bytes=_or(figures.runtime_ram_bytes, ASSUMED_RUNTIME_RAM_BYTES),
            binding_layer=binding_layer(graph, plan),
            heaviest_layer=heaviest_layer(graph, cost),
            busiest_layer=busiest_layer(graph, cost),
            tier=self.name,
            tool="stedgeai",
            tool_version=f"{self.version}, {_ASSUMED}" if assumed else self.version,
            target=self.target,
            margin=0.0,
        )

    @cached_property
    def version(self) -> str:
        """The tool's core version, such as `4.0.1-20581`."""
        with TemporaryDirectory(prefix="automcu-") as folder:
            done = run_program([self.program, "--version"], Path(folder), self._time_limit_seconds)
        found = _CORE_VERSION.search(done.output)
        if found is None:
            raise InfraFailure(f"{self.program} --version printed no version of ST Edge AI; check feasibility.stedgeai")
        return found[1]

    def close(self) -> None:
        """Nothing to free: every run of the tool ends before its report is read."""

    def _analyze(self, model: Path) -> StFigures:
        with TemporaryDirectory(prefix="automcu-") as name:
            folder = Path(name)
            arguments: list[str | Path] = [
                self.program,
                "analyze",
                "-m",
                model.resolve(),
                "--target",
                self.target,
                "-t",
                "tflite",
            ]
            arguments += ["-c", "lossless", "-O", "ram", "-n", "network", "-o", folder / "out", "-w", folder / "ws"]
            done = run_program([*arguments, "-v", "1", "--quiet"], folder, self._time_limit_seconds)
            if done.status:
                raise classify_error(done.status, done.output)
            return _read_reports(folder / "out")


def _or(figure: int | None, assumed: int) -> int:
    return assumed if figure is None else figure


def _read_reports(out: Path) -> StFigures:
    """The figures of `network_c_info.json`, or else of the text report."""
    info = _read_limited(out / "network_c_info.json")
    figures = None if info is None else read_c_info(info)
    if figures is None:
        text = _read_limited(out / "network_analyze_report.txt")
        figures = None if text is None else read_text_report(text)
    if figures is None:
        raise InfraFailure(
            "ST Edge AI ended without a report that can be read; use a version from X-CUBE-AI 5 to ST Edge AI 4, or "
            "feasibility=planner"
        )
    return figures


def _read_limited(path: Path) -> str | None:
    if not path.is_file() or path.stat().st_size > _REPORT_LIMIT_BYTES:
        return None
    return path.read_text("utf-8", "replace")


def read_c_info(text: str) -> StFigures | None:
    """The figures of a `network_c_info.json`; None when it is none, or of a schema other than 2."""
    try:
        info = TypeAdapter(_CInfo).validate_json(text)
    except ValidationError:
        return None
    if info.json_schema_version.split(".")[0] != "2":
        return None
    footprint = info.memory_footprint
    return StFigures(
        macs=sum(node.macc for graph in info.graphs for node in graph.nodes),
        weights_bytes=footprint.weights,
        activations_bytes=footprint.activations + sum(footprint.io),
        runtime_flash_bytes=footprint.kernel_flash,  # includes the toolchain's
        runtime_ram_bytes=footprint.kernel_ram,
    )


def read_text_report(text: str) -> StFigures | None:
    """The figures of a text report of any version from X-CUBE-AI 5 on; None when its summary is not there."""
    summary: dict[str, int] = {}
    for key, value in _SUMMARY.findall(text):
        summary.setdefault(key, int(value.replace(",", "")))
    if len(summary) < 4:
        return None
    runtime = _RUNTIME.search(text)
    return StFigures(
        macs=summary["macc"],
        weights_bytes=summary["weights (ro)"],
        activations_bytes=summary["ram (total)"],
        runtime_flash_bytes=None if runtime is None else int(runtime[1].replace(",", "")),
        runtime_ram_bytes=None if runtime is None else int(runtime[2].replace(",", "")),
    )


def classify_error(status: int, output: str) -> AutoMCUError:
    """The error that a failed run of the tool stands for.

    E1xx (arguments, tool) and E2xx, E8xx (bench) are no fault of the network; what the tool cannot compile, and
    whatever is not known, is.
    """
    tool = _TOOL_ERROR.search(output)
    if tool is not None:
        return InfraFailure(f"ST Edge AI failed: {tool[0][:300].rstrip()}; check its installation and target")
    model = _MODEL_ERROR.search(output)
    if model is not None:
        return CandidateFailure(
            f"ST Edge AI does not support this network: {model[0][:300].rstrip()}; change the layer"
        )
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    last = lines[-1][:300] if lines else "nothing printed"
    return CandidateFailure(f"ST Edge AI ended with status {status} ({last}); try the model in ST Edge AI by hand")
