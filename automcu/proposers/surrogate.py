"""Bayesian optimisation with a Gaussian process (Jones et al. 1998, *Efficient Global Optimization*): how networks
scored tells how others like them would, and the one with the greatest expected improvement is proposed.

1. What networks are alike is told by `Space.features`; the kernel is Matérn's, smoothness 3/2.
2. It begins with the starters, where there are any, and with `BEGIN` random networks, each the largest of
   `DRAWN`: a tiny one tells little.
3. Then the candidates are `POOL` random networks and all neighbours of the `PARENTS` best ones, so that it looks both
   everywhere and closely around what is good.
4. Accuracies are stretched near the best one, to -log(distance from the best + a tenth of the median's): differences
   near the top are what matters, and a few very bad networks must not shape the model.
5. Length scale and noise are chosen anew each time by the marginal likelihood, from a few multiples of the median
   distance and a few shares.
6. What is still being trained counts as if it had scored what the model expects (Ginsbourger et al. 2010, "kriging
   believer"), so that several proposals at once differ.
7. Candidates that are known to break the budget are passed over.
"""

import random
from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np

from automcu.architecture import Architecture
from automcu.finished import Deployed, Evaluated, Failed, Finished, Rejected, Skipped, Stopped
from automcu.messages import RoundPlan
from automcu.proposal import Proposal, ProposalItem
from automcu.proposers.forecast import Forecast
from automcu.proposers.gaussian_process import Model
from automcu.proposers.niches import accuracy
from automcu.proposers.random_search import largest_random
from automcu.proposers.starters import Starters
from automcu.spaces.space import Space

BEGIN = 8
DRAWN = 3
POOL = 400
PARENTS = 5
TRIES = 100
MODELLED = 256
"""The best so many networks are what the model is made of: its cost grows with their third power."""


class SurrogateSearch:
    """See the module. `forecast` None takes everything to fit."""

    name = "surrogate"

    def __init__(
        self, space: Space, seed: int, forecast: Forecast | None = None, starters: Starters | None = None
    ) -> None:
        self._space = space
        self._rng = random.Random(seed)
        self._forecast = forecast
        self._starters = starters
        self._begin = BEGIN if starters is None else 0
        self._seen: set[str] = set()
        self._pending: dict[str, Architecture] = {}
        self._scores: dict[str, tuple[Architecture, float]] = {}

    def propose(self, count: int, plan: RoundPlan | None = None) -> Iterator[ProposalItem]:
        """Up to `count` architectures not tried before; fewer once the space is nearly used up, or in a round that
        begins with starters."""
        begun = [] if self._starters is None else self._starters.proposals(self._seen, count, self.name)
        for proposal in begun:
            yield self._noted(proposal)
        for _ in range(0 if begun else count):
            if len(self._scores) < 2 or len(self._scores) + len(self._pending) < self._begin:
                architecture, how = self._chance(), "random"
            else:
                architecture, how = self._expected_best(), "expected improvement"
            if architecture is None:
                return
            yield self._noted(Proposal(architecture, f"{self.name}:{how}"))

    def observe(self, finished: Sequence[Finished]) -> None:
        """Trained candidates are what the model learns from; what was stopped counts as accurate as it was then."""
        for end in finished:
            architecture = end.candidate.architecture
            fingerprint = architecture.fingerprint
            self._seen.add(fingerprint)
            self._pending.pop(fingerprint, None)
            match end:
                case Evaluated() | Deployed() | Stopped():
                    self._scores[fingerprint] = architecture, accuracy(end)
                case Rejected():
                    if self._starters is not None:
                        self._starters.reject(end)
                case Failed() | Skipped():
                    pass

    def _noted(self, proposal: Proposal) -> Proposal:
        self._seen.add(proposal.architecture.fingerprint)
        self._pending[proposal.architecture.fingerprint] = proposal.architecture
        return proposal

    def _chance(self) -> Architecture | None:
        """The largest of a few random architectures, one that fits if such are not too rare."""
        for _ in range(TRIES):
            drawn = largest_random(self._space, self._rng, self._seen, DRAWN)
            if drawn is None or self._fits(drawn):
                break
        return drawn

    def _fits(self, architecture: Architecture) -> bool:
        return self._forecast is None or not self._forecast.broken(architecture)

    def _expected_best(self) -> Architecture | None:
        """The candidate of greatest expected improvement that fits, else a random network."""
        known = sorted(self._scores.values(), key=lambda scored: -scored[1])[:MODELLED]
        candidates = self._candidates([architecture for architecture, _ in known[:PARENTS]])
        if not candidates:
            return self._chance()
        model = Model(self._features([architecture for architecture, _ in known]), [score for _, score in known])
        if self._pending:
            model.believe(self._features(list(self._pending.values())))
        order = np.argsort(-model.expected_improvement(self._features(candidates)), kind="stable")
        ranked = (candidates[place] for place in order)
        return next((candidate for candidate in ranked if self._fits(candidate)), None) or self._chance()

    def _candidates(self, parents: Sequence[Architecture]) -> list[Architecture]:
        drawn = (self._space.random(self._rng) for _ in range(POOL))
        near = (neighbour for parent in parents for neighbour in self._space.neighbours(parent, self._rng))
        found = {architecture.fingerprint: architecture for architecture in chain(drawn, near)}
        return [architecture for fingerprint, architecture in found.items() if fingerprint not in self._seen]

    def _features(self, architectures: Sequence[Architecture]) -> np.ndarray:
        return np.array([self._space.features(architecture) for architecture in architectures])
