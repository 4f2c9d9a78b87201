"""How long an inference takes, beside what it needs: a tier with an estimate of clock cycles in its reports."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from automcu.feasibility.tier import FeasibilityTier
from automcu.graph.int8 import Int8Graph
from automcu.graph.latency import CYCLES, Runtime, estimate_cycles
from automcu.results import FeasibilityReport

_RUNTIMES: dict[str, Runtime] = {"planner": "automcu", "tflm": "tflm"}
"""Whose runtime a tier's figures are of, by its name; all others are of ST's."""


class Timed:
    """`tier` for one core, such as `cortex-m4f`: its reports state the cycles that its runtime is estimated to take on
    that core, None where no such part was ever measured."""

    def __init__(self, tier: FeasibilityTier, core: str) -> None:
        self._tier = tier
        self._core = core
        self._runtime = _RUNTIMES.get(tier.name, "st")
        self.name = tier.name
        self.target = core if tier.target.startswith("any ") else tier.target

    @property
    def version(self) -> str:
        """The tier's: it may have to ask a program."""
        return self._tier.version

    def report(self, graph: Int8Graph, model_file: Callable[[], Path]) -> FeasibilityReport:
        """See `FeasibilityTier`."""
        report = self._tier.report(graph, model_file)
        if self._core not in CYCLES[self._runtime]:
            return report
        return replace(report, target=self.target, cycles=estimate_cycles(graph, self._core, self._runtime))

    def close(self) -> None:
        """See `FeasibilityTier`."""
        self._tier.close()
