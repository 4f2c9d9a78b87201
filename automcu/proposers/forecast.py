"""What a proposer can tell of an architecture before the gate does."""

from collections.abc import Set
from dataclasses import dataclass

from automcu.architecture import Architecture
from automcu.board import Budget, Resource
from automcu.errors import CandidateFailure, InvalidArchitecture
from automcu.proposal import Cost

_ALL: Set[Resource] = frozenset({"ram", "flash", "macs", "latency"})


@dataclass(frozen=True, slots=True)
class Forecast:
    """Limits of `budget` that an architecture breaks by `cost`. The gate may find more: a vendor's tool counts more."""

    cost: Cost
    budget: Budget

    def broken(self, architecture: Architecture) -> Set[Resource]:
        """What the architecture breaks; everything where it lies outside its space, or no kernel computes it."""
        try:
            report = self.cost(architecture)
        except (CandidateFailure, InvalidArchitecture):
            return _ALL
        return {violation.resource for violation in self.budget.violations(report)}
