from dataclasses import replace

import pytest

from automcu.architecture import Architecture, Candidate
from automcu.board import Budget
from automcu.errors import ConfigError
from automcu.finished import Evaluated, Finished, Rejected
from automcu.proposal import Proposal, Proposer
from automcu.proposers.scalarised_evolution import ScalarisedEvolution
from automcu.spaces.mcu_cnn import McuCnnSpace
from tests import builders
from tests.contracts.proposer import ProposerContract
from tests.proposers.grid_space import GridSpace, digits_of

BUDGET = Budget(20_000, 100_000, 2_000_000)


class TestScalarisedEvolution(ProposerContract):
    space = McuCnnSpace((32, 32, 3), 10)

    def make(self, seed: int) -> Proposer:
        return ScalarisedEvolution(self.space, seed, BUDGET, 8, 3, 0.2)


def ended(number: int, architecture: Architecture, accuracy: float, activations: int) -> Finished:
    """Trained whatever it takes, as where the check comes last."""
    candidate, report, trial = Candidate(number, architecture, "test"), builders.report(activations), builders.trial()
    trial = replace(trial, curve=(replace(trial.curve[0], validation_accuracy=accuracy),))
    broken = BUDGET.violations(report)
    return (
        Rejected(candidate, report, broken, trial)
        if broken
        else Evaluated(candidate, report, trial, builders.evaluation(accuracy))
    )


def proposed(proposer: Proposer, count: int) -> list[Architecture]:
    return [item.architecture for item in proposer.propose(count) if isinstance(item, Proposal)]


def test_it_finds_what_is_accurate_and_fits() -> None:
    """Digits make a network better and larger: the best that fits has half of what there is."""
    proposer = ScalarisedEvolution(GridSpace(), 0, BUDGET, 16, 4, 0.5)
    told: list[Finished] = []
    for number in range(300):
        (architecture,) = proposed(proposer, 1)
        share = sum(digits_of(architecture)) / (7 * 8)
        told.append(ended(number, architecture, share, round(40_000 * share)))
        proposer.observe(told[-1:])
    shares = [end.trial.validation_accuracy for end in told if isinstance(end, Evaluated)]
    assert max(shares) == pytest.approx((20_000 - 1_000) / 40_000, abs=1 / 56)  # the report adds 1,000 bytes
    late = [sum(digits_of(end.candidate.architecture)) / 56 for end in told[-100:]]
    assert sum(late) / len(late) == pytest.approx(0.45, abs=0.12)  # it stays where both goals are met


def test_a_network_that_breaks_a_limit_may_be_a_parent() -> None:
    space = GridSpace()
    proposer = ScalarisedEvolution(space, 1, BUDGET, 2, 2, 0.5)
    low, high = space.of([0] * 8), space.of([7] * 8)
    proposer.observe([ended(1, low, 0.0, 100), ended(2, high, 1.0, 21_000)])
    origins = {item.origin for item in proposer.propose(10) if isinstance(item, Proposal)}
    assert origins == {"unas:mutate(1)", "unas:mutate(2)"}


def test_a_tournament_larger_than_the_population_is_refused() -> None:
    with pytest.raises(ConfigError, match="1 <= tournament <= population"):
        ScalarisedEvolution(GridSpace(), 0, BUDGET, 3, 4, 0.5)
