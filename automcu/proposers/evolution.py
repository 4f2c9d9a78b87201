"""Regularized evolution (Real et al. 2019, arXiv:1802.01548), made aware of feasibility (Deb 2000's rules).

The population holds the last `population` candidates that were trained, whatever their rank: members die of age. A
parent is the most accurate of `tournament` members drawn at random; its child is one neighbour of it.

Until there are `begin` members, proposals are random, and what was rejected steers them. As long as at most half of
what is known was rejected, a random proposal is the largest (by parameters) of `drawn`: where most networks fit, a
tiny one wastes a training. Once more than `MOSTLY` was rejected, every other proposal repairs a near miss instead: a
neighbour of a rejected architecture, chosen by the same tournament with the excess over the limits in place of
accuracy. Each random ancestor's line is represented by its nearest miss only, so that the first networks that fit
come from several lines; they lie near the limits, because each line comes from above.

With starters (see `starters`) these are the first proposals, and mutation begins with the first of them that was
trained: they are no random networks, of which the best of many is wanted.
"""

import random
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from automcu.architecture import Architecture, Candidate
from automcu.errors import ConfigError
from automcu.finished import Deployed, Evaluated, Failed, Finished, Rejected, Skipped, Stopped
from automcu.messages import RoundPlan
from automcu.proposal import Proposal, ProposalItem
from automcu.proposers.history import excess
from automcu.proposers.random_search import largest_random
from automcu.proposers.starters import Starters
from automcu.spaces.space import Space

MOSTLY = 0.9
STEPS = 8
"""How far to walk from a parent whose neighbours have all been tried before giving it up."""


@dataclass(frozen=True, slots=True)
class _Member:
    """A trained candidate: validation accuracy, of the int8 network where there is one."""

    candidate: Candidate
    accuracy: float


@dataclass(frozen=True, slots=True)
class _Miss:
    """A rejected candidate. `excess` is the sum over its violations of (value - limit) / limit."""

    candidate: Candidate
    excess: float


def require_tournament(population: int, tournament: int) -> None:
    """Raise `ConfigError` unless 1 <= tournament <= population."""
    if not 1 <= tournament <= population:
        raise ConfigError(
            f"a tournament of {tournament} cannot be drawn from a population of {population}; "
            "set 1 <= tournament <= population"
        )


class RegularizedEvolution:
    """Tournament selection, one-step mutation, death by age; begins with `starters` where there are any.

    `begin` is as many as `tournament` unless given. The algorithm as published is begin=population, drawn=1. Raises
    `ConfigError` unless 1 <= tournament <= population.
    """

    name = "evolution"

    def __init__(
        self,
        space: Space,
        seed: int,
        population: int = 16,
        tournament: int = 8,
        starters: Starters | None = None,
        *,
        begin: int | None = None,
        drawn: int = 3,
    ) -> None:
        require_tournament(population, tournament)
        self._space = space
        self._rng = random.Random(seed)
        self._tournament = tournament
        self._starters = starters
        self._begin = 1 if starters is not None else begin or tournament
        self._drawn = drawn
        self._members: deque[_Member] = deque(maxlen=population)
        self._max_misses = population
        self._misses: dict[str, _Miss] = {}
        self._line: dict[str, str] = {}
        self._seen: set[str] = set()
        self._ended: set[str] = set()
        self._rejected = 0

    def propose(self, count: int, plan: RoundPlan | None = None) -> Iterator[ProposalItem]:
        """Up to `count` architectures not tried before; fewer once the space is nearly used up, or in a round that
        begins with starters."""
        if self._starters is not None:
            begun = self._starters.proposals(self._seen, count, self.name)
            self._seen.update(proposal.architecture.fingerprint for proposal in begun)
            yield from begun
            if begun:
                return
        for _ in range(count):
            proposal = self._mutant() or self._chance()
            if proposal is None:
                return
            self._seen.add(proposal.architecture.fingerprint)
            yield proposal

    def observe(self, finished: Sequence[Finished]) -> None:
        """Trained candidates enter the population, rejected ones the near misses; the rest is only remembered."""
        for end in finished:
            fingerprint = end.candidate.architecture.fingerprint
            self._seen.add(fingerprint)
            if fingerprint in self._ended:
                continue
            self._ended.add(fingerprint)
            match end:
                case Rejected():
                    self._rejected += 1
                    self._miss(end)
                    if self._starters is not None:
                        self._starters.reject(end)
                case Evaluated(candidate, evaluation=evaluation) | Deployed(candidate, evaluation=evaluation):
                    self._members.append(_Member(candidate, evaluation.int8_validation_accuracy))
                case Stopped(candidate, trial=trial):
                    self._members.append(_Member(candidate, trial.validation_accuracy))
                case Failed() | Skipped():
                    pass

    def _mutant(self) -> Proposal | None:
        """A new neighbour of a parent, or None when it is too early for parents or its surroundings are used up."""
        if len(self._members) >= self._begin:
            drawn = self._rng.sample(self._members, min(self._tournament, len(self._members)))
            parent = max(drawn, key=lambda member: member.accuracy).candidate
            child = self._fresh_neighbour(parent.architecture)
            return None if child is None else Proposal(child, f"evolution:mutate({parent.id})")
        if self._misses and self._rejected > MOSTLY * len(self._seen) and self._rng.random() < 0.5:
            near = self._rng.sample(list(self._misses.values()), min(self._tournament, len(self._misses)))
            parent = min(near, key=lambda miss: miss.excess).candidate
            child = self._fresh_neighbour(parent.architecture)
            if child is not None:
                self._line[child.fingerprint] = self._line_of(parent)
                return Proposal(child, f"evolution:repair({parent.id})")
        return None

    def _chance(self) -> Proposal | None:
        draws = self._drawn if 2 * self._rejected <= len(self._seen) else 1
        drawn = largest_random(self._space, self._rng, self._seen, draws)
        return None if drawn is None else Proposal(drawn, "evolution:random")

    def _fresh_neighbour(self, architecture: Architecture) -> Architecture | None:
        for _ in range(STEPS):
            step = None
            for neighbour in self._space.neighbours(architecture, self._rng):
                if neighbour.fingerprint not in self._seen:
                    return neighbour
                step = step or neighbour
            if step is None:
                return None
            architecture = step
        return None

    def _miss(self, end: Rejected) -> None:
        over = excess(end.violations)
        line = self._line_of(end.candidate)
        known = self._misses.get(line)
        if known is None or over < known.excess:
            self._misses[line] = _Miss(end.candidate, over)
        if len(self._misses) > self._max_misses:
            del self._misses[max(self._misses, key=lambda line: self._misses[line].excess)]

    def _line_of(self, candidate: Candidate) -> str:
        fingerprint = candidate.architecture.fingerprint
        return self._line.get(fingerprint, fingerprint)
