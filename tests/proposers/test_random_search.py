from itertools import chain

from automcu.proposal import Proposal, Proposer
from automcu.proposers.random_search import RandomSearch
from automcu.spaces.mcu_cnn import McuCnnSpace
from tests.contracts.proposer import ProposerContract
from tests.proposers.grid_space import GridSpace


class TestRandomSearch(ProposerContract):
    space = McuCnnSpace((32, 32, 3), 10)

    def make(self, seed: int) -> Proposer:
        return RandomSearch(self.space, seed)


def test_never_repeats_itself_and_ends_when_the_space_is_used_up() -> None:
    class Small(GridSpace):
        def random(self, rng):  # type: ignore[no-untyped-def]
            return self.of([rng.randrange(4), *[0] * 7])

    proposer = RandomSearch(Small(), seed=0)
    items = list(chain.from_iterable(proposer.propose(3) for _ in range(4)))
    assert all(isinstance(item, Proposal) for item in items)
    assert len({item.architecture for item in items}) == len(items) == 4
