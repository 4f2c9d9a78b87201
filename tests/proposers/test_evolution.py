from collections.abc import Callable
from pathlib import Path
from statistics import mean

import pytest

from automcu.architecture import Architecture, Candidate
from automcu.board import Budget, Violation
from automcu.errors import ConfigError
from automcu.feasibility.planner_tier import PlannerTier
from automcu.finished import Deployed, Evaluated, Finished, Rejected, Stopped
from automcu.graph.lowering import lower
from automcu.proposal import Proposal, Proposer
from automcu.proposers.evolution import RegularizedEvolution
from automcu.proposers.forecast import Forecast
from automcu.proposers.random_search import RandomSearch
from automcu.proposers.starters import Starters
from automcu.spaces.mcu_cnn import McuCnnSpace
from tests import builders
from tests.contracts.proposer import ProposerContract
from tests.proposers.grid_space import BASE, DIGITS, GridSpace, digits_of

TARGET = (6, 1, 4, 2, 5, 0, 3, 3)


class TestRegularizedEvolution(ProposerContract):
    space = McuCnnSpace((32, 32, 3), 10)

    def make(self, seed: int) -> Proposer:
        return RegularizedEvolution(self.space, seed)


class TestSmallPopulation(ProposerContract):
    space = GridSpace()

    def make(self, seed: int) -> Proposer:
        return RegularizedEvolution(self.space, seed, population=1, tournament=1)


class TestWithStarters(ProposerContract):
    space = McuCnnSpace((32, 32, 3), 10)

    def make(self, seed: int) -> Proposer:
        return with_starters(seed)


def with_starters(seed: int) -> RegularizedEvolution:
    space = McuCnnSpace((32, 32, 3), 10)
    return RegularizedEvolution(space, seed, starters=Starters(space.families(), tight(space)))


def tight(space: McuCnnSpace) -> Forecast:
    return Forecast(
        lambda architecture: PlannerTier().report(lower(space.build(architecture)), Path), Budget(64_000, 64_000, None)
    )


def test_begins_with_the_starters_and_goes_on_from_the_first_that_was_trained() -> None:
    proposer = with_starters(0)
    begun = [item for item in proposer.propose(8) if isinstance(item, Proposal)]
    assert [item.origin for item in begun] == [
        f"evolution:start({name})" for name in ("plain", "residual", "pooled residual", "separable", "inverted")
    ]
    trained, refused = (Candidate(number, item.architecture, item.origin) for number, item in enumerate(begun[:2], 1))
    tight = (Violation("flash", 1, 2, "layer"),)
    proposer.observe(
        [
            Evaluated(trained, builders.report(), builders.trial(), builders.evaluation(0.5)),
            Rejected(refused, builders.report(), tight),
        ]
    )
    (second_try,) = proposer.propose(8)
    assert isinstance(second_try, Proposal)
    assert second_try.origin == "evolution:start(residual)"
    assert second_try.architecture not in [item.architecture for item in begun]
    after = [item for item in proposer.propose(8) if isinstance(item, Proposal)]
    assert [item.origin for item in after] == ["evolution:mutate(1)"] * 8


def test_a_round_of_few_has_a_few_starters() -> None:
    proposer = with_starters(0)
    assert [len(list(proposer.propose(2))) for _ in range(4)] == [2, 2, 1, 2]


def test_one_started_afresh_does_not_begin_again() -> None:
    begun = [item for item in with_starters(0).propose(8) if isinstance(item, Proposal)]
    proposer = with_starters(0)
    proposer.observe(
        [
            Evaluated(
                Candidate(number, item.architecture, item.origin),
                builders.report(),
                builders.trial(),
                builders.evaluation(0.5),
            )
            for number, item in enumerate(begun, 1)
        ]
    )
    assert all("mutate" in item.origin for item in proposer.propose(8) if isinstance(item, Proposal))


def accuracy_of(architecture: Architecture) -> float:
    gaps = [abs(digit - wanted) for digit, wanted in zip(digits_of(architecture), TARGET, strict=True)]
    return 1 - sum(gaps) / (DIGITS * (BASE - 1))


def size_of(architecture: Architecture) -> int:
    return sum(2**digit for digit in digits_of(architecture))


