from hypothesis import given
from hypothesis import strategies as st

from automcu.architecture import Candidate
from automcu.board import Budget
from automcu.finished import Deployed, Evaluated, Stopped
from automcu.proposers.niches import MACS_FACTOR, RAM_CELLS, Niche, Niches, accuracy
from tests import builders

BUDGET = Budget(64_000, 200_000, 1_000_000)


def trained(number: int, ram: int, macs: int, value: float) -> Evaluated:
    report = builders.report(activations=ram - 1_000, macs=macs)
    return Evaluated(builders.candidate(number), report, builders.trial(), builders.evaluation(value))


def test_a_cell_keeps_its_best_and_members_are_ranked() -> None:
    niches = Niches(BUDGET)
    for end in (
        trained(1, 60_000, 900_000, 0.5),
        trained(2, 40_000, 300_000, 0.6),  # the same cell
        trained(3, 40_000, 900_000, 0.4),
        trained(4, 30_000, 900_000, 0.7),
        trained(5, 60_000, 200_000, 0.1),
    ):
        niches.add(end)
    assert [end.candidate.id for end in niches.members] == [4, 2, 5]


def test_what_was_stopped_counts_by_its_float_accuracy_and_what_is_deployed_takes_its_own_place() -> None:
    niches = Niches(BUDGET)
    niches.add(Stopped(builders.candidate(1), builders.report(), builders.trial(0.8)))
    end = Evaluated(builders.candidate(2), builders.report(), builders.trial(0.1), builders.evaluation(0.9))
    niches.add(end)
    deployed = Deployed(
        end.candidate, end.report, end.trial, end.evaluation, builders.test_result(), builders.deployment()
    )
    niches.add(deployed)
    assert niches.members == [deployed]
    assert accuracy(deployed) == 0.9


def test_gaps_are_the_empty_cells_beside_what_is_known_the_best_first() -> None:
    niches = Niches(BUDGET)
    assert niches.gaps() == []
    niches.add(trained(1, 60_000, 900_000, 0.5))
    assert niches.gaps() == [Niche(1, 0), Niche(0, 1)]
    niches.add(trained(2, 30_000, 900_000, 0.6))
    assert niches.gaps() == [Niche(2, 0), Niche(1, 1), Niche(0, 1)]
    assert all(gap not in niches for gap in niches.gaps())


def test_a_cell_in_words() -> None:
    niches = Niches(BUDGET)
    assert niches.words(Niche(0, 0)) == "RAM 32,000 to 64,000 B with 250,000 to 1,000,000 MACs"
    assert niches.words(Niche(3, 1)) == "RAM 0 to 8,000 B with 62,500 to 250,000 MACs"


@given(st.integers(1_001, 10**7), st.integers(0, 10**10), st.sampled_from([None, 10**6, 1]))
def test_every_network_has_a_cell_and_more_never_moves_it_further_from_the_limits(
    ram: int, macs: int, limit: int | None
) -> None:
    niches = Niches(Budget(64_000, 1, limit))
    cell = niches.niche(builders.report(activations=ram - 1_000, macs=macs))
    assert 0 <= cell.ram < RAM_CELLS and cell.macs >= 0
    larger = niches.niche(builders.report(activations=2 * ram, macs=MACS_FACTOR * macs))
    assert larger.ram <= cell.ram and larger.macs <= cell.macs
    gap_free = Niches(Budget(64_000, 1, limit))
    candidate = Candidate(1, builders.architecture(1), "")
    report = builders.report(activations=ram - 1_000, macs=macs)
    gap_free.add(Evaluated(candidate, report, builders.trial(), builders.evaluation()))
    assert cell in gap_free and cell not in gap_free.gaps()
