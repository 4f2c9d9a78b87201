from statistics import mean

from automcu.architecture import Architecture, Candidate
from automcu.finished import Evaluated
from automcu.proposal import Proposal, Proposer
from automcu.proposers.local_search import LocalSearch
from automcu.proposers.random_search import RandomSearch
from automcu.spaces.mcu_cnn import McuCnnSpace
from automcu.spaces.nasbench201 import NasBench201Space
from tests import builders
from tests.contracts.proposer import ProposerContract
from tests.proposers.grid_space import GridSpace, digits_of
from tests.proposers.test_evolution import accuracy_of


class TestLocalSearch(ProposerContract):
    space = McuCnnSpace((32, 32, 3), 10)

    def make(self, seed: int) -> Proposer:
        return LocalSearch(self.space, seed)


class TestLocalSearchOfCells(TestLocalSearch):
    space = NasBench201Space((32, 32, 3), 10)


def ended(number: int, architecture: Architecture, accuracy: float) -> Evaluated:
    return Evaluated(
        Candidate(number, architecture, "test"), builders.report(), builders.trial(), builders.evaluation(accuracy)
    )


def walk(proposer: Proposer, queries: int, at_once: int = 1) -> list[tuple[Proposal, float]]:
    told: list[tuple[Proposal, float]] = []
    while len(told) < queries:
        items = [item for item in proposer.propose(at_once) if isinstance(item, Proposal)]
        if not items:
            break
        told += [(item, accuracy_of(item.architecture)) for item in items]
        proposer.observe([ended(len(told), item.architecture, accuracy_of(item.architecture)) for item in items])
    return told


def test_it_climbs_to_the_best_and_then_starts_anew() -> None:
    told = walk(LocalSearch(GridSpace(), 0), 200)
    best = next(number for number, (_, accuracy) in enumerate(told) if accuracy == 1.0)
    origins = [item.origin for item, _ in told]
    assert best < 120  # a hill of 8 digits: every step up is one of at most 16
    assert origins[0] == "local_search:start" and set(origins[1 : best + 1]) == {"local_search:neighbour"}
    assert "local_search:start" in origins[best + 1 : best + 18]


def test_it_moves_to_the_first_better_neighbour() -> None:
    proposer = LocalSearch(GridSpace(), 1)
    here, score = walk(proposer, 1)[0]
    for item, accuracy in walk(proposer, 60):
        gaps = zip(digits_of(item.architecture), digits_of(here.architecture), strict=True)
        if item.origin.endswith("start"):
            break
        assert sum(abs(one - other) for one, other in gaps) == 1
        if accuracy > score:
            here, score = item, accuracy
    assert score > 0.8


def test_several_at_once_are_different_and_late_answers_do_no_harm() -> None:
    for at_once in (2, 5):
        told = walk(LocalSearch(GridSpace(), 2), 200, at_once)
        assert len({item.architecture for item, _ in told}) == len(told)
        assert max(accuracy for _, accuracy in told) == 1.0


def test_it_beats_chance() -> None:
    def best(make: type[LocalSearch] | type[RandomSearch]) -> float:
        return mean(max(accuracy for _, accuracy in walk(make(GridSpace(), seed), 60)) for seed in range(10))

    assert best(LocalSearch) > best(RandomSearch) + 0.05


def test_a_space_that_is_used_up_ends_it() -> None:
    class Small(GridSpace):
        def random(self, rng):
            return self.of([rng.randrange(2), *[0] * 7])

        def neighbours(self, architecture, rng):
            return iter(())

    assert len(walk(LocalSearch(Small(), 0), 10)) == 2