def search(proposer: Proposer, trainings: int, limit: int, checks: int = 20_000) -> tuple[list[Evaluated], int]:
    """What is trained, in order, and how many were checked until then: rejections come back at once, trainings in
    pairs."""
    trained: list[Evaluated] = []
    checked = 0
    waiting: list[Finished] = []
    while len(trained) < trainings and checked < checks:
        news: list[Finished] = []
        for item in proposer.propose(4) if len(waiting) < 2 else ():
            assert isinstance(item, Proposal)
            checked += 1
            candidate, size = Candidate(checked, item.architecture, item.origin), size_of(item.architecture)
            if size > limit:
                news.append(Rejected(candidate, builders.report(), (Violation("ram", limit, size, "digit"),)))
            else:
                accuracy = accuracy_of(item.architecture)
                waiting.append(Evaluated(candidate, builders.report(), builders.trial(), builders.evaluation(accuracy)))
        for end in waiting[:2]:
            assert isinstance(end, Evaluated)
            trained.append(end)
        news += waiting[:2]
        del waiting[:2]
        proposer.observe(news)
    return trained[:trainings], checked


def best(make: Callable[[int], Proposer], limit: int) -> list[float]:
    return [
        max(end.evaluation.int8_validation_accuracy for end in search(make(seed), 60, limit)[0]) for seed in range(10)
    ]


@pytest.mark.parametrize("limit", [10_000, 150])
def test_beats_random_search_at_equal_trainings(limit: int) -> None:
    evolution = best(lambda seed: RegularizedEvolution(GridSpace(), seed), limit)
    chance = best(lambda seed: RandomSearch(GridSpace(), seed), limit)
    assert mean(evolution) > mean(chance) + 0.05
    assert sum(e > c for e, c in zip(evolution, chance, strict=True)) >= 8


def test_first_candidates_that_fit_a_tight_limit_come_soon_and_are_not_tiny() -> None:
    """About one random point in 10,000 fits: random search needs thousands of checks, and repair needs few."""
    limit = 24
    for seed in range(10):
        trained, checked = search(RegularizedEvolution(GridSpace(), seed), 4, limit)
        assert checked <= 400
        assert mean(size_of(end.candidate.architecture) for end in trained) > 0.8 * limit
        assert len({end.candidate.architecture for end in trained}) == 4


def test_repeats_nothing_while_anything_new_is_near() -> None:
    proposer = RegularizedEvolution(GridSpace(), 5)
    seen: set[Architecture] = set()
    for turn in range(100):
        items = [item for item in proposer.propose(8) if isinstance(item, Proposal)]
        assert len(items) == 8
        assert seen.isdisjoint(item.architecture for item in items)
        seen.update(item.architecture for item in items)
        candidates = [Candidate(turn * 8 + i, item.architecture, "") for i, item in enumerate(items)]
        proposer.observe(
            [
                Evaluated(c, builders.report(), builders.trial(), builders.evaluation(accuracy_of(c.architecture)))
                for c in candidates
            ]
        )


def test_members_die_of_age() -> None:
    """A tournament over everyone always picks the best alive: the early champion is gone after `population` others."""
    proposer = RegularizedEvolution(GridSpace(), 0, population=3, tournament=3)
    accuracies = [0.9, 0.2, 0.3, 0.4]
    ends = [
        Evaluated(Candidate(i, GridSpace.of([i] * 8), ""), builders.report(), builders.trial(), builders.evaluation(a))
        for i, a in enumerate(accuracies)
    ]
    proposer.observe(ends[:3])
    assert [item.origin for item in proposer.propose(1) if isinstance(item, Proposal)] == ["evolution:mutate(0)"]
    proposer.observe(ends[3:])
    assert [item.origin for item in proposer.propose(1) if isinstance(item, Proposal)] == ["evolution:mutate(3)"]


def test_stopped_count_by_their_float_accuracy_and_deployment_enters_nobody_twice() -> None:
    proposer = RegularizedEvolution(GridSpace(), 0, population=2, tournament=2)
    report, trial, evaluation = builders.report(), builders.trial(0.8), builders.evaluation(0.5)
    winner, stopped = (Candidate(i, GridSpace.of([i] * 8), "") for i in (1, 2))
    proposer.observe([Stopped(stopped, report, trial), Evaluated(winner, report, trial, evaluation)])
    proposer.observe([Deployed(winner, report, trial, evaluation, builders.test_result(), builders.deployment())])
    assert [item.origin for item in proposer.propose(1) if isinstance(item, Proposal)] == ["evolution:mutate(2)"]


def test_impossible_tournament_is_refused() -> None:
    with pytest.raises(ConfigError, match="tournament <= population"):
        RegularizedEvolution(GridSpace(), 0, population=2, tournament=3)
