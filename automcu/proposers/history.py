"""What became of candidates so far, as far as a prompt or a menu can use it; bounded in size."""

from collections import deque
from collections.abc import Sequence

from automcu.architecture import Architecture
from automcu.board import Budget, Violation
from automcu.finished import Deployed, Evaluated, Failed, Finished, Rejected, Skipped, Stopped
from automcu.pareto import pareto_front
from automcu.proposers.niches import Niches

FRONT_KEPT = 16
REJECTED_KEPT = 32
STOPPED_KEPT = 3
FAILED_KEPT = 2
TRIED_KEPT = 12


class History:
    """The front, niches, near misses and latest ends of a search under `budget`."""

    def __init__(self, budget: Budget) -> None:
        self.niches = Niches(budget)
        self.ended: dict[int, str] = {}
        """How each candidate ended, by id."""
        self.front: list[Evaluated | Deployed] = []
        """Measured networks that no other one beats in accuracy, RAM, Flash and MACs; the most accurate first."""
        self.stopped: deque[Stopped] = deque(maxlen=STOPPED_KEPT)
        self.failed: deque[Failed] = deque(maxlen=FAILED_KEPT)
        self.tried: deque[Architecture] = deque(maxlen=TRIED_KEPT)
        """The latest architectures, however they ended."""
        self._rejected: deque[Rejected] = deque(maxlen=REJECTED_KEPT)

    @property
    def best_accuracy(self) -> float | None:
        """The best int8 validation accuracy, None before the first."""
        return self.front[0].evaluation.int8_validation_accuracy if self.front else None

    @property
    def near_misses(self) -> list[Rejected]:
        """Of the latest that were rejected, those nearest to the limits first."""
        return sorted(self._rejected, key=lambda end: excess(end.violations))

    def add(self, end: Finished) -> None:
        """Takes in one more end; a deployed candidate takes the place of its evaluated self."""
        if end.candidate.id not in self.ended:
            self.tried.append(end.candidate.architecture)
        self.ended[end.candidate.id] = type(end).__name__.lower()
        match end:
            case Evaluated() | Deployed():
                self.niches.add(end)
                others = [other for other in self.front if other.candidate.id != end.candidate.id]
                front = pareto_front([*others, end], _objectives)
                self.front = sorted(front, key=lambda end: _objectives(end)[0])[:FRONT_KEPT]
            case Stopped():
                self.niches.add(end)
                self.stopped.append(end)
            case Rejected():
                self._rejected.append(end)
            case Failed():
                self.failed.append(end)
            case Skipped():
                pass


def excess(violations: Sequence[Violation]) -> float:
    """How far over its limits a network is: the sum over them of (value - limit) / limit; 0 for one that fits."""
    return sum(violation.over / violation.limit for violation in violations)


def _objectives(end: Evaluated | Deployed) -> tuple[float, ...]:
    report = end.report
    return -end.evaluation.int8_validation_accuracy, report.ram_bytes, report.flash_bytes, report.macs
