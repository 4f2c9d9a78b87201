"""The methods that are compared, by name. Those without a language model are free: a thousand searches take minutes."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence

from automcu.finished import Finished
from automcu.messages import RoundPlan
from automcu.proposal import Proposal, ProposalItem, Proposer
from automcu.proposers.evolution import RegularizedEvolution
from automcu.proposers.local_search import LocalSearch
from automcu.proposers.random_search import RandomSearch
from automcu.proposers.surrogate import SurrogateSearch
from automcu.proposers.tpe import TPESearch
from automcu.spaces.nasbench201 import EDGES, OPERATIONS, NasBench201Space, computes

PRIOR: Mapping[str, float] = {"nor_conv_3x3": 0.48, "nor_conv_1x1": 0.25, "skip_connect": 0.20}
"""Shares of operations that someone who knows such tables would draw; the others have the rest."""


class OperationPrior:
    """Random cells whose operations are drawn by `PRIOR`: how far a prior alone leads, without any search. It was
    chosen by people who had seen the table, as a language model may have: a control, no fair method."""

    name = "operation_prior"

    def __init__(self, space: NasBench201Space, seed: int) -> None:
        self._space = space
        self._rng = random.Random(seed)
        rest = (1 - sum(PRIOR.values())) / (len(OPERATIONS) - len(PRIOR))
        self._weights = [PRIOR.get(operation, rest) for operation in OPERATIONS]
        self._seen: set[tuple[str, ...]] = set()

    def propose(self, count: int, plan: RoundPlan | None = None) -> Iterator[ProposalItem]:
        """Up to `count` cells that it has not proposed before."""
        for _ in range(count):
            cell = tuple(self._rng.choices(OPERATIONS, self._weights, k=len(EDGES)))
            while cell in self._seen or not computes(cell):
                cell = tuple(self._rng.choices(OPERATIONS, self._weights, k=len(EDGES)))
            self._seen.add(cell)
            yield Proposal(self._space.architecture(cell), self.name)

    def observe(self, finished: Sequence[Finished]) -> None:
        """Nothing: it does not learn."""


FREE: Mapping[str, Callable[[NasBench201Space, int], Proposer]] = {
    "random": RandomSearch,
    "local_search": LocalSearch,
    # As in the benchmark's paper and its successors: ten random cells, tournaments of 3.
    "evolution": lambda space, seed: RegularizedEvolution(space, seed, 10, 3, begin=10, drawn=1),
    "surrogate": SurrogateSearch,
    "tpe": TPESearch,
    "operation_prior": OperationPrior,
}
