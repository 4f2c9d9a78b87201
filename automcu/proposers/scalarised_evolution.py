"""Evolution in the way of uNAS (Liberis et al. 2021, arXiv:2010.14246): limits are part of the fitness, not a gate.

Aging evolution as in `evolution`, but in each tournament, drawn with replacement, the loss of a network is the greatest
of its goals, the error, RAM, Flash and multiply-accumulates: each as a share of its bound, at most 10, divided by a
number drawn at random between 0 and 1. So a network that
breaks a limit is not ruled out, only worse in most tournaments; a goal whose drawn number is small decides alone.
"""

import random
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from automcu.architecture import Architecture, Candidate
from automcu.board import Budget, Resource
from automcu.finished import Deployed, Evaluated, Failed, Finished, Rejected, Skipped, Stopped
from automcu.messages import RoundPlan
from automcu.proposal import Proposal, ProposalItem
from automcu.proposers.evolution import require_tournament
from automcu.proposers.niches import accuracy
from automcu.proposers.random_search import fresh_random
from automcu.spaces.space import Space

_LEAST = 1e-9
_WORST = 1.0
_MOST_SHARE = 10.0


@dataclass(frozen=True, slots=True)
class _Member:
    """A network that was judged. `goals` are shares of the bounds: of the error, then of each limit."""

    candidate: Candidate
    goals: tuple[float, ...]


class ScalarisedEvolution:
    """See the module; `error_bound` is the share of wrong answers that would do. What was rejected without training has
    answered all wrong. Raises `ConfigError` unless 1 <= tournament <= population."""

    name = "unas"

    def __init__(
        self, space: Space, seed: int, budget: Budget, population: int, tournament: int, error_bound: float
    ) -> None:
        require_tournament(population, tournament)
        self._space = space
        self._rng = random.Random(seed)
        self._budget = budget
        self._limits: dict[Resource, float] = {"ram": budget.ram_bytes, "flash": budget.flash_bytes}
        if budget.macs is not None:
            self._limits["macs"] = budget.macs
        if budget.latency_ms is not None:
            self._limits["latency"] = 1000 * budget.latency_ms
        self._population = population
        self._tournament = tournament
        self._error_bound = error_bound
        self._members: deque[_Member] = deque(maxlen=population)
        self._seen: set[str] = set()

    def propose(self, count: int, plan: RoundPlan | None = None) -> Iterator[ProposalItem]:
        """Up to `count` architectures not tried before: random ones until the population is there, then neighbours of
        the winners of tournaments."""
        for _ in range(count):
            architecture, origin = None, f"{self.name}:random"
            if len(self._members) == self._population:
                parent = self._winner()
                architecture, origin = self._neighbour(parent.architecture), f"{self.name}:mutate({parent.id})"
            if architecture is None:
                architecture, origin = fresh_random(self._space, self._rng, self._seen), f"{self.name}:random"
            if architecture is None:
                return
            self._seen.add(architecture.fingerprint)
            yield Proposal(architecture, origin)

    def observe(self, finished: Sequence[Finished]) -> None:
        """Whatever was judged enters the population, also what broke a limit."""
        for end in finished:
            self._seen.add(end.candidate.architecture.fingerprint)
            match end:
                case Evaluated(candidate, report) | Stopped(candidate, report):
                    error = 1 - accuracy(end)
                case Rejected(candidate, report, _, trial):
                    error = _WORST if trial is None else 1 - trial.validation_accuracy
                case Deployed() | Failed() | Skipped():
                    continue
            costs = (self._budget.figure(resource, report) / limit for resource, limit in self._limits.items())
            goals = error / self._error_bound, *costs
            self._members.append(_Member(candidate, tuple(min(goal, _MOST_SHARE) for goal in goals)))

    def _winner(self) -> Candidate:
        drawn = self._rng.choices(self._members, k=self._tournament)
        weights = [1 / max(self._rng.random(), _LEAST) for _ in drawn[0].goals]

        def loss(member: _Member) -> float:
            return max(weight * goal for weight, goal in zip(weights, member.goals, strict=True))

        return min(drawn, key=loss).candidate

    def _neighbour(self, architecture: Architecture) -> Architecture | None:
        """A new neighbour, None where all have been tried."""
        near = self._space.neighbours(architecture, self._rng)
        return next((neighbour for neighbour in near if neighbour.fingerprint not in self._seen), None)
