"""The gate: tiers state what a network costs, the cheapest first; the budget decides. Nothing trains without it."""

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from automcu.architecture import Architecture
from automcu.board import Board, Budget, Violation
from automcu.errors import BudgetTooSmall, CandidateFailure, ConfigError, InfraFailure
from automcu.feasibility.findings import with_changes
from automcu.feasibility.temporary import file_on_demand, untrained
from automcu.feasibility.tier import FeasibilityTier
from automcu.graph.int8 import Int8Graph
from automcu.graph.lowering import lower
from automcu.graph.network import Network
from automcu.results import FeasibilityReport

CACHED_REPORTS = 4096
_BYTES_PER_KB = 1000  # as in the configuration


class Buildable(Protocol):
    """What the gate needs of a search space."""

    def build(self, architecture: Architecture) -> Network:
        """The network of an architecture; raises `InvalidArchitecture`."""
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


def judge(report: FeasibilityReport, budget: Budget, board: Board) -> Verdict:
    """The verdict on a report for one more board; no tier is asked again."""
    return Verdict(report, budget.on(board).violations(report))


class ReportCache:
    """Reports by int8 graph and tier (with its version and target), the last used `limit` of them. Knows no budget, so
    that gates for many boards may share one.

    Reports name layers and a graph's fingerprint does not, so graphs that differ in names count as two.
    """

    def __init__(self, limit: int = CACHED_REPORTS) -> None:
        self._limit = limit
        self._known: OrderedDict[tuple[object, ...], FeasibilityReport] = OrderedDict()

    def report(self, tier: FeasibilityTier, graph: Int8Graph, model_file: Callable[[], Path]) -> FeasibilityReport:
        """What `tier` says of `graph`, asked once. Raises what the tier raises, which is not remembered."""
        names = (*(operator.name for operator in graph.operators), *(tensor.name for tensor in graph.tensors))
        key = (graph.fingerprint, names, tier.name, tier.version, tier.target)
        report = self._known.get(key)
        if report is None:
            report = self._known[key] = tier.report(graph, model_file)
            if len(self._known) > self._limit:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
        return report


class Gate:
    """Judges architectures and files against one budget, already cut to the board.

    `tiers` judge from the graph alone, at once; `vendor` asks a tool, which is slow and may need a file. All of them
    must find that a network fits, `vendor` last. `screen` goes before `vendor`: it states what a network costs at
    least, and its word counts only against a network.
    """

    def __init__(
        self,
        space: Buildable,
        budget: Budget,
        tiers: Sequence[FeasibilityTier],
        vendor: FeasibilityTier | None = None,
        screen: FeasibilityTier | None = None,
        reports: ReportCache | None = None,
    ) -> None:
        if not tiers and vendor is None:
            raise ConfigError("the gate has no tier; give at least the planner tier")
        self._space = space
        self._budget = budget
        self._vendor = vendor
        self._quick = (*tiers, *([screen] if screen is not None and vendor is not None else []))
        self._deciding = (*tiers, *([vendor] if vendor is not None else []))
        self._reports = reports or ReportCache()

    def screen(self, architecture: Architecture) -> Verdict | None:
        """The verdict where it takes no slow tool: None when `vendor` has to be asked, by `check`.

        Raises `InvalidArchitecture`, and what the tiers raise.
        """
        return self._screen(lower(self._space.build(architecture)))

    def check(self, architecture: Architecture) -> Verdict:
        """The verdict of the first tier that finds a limit broken, or else of the last. Raises as `screen` does."""
        graph = lower(self._space.build(architecture))
        screened = self._screen(graph)
        if screened is not None:
            return screened
        assert self._vendor is not None  # or the screening would have had the last word
        with file_on_demand(lambda: untrained(graph)) as model_file:
            return self._judge(self._vendor, graph, model_file)

    def judge_file(self, tflite: bytes) -> tuple[Verdict, ...]:
        """The verdicts on an int8 .tflite file of all the tiers whose word counts for a network, `vendor` last. The
        file is judged anew, since tools may compress its weights. Raises `UnsupportedModel` when it cannot be read."""
        from automcu.graph.tflite.reader import read_tflite  # its schema package takes half a second to import

        graph = read_tflite(tflite)
        with file_on_demand(lambda: tflite) as model_file:
            reports = [tier.report(graph, model_file) for tier in self._deciding]
        return tuple(Verdict(report, self._budget.violations(report)) for report in reports)

    def require_feasible(self, smallest: Architecture) -> None:
        """Raises `BudgetTooSmall`, with the figures that would do, when not even `smallest` fits by all the tiers.

        `vendor` counts when it answers; when it does not, the search will meet and tell that.
        """
        graph = lower(self._space.build(smallest))
        with file_on_demand(lambda: untrained(graph)) as model_file:
            for tier in (*self._quick, *self._deciding):
                try:
                    self._require_fit(self._judge(tier, graph, model_file))
                except (CandidateFailure, InfraFailure):
                    if tier is not self._vendor:
                        raise

    def _require_fit(self, smallest: Verdict) -> None:
        if smallest.fits:
            return
        report = smallest.report
        limits: dict[str, int] = {violation.resource: violation.limit for violation in smallest.violations}
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
        if "latency" in limits:
            milliseconds = self._budget.figure("latency", report) / 1000
            needs.append(f"about {milliseconds:.1f} ms, over the {limits['latency'] / 1000:g} ms allowed")
            keys.append(f"budget.latency_ms to at least {math.ceil(10 * milliseconds) / 10:g}")
        raise BudgetTooSmall(
            f"even the smallest network of this space needs, by tier {report.tier}, {'; '.join(needs)}: raise "
            f"{' and '.join(keys)}, or choose a larger or faster board where the board sets the limit"
        )

    def close(self) -> None:
        """Close the tiers."""
        for tier in dict.fromkeys((*self._quick, *self._deciding)):
            tier.close()

    def _screen(self, graph: Int8Graph) -> Verdict | None:
        verdict = None
        for tier in self._quick:
            verdict = self._judge(tier, graph, _no_file)
            if not verdict.fits:
                return replace(verdict, violations=with_changes(graph, tier, self._budget, verdict.violations))
        return verdict if self._vendor is None else None

    def _judge(self, tier: FeasibilityTier, graph: Int8Graph, model_file: Callable[[], Path]) -> Verdict:
        report = self._reports.report(tier, graph, model_file)
        return Verdict(report, self._budget.violations(report))


def _no_file() -> Path:
    raise ConfigError("this feasibility tier needs a .tflite file; give it to the gate as vendor")
