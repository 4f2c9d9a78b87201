"""Niches: a grid of RAM by MACs over what fits, the most accurate network of each cell kept (MAP-Elites, Mouret and
Clune 2015, arXiv:1504.04909). It keeps a search from crowding where its best network lies."""

import math
from dataclasses import dataclass

from automcu.board import Budget
from automcu.finished import Deployed, Evaluated, Stopped
from automcu.results import FeasibilityReport

Trained = Evaluated | Deployed | Stopped

RAM_CELLS = 4
RAM_FACTOR = 2
MACS_FACTOR = 4
NO_LIMIT_MACS = 4**15
"""What MACs are counted down from where they have no limit: more than any microcontroller will do."""
_BESIDE = ((0, -1), (-1, 0), (1, 0), (0, 1))
"""More MACs, more RAM, less RAM, fewer MACs."""


@dataclass(frozen=True, slots=True)
class Niche:
    """A cell: how many times RAM is halved, and MACs are quartered, below their limits."""

    ram: int
    macs: int


class Niches:
    """The most accurate trained network of each cell."""

    def __init__(self, budget: Budget) -> None:
        self._ram_limit = budget.ram_bytes
        self._macs_limit = budget.macs or NO_LIMIT_MACS
        self._best: dict[Niche, Trained] = {}

    def niche(self, report: FeasibilityReport) -> Niche:
        """The cell of a network. The last one of RAM has all that need less, the first ones all that need more."""
        ram = _steps(self._ram_limit, report.ram_bytes, RAM_FACTOR)
        return Niche(min(ram, RAM_CELLS - 1), _steps(self._macs_limit, report.macs, MACS_FACTOR))

    def add(self, end: Trained) -> None:
        """Takes in one more trained network. One that is told of again takes its own place."""
        cell = self.niche(end.report)
        known = self._best.get(cell)
        if known is None or known.candidate.id == end.candidate.id or accuracy(end) > accuracy(known):
            self._best[cell] = end

    def __contains__(self, niche: Niche) -> bool:
        return niche in self._best

    @property
    def members(self) -> list[Trained]:
        """The best of each cell, the most accurate first."""
        return sorted(self._best.values(), key=lambda end: -accuracy(end))

    def gaps(self) -> list[Niche]:
        """The empty cells beside those that are not, those beside the most accurate network first."""
        found: dict[Niche, None] = {}
        for end in self.members:
            cell = self.niche(end.report)
            for ram, macs in _BESIDE:
                beside = Niche(cell.ram + ram, cell.macs + macs)
                if 0 <= beside.ram < RAM_CELLS and beside.macs >= 0 and beside not in self._best:
                    found[beside] = None
        return list(found)

    def words(self, niche: Niche) -> str:
        """A cell as the range of figures that it holds."""
        least = 0 if niche.ram == RAM_CELLS - 1 else self._ram_limit // RAM_FACTOR ** (niche.ram + 1)
        most = self._ram_limit // RAM_FACTOR**niche.ram
        macs = [self._macs_limit // MACS_FACTOR ** (niche.macs + step) for step in (1, 0)]
        return f"RAM {least:,} to {most:,} B with {macs[0]:,} to {macs[1]:,} MACs"


def accuracy(end: Trained) -> float:
    """Validation accuracy: of the int8 network where it was measured, else of the float one when it was stopped."""
    if isinstance(end, Stopped):
        return end.trial.validation_accuracy
    return end.evaluation.int8_validation_accuracy


def _steps(limit: int, value: int, factor: int) -> int:
    """How often `limit` is divided by `factor` until it would be below `value`."""
    return max(0, math.floor(math.log(limit / max(value, 1), factor)))
