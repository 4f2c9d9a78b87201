"""The hybrid: when the model is asked, who proposes while it fails, and that a useless one costs no accuracy."""

import math
import random
import re
from collections.abc import Callable, Sequence
from statistics import mean

import pytest

from automcu.architecture import Architecture, Candidate
from automcu.board import Budget
from automcu.errors import LLMError
from automcu.finished import Evaluated, Finished, Rejected, Stopped
from automcu.llm.client import Message, SpendingCapReached
from automcu.llm.scripted import Policy, ScriptedLLM
from automcu.messages import RoundPlan
from automcu.proposal import Exchange, Notice, Proposal, Proposer
from automcu.proposers.evolution import RegularizedEvolution
from automcu.proposers.llm import PATIENCE, REST
from automcu.proposers.random_search import RandomSearch
from automcu.spaces.space import Space
from tests import builders
from tests.contracts.proposer import ProposerContract
from tests.proposers.asked import BUDGET, CNN, GRID, cost, fresh_replies, hybrid, of_type, origins, picks
from tests.proposers.test_evolution import accuracy_of


def dead(messages: Sequence[Message]) -> str:
    raise LLMError("connection refused; start the server")


def rubbish(messages: Sequence[Message]) -> str:
    return '{"choices": ["the first", 99, null]}'


def first(messages: Sequence[Message]) -> str:
    """Picks 1, 2, 3 and so on, as small models do."""
    asked = re.search(r"Pick the (\d+)", messages[1].content)
    assert asked is not None
    return picks(*range(1, int(asked[1]) + 1))


def always_one(messages: Sequence[Message]) -> str:
    return picks(1)


class TestHybrid(ProposerContract):
    space = CNN

    def make(self, seed: int) -> Proposer:
        return hybrid(ScriptedLLM(first), self.space, seed=seed)


class TestHybridOfWholeArchitectures(ProposerContract):
    space = CNN

    def make(self, seed: int) -> Proposer:
        return hybrid(ScriptedLLM(fresh_replies(self.space)), self.space, "architecture", seed=seed)


class TestHybridWithRubbish(ProposerContract):
    space = CNN

    def make(self, seed: int) -> Proposer:
        return hybrid(ScriptedLLM(rubbish), self.space, seed=seed)


def evaluated(number: int, architecture: Architecture, value: float) -> Evaluated:
    return Evaluated(
        Candidate(number, architecture, ""), cost(architecture), builders.trial(), builders.evaluation(value)
    )


def by(origins: Sequence[str]) -> list[str]:
    return [re.split(r"[:(]", origin)[0] for origin in origins]


def test_the_model_starts_code_goes_on_and_the_model_is_asked_again_when_stuck() -> None:
    llm = ScriptedLLM(fresh_replies(GRID))
    subject = hybrid(llm, mode="architecture", warm_start=5, patience=3)
    assert by(origins(list(subject.propose(4)))) == ["llm"] * 4
    assert by(origins(list(subject.propose(4)))) == ["llm"] + ["evolution"] * 3
    assert by(origins(list(subject.propose(4)))) == ["evolution"] * 4
    rng = random.Random(1)
    points = [GRID.random(rng) for _ in range(12)]
    subject.observe([evaluated(number, points[number], value) for number, value in enumerate([0.1, 0.2, 0.2, 0.1])])
    assert by(origins(list(subject.propose(4)))) == ["evolution"] * 4
    report = builders.report()
    subject.observe(
        [
            Stopped(Candidate(4, points[4], ""), report, builders.trial(0.1)),
            Rejected(Candidate(5, points[5], ""), report, ()),
        ]
    )
    asked = len(llm.asked)
    assert by(origins(list(subject.propose(4)))) == ["llm"] * 2 + ["evolution"] * 2
    assert len(llm.asked) == asked + 1
    assert by(origins(list(subject.propose(4)))) == ["evolution"] * 4
    subject.observe([evaluated(number, points[number], 0.1) for number in (6, 7)])
    subject.observe([evaluated(8, points[8], 0.9), evaluated(9, points[9], 0.1)])
    assert by(origins(list(subject.propose(4)))) == ["evolution"] * 4


def test_a_restarted_one_that_is_told_what_was_tried_does_not_start_again() -> None:
    llm = ScriptedLLM(fresh_replies(GRID))
    subject = hybrid(llm, mode="architecture", warm_start=3)
    rng = random.Random(1)
    subject.observe([evaluated(number, GRID.random(rng), 0.5) for number in range(3)])
    assert by(origins(list(subject.propose(2)))) == ["evolution"] * 2 and not llm.asked


def test_the_model_gets_the_supervisors_plan() -> None:
    llm = ScriptedLLM(first)
    list(hybrid(llm).propose(4, RoundPlan(4, "less_flash", False, "")))
    assert "Aim of this round: less Flash." in llm.asked[0][1].content


