"""Local search (White et al. 2020, arXiv:2005.02960): from a random network to a better neighbour, again and again;
from a network that no neighbour beats, to another random one.

It moves to the first better neighbour that it learns of. Answers may come late and in any order: whatever is better
than where it stands is a move.
"""

import random
from collections.abc import Iterator, Sequence

from automcu.architecture import Architecture
from automcu.finished import Deployed, Evaluated, Failed, Finished, Rejected, Skipped, Stopped
from automcu.messages import RoundPlan
from automcu.proposal import Proposal, ProposalItem
from automcu.proposers.niches import accuracy
from automcu.proposers.random_search import fresh_random
from automcu.spaces.space import Space


class LocalSearch:
    """See the module. Proposes no architecture twice, and fewer once nearly all have been tried."""

    name = "local_search"

    def __init__(self, space: Space, seed: int) -> None:
        self._space = space
        self._rng = random.Random(seed)
        self._scores: dict[str, float] = {}
        self._seen: set[str] = set()
        self._pending: set[str] = set()
        self._here: Architecture | None = None
        self._left: Iterator[Architecture] = iter(())

    def propose(self, count: int, plan: RoundPlan | None = None) -> Iterator[ProposalItem]:
        """Up to `count` neighbours of where it stands; random starts where it stands nowhere, or waits."""
        for _ in range(count):
            architecture, how = self._neighbour(), "neighbour"
            if architecture is None:
                architecture, how = fresh_random(self._space, self._rng, self._seen), "start"
            if architecture is None:
                return
            self._seen.add(architecture.fingerprint)
            self._pending.add(architecture.fingerprint)
            yield Proposal(architecture, f"local_search:{how}")

    def observe(self, finished: Sequence[Finished]) -> None:
        """Moves to what is better than where it stands."""
        for end in finished:
            fingerprint = end.candidate.architecture.fingerprint
            self._seen.add(fingerprint)
            self._pending.discard(fingerprint)
            match end:
                case Evaluated() | Deployed() | Stopped():
                    self._scores[fingerprint] = accuracy(end)
                    if self._here is None or self._better(end.candidate.architecture):
                        self._move(end.candidate.architecture)
                case Rejected() | Failed() | Skipped():
                    pass

    def _better(self, architecture: Architecture) -> bool:
        assert self._here is not None
        return self._scores.get(architecture.fingerprint, 0.0) > self._scores[self._here.fingerprint]

    def _move(self, architecture: Architecture) -> None:
        self._here = architecture
        self._left = self._space.neighbours(architecture, self._rng)

    def _neighbour(self) -> Architecture | None:
        """The next neighbour that was not tried before; None where there is none and a new start is due."""
        while (architecture := next(self._left, None)) is not None:
            if architecture.fingerprint not in self._seen:
                return architecture
            if self._better(architecture):  # known from an earlier walk
                self._move(architecture)
        if not self._pending:
            self._here = None
        return None
