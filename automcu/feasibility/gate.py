"""The gate: tiers state what a network costs, the cheapest first; the budget decides. Nothing trains without it."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from automcu.architecture import Architecture
from automcu.board import Budget, Violation
from automcu.errors import BudgetTooSmall, ConfigError
from automcu.feasibility.tier import FeasibilityTier
from automcu.graph.int8 import Int8Graph
from automcu.graph.lowering import lower
from automcu.graph.network import Network
from automcu.results import FeasibilityReport

_BYTES_PER_KB = 1000  # as in the configuration


class Buildable(Protocol):
    """What the gate needs of a search space."""

    def build(self, architecture: Architecture) -> Network:
        """The network of an architecture; raises `InvalidArchitecture`."""
        ...


class ModelMaker(Protocol):
    """What the gate needs where a tier judges files: the exporter's converter."""

    def convert_untrained(self, network: Network, seed: int) -> bytes:
        """An int8 .tflite of `network` with random weights."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """A tier's facts, and the limits they break; the network fits when there are none."""

    report: FeasibilityReport
    violations: tuple[Violation, ...]

    @property
    def fits(self) -> bool:
        """True when no limit is broken."""
        return not self.violations


class Gate:
    """Judges architectures and files against one budget, already cut to the board. Remembers verdicts by int8 graph."""

    def __init__(
        self, space: Buildable, budget: Budget, tiers: Sequence[FeasibilityTier], converter: ModelMaker | None = None
    ) -> None:
        if not tiers:
            raise ConfigError("the gate has no tier; give at least the planner tier")
        self._space = space
        self._budget = budget
        self._tiers = tuple(tiers)
        self._converter = converter
        self._known: dict[str, Verdict] = {}

    def check(self, architecture: Architecture) -> Verdict:
        """The verdict of the first tier that finds a limit broken, or else of the last.

        Raises `InvalidArchitecture`, and what the tiers raise; neither is remembered.
        """
        network = self._space.build(architecture)
        graph = lower(network)
        verdict = self._known.get(graph.fingerprint)
        if verdict is None:
            with _file_on_demand(lambda: self._untrained(network)) as model_file:
                verdict = self._judge(graph, self._tiers, model_file)
            self._known[graph.fingerprint] = verdict
        return verdict

    def judge_file(self, tflite: bytes) -> Verdict:
        """The first tier's verdict on an int8 .tflite file. Raises `UnsupportedModel` when it cannot be read."""
        with _file_on_demand(lambda: tflite) as model_file:
            return self._judge(_read(tflite), self._tiers[:1], model_file)

    def vendor_report(self, tflite: bytes) -> FeasibilityReport | None:
        """What the last tier says of an int8 .tflite file; None when there is only one tier."""
        if len(self._tiers) == 1:
            return None
        with _file_on_demand(lambda: tflite) as model_file:
            return self._tiers[-1].report(_read(tflite), model_file)

    def require_feasible(self, smallest: Architecture) -> None:
        """Raises `BudgetTooSmall`, with the figures that would do, when not even `smallest` fits by the first tier."""
        network = self._space.build(smallest)
        with _file_on_demand(lambda: self._untrained(network)) as model_file:
            verdict = self._judge(lower(network), self._tiers[:1], model_file)
        if verdict.fits:
            return
        limits: dict[str, int] = {violation.resource: violation.limit for violation in verdict.violations}
        report = verdict.report
        needs, keys = [], []
        for label, resource, need in (("RAM", "ram", report.ram_bytes), ("Flash", "flash", report.flash_bytes)):
            kb = need / _BYTES_PER_KB
            over = ""
            if resource in limits:
                over = f", over the {limits[resource]:,} B allowed"
                keys.append(f"budget.{resource}_kb to at least {math.ceil(kb)}")
            needs.append(f"{need:,} B ({kb:.1f} KB) of {label}{over}")
        if "macs" in limits:
            needs.append(f"{report.macs:,} MACs, over the {limits['macs']:,} allowed")
            keys.append(f"budget.macs to at least {report.macs}")
        raise BudgetTooSmall(
            f"even the smallest network of this space needs {'; '.join(needs)}: raise {' and '.join(keys)}, or choose "
            "a board with more memory where the board sets the limit"
        )

    def close(self) -> None:
        """Close the converter, if there is one."""
        if self._converter is not None:
            self._converter.close()

    def _judge(self, graph: Int8Graph, tiers: Sequence[FeasibilityTier], model_file: Callable[[], Path]) -> Verdict:
        for tier in tiers:
            report = tier.report(graph, model_file)
            violations = self._budget.violations(report)
            if violations:
                break
        return Verdict(report, violations)

    def _untrained(self, network: Network) -> bytes:
        if self._converter is None:
            raise ConfigError("a feasibility tier needs a .tflite file but the gate has no converter; give it one")
        return self._converter.convert_untrained(network, seed=0)


def _read(tflite: bytes) -> Int8Graph:
    from automcu.graph.tflite_reader import read_tflite  # its schema package takes half a second to import

    return read_tflite(tflite)


@contextmanager
def _file_on_demand(make: Callable[[], bytes]) -> Iterator[Callable[[], Path]]:
    """A function that writes the bytes of `make` to a file at its first call; the file is gone at the end."""
    folders: list[TemporaryDirectory[str]] = []

    def file() -> Path:
        if not folders:
            content = make()
            folders.append(TemporaryDirectory(prefix="automcu-"))
            (Path(folders[0].name) / "model.tflite").write_bytes(content)
        return Path(folders[0].name) / "model.tflite"

    try:
        yield file
    finally:
        for folder in folders:
            folder.cleanup()
