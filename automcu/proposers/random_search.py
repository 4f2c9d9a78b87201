"""Random search: the baseline every other proposer must beat."""

import random
from collections.abc import Collection, Iterator, Sequence
from math import prod

from automcu.architecture import Architecture
from automcu.finished import Finished
from automcu.messages import RoundPlan
from automcu.proposal import Proposal, ProposalItem
from automcu.spaces.space import Space

DRAWS = 100
"""Random draws after which a space counts as used up."""


class RandomSearch:
    """Proposes architectures drawn at random; repeats none, and yields fewer once nearly all have been tried."""

    name = "random"

    def __init__(self, space: Space, seed: int) -> None:
        self._space = space
        self._rng = random.Random(seed)
        self._seen: set[str] = set()

    def propose(self, count: int, plan: RoundPlan | None = None) -> Iterator[ProposalItem]:
        """Up to `count` new random architectures."""
        for _ in range(count):
            architecture = fresh_random(self._space, self._rng, self._seen)
            if architecture is None:
                return
            self._seen.add(architecture.fingerprint)
            yield Proposal(architecture, "random")

    def observe(self, finished: Sequence[Finished]) -> None:
        """Remembers what has been tried; the outcomes do not matter to chance."""
        self._seen.update(end.candidate.architecture.fingerprint for end in finished)


def largest_random(space: Space, rng: random.Random, seen: Collection[str], draws: int) -> Architecture | None:
    """The one with the most parameters of `draws` such architectures: where most fit, a tiny one wastes a training."""
    drawn = [fresh_random(space, rng, seen) for _ in range(draws)]
    found = [architecture for architecture in drawn if architecture is not None]
    return max(found, key=lambda one: sum(map(prod, space.build(one).parameter_shapes.values())), default=None)


def fresh_random(space: Space, rng: random.Random, seen: Collection[str]) -> Architecture | None:
    """A random architecture whose fingerprint is not in `seen`, or None after `DRAWS` draws in vain."""
    for _ in range(DRAWS):
        architecture = space.random(rng)
        if architecture.fingerprint not in seen:
            return architecture
    return None