def test_while_the_model_is_down_code_proposes_and_it_is_said_once_and_at_the_end_for_how_long() -> None:
    down = [True]
    llm = ScriptedLLM(lambda messages: dead(messages) if down[0] else first(messages))
    subject = hybrid(llm, warm_start=100)
    rounds = [list(subject.propose(2)) for _ in range(PATIENCE + REST)]
    assert all(by(origins(items)) == ["evolution"] * 2 for items in rounds)
    assert [number for number, items in enumerate(rounds) if of_type(items, Notice)] == [0, PATIENCE - 1]
    assert len(llm.asked) == PATIENCE
    assert sum(len(of_type(items, Exchange)) for items in rounds) == PATIENCE
    down[0] = False
    items = list(subject.propose(2))
    assert by(origins(items)) == ["llm"] * 2
    (notice,) = of_type(items, Notice)
    assert isinstance(notice, Notice)
    assert notice.text == f"The LLM scripted proposes again after {PATIENCE + REST} rounds in which evolution did."


def test_a_cap_ends_the_proposing() -> None:
    def policy(messages: Sequence[Message]) -> str:
        raise SpendingCapReached("the run has used its 1,000 tokens; raise budget.tokens")

    with pytest.raises(SpendingCapReached):
        list(hybrid(ScriptedLLM(policy)).propose(2))


# No worse than code alone ------------------------------------------------------------------------------------------
SMALL = Budget(20_000, 60_000, None)
TIGHT_GRID = Budget(16_000, 10**7, None)


def cnn_accuracy(architecture: Architecture) -> float:
    """Larger is better with ever smaller gains, a depth of 22 layers is best, and every network has its own luck."""
    report, luck = cost(architecture), random.Random(architecture.text).gauss(0, 0.02)
    depth = len(CNN.build(architecture).layers)
    size = 0.04 * math.log10(report.macs) + 0.05 * math.log10(report.weights_bytes)
    return 0.2 + size - 0.00015 * (depth - 22) ** 2 + luck


def best_of(
    proposer: Proposer, budget: Budget, accuracy: Callable[[Architecture], float], trainings: int, checks: int = 3_000
) -> float:
    """The best accuracy of a search: eight are asked for at once, duplicates refused, and trainings end in pairs."""
    waiting: list[Finished] = []
    best, trained, checked = 0.0, 0, 0
    seen: set[Architecture] = set()
    while trained < trainings and checked < checks:
        news: list[Finished] = []
        for item in proposer.propose(8) if len(waiting) < 2 else ():
            if not isinstance(item, Proposal) or item.architecture in seen:
                continue
            seen.add(item.architecture)
            checked += 1
            candidate, report = Candidate(checked, item.architecture, item.origin), cost(item.architecture)
            if violations := budget.violations(report):
                news.append(Rejected(candidate, report, violations))
            else:
                measured = builders.evaluation(accuracy(item.architecture))
                waiting.append(Evaluated(candidate, report, builders.trial(), measured))
        for end in waiting[: min(2, trainings - trained)]:
            assert isinstance(end, Evaluated)
            trained += 1
            best = max(best, end.evaluation.int8_validation_accuracy)
            news.append(end)
        del waiting[:2]
        proposer.observe(news)
    return best


def compared(
    policy: Policy, space: Space, budget: Budget, accuracy: Callable[[Architecture], float], trainings: int, seeds: int
) -> tuple[float, float, float]:
    """Mean best accuracy over the seeds of the hybrid with that model, of evolution, and of chance."""
    makers: list[Callable[[int], Proposer]] = [
        lambda seed: hybrid(ScriptedLLM(policy), space, seed=seed, budget=budget),
        lambda seed: RegularizedEvolution(space, seed),
        lambda seed: RandomSearch(space, seed),
    ]
    first_of, second, third = (
        mean(best_of(make(seed), budget, accuracy, trainings) for seed in range(seeds)) for make in makers
    )
    return first_of, second, third


@pytest.mark.parametrize("policy", [dead, rubbish])
def test_with_a_model_that_gives_nothing_it_is_evolution(policy: Policy) -> None:
    for seed in range(10):
        with_model = hybrid(ScriptedLLM(policy), seed=seed, budget=TIGHT_GRID)
        alone = RegularizedEvolution(GRID, seed)
        assert best_of(with_model, TIGHT_GRID, accuracy_of, 40) == best_of(alone, TIGHT_GRID, accuracy_of, 40)


@pytest.mark.parametrize("policy", [first, always_one])
def test_a_model_that_always_picks_the_first_costs_nothing(policy: Policy) -> None:
    """Over 60 seeds the mean moves by about 0.006 by chance alone; between evolution and random search lie 0.07."""
    chosen, evolution, chance = compared(policy, GRID, TIGHT_GRID, accuracy_of, trainings=60, seeds=60)
    assert chosen > evolution - 0.015
    assert chosen > chance + 0.04


@pytest.mark.slow
@pytest.mark.parametrize("budget", [BUDGET, SMALL], ids=["64 KB", "20 KB"])
@pytest.mark.parametrize("policy", [first, always_one])
def test_nor_on_networks(policy: Policy, budget: Budget) -> None:
    """Over 40 seeds the mean moves by about 0.004 by chance alone."""
    chosen, evolution, chance = compared(policy, CNN, budget, cnn_accuracy, trainings=40, seeds=40)
    assert chosen > evolution - 0.01
    assert chosen > chance
