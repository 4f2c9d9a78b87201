import json
from collections.abc import Callable

import pytest

from automcu.architecture import Candidate
from automcu.board import Violation
from automcu.errors import ConfigError
from automcu.finished import Evaluated, Finished, Rejected
from automcu.proposal import Proposal, Proposer
from automcu.proposers.colabnas import ColabNAS
from automcu.spaces.mcu_cnn import McuCnnSpace
from automcu.spaces.nasbench201 import NasBench201Space
from tests import builders
from tests.contracts.proposer import ProposerContract

SPACE = McuCnnSpace((32, 32, 3), 10)


class TestColabNAS(ProposerContract):
    space = SPACE

    def make(self, seed: int) -> Proposer:
        return ColabNAS(self.space)

    def test_a_stream_may_be_left_early(self) -> None:
        proposer = self.make(4)
        assert next(iter(proposer.propose(5)))
        assert not list(proposer.propose(2))  # it waits for what it has proposed, seen or not


def grown(score: Callable[[int, int], float | None]) -> list[tuple[int, int]]:
    """The k and c that are proposed when networks score so; None is for what does not fit."""
    proposer, asked = ColabNAS(SPACE), list[tuple[int, int]]()
    while items := list(proposer.propose(8)):
        (item,) = items
        assert isinstance(item, Proposal) and not list(proposer.propose(8))  # it waits
        filters, cells = (int(part.split("=")[1]) for part in item.origin.split(":")[1].split(","))
        asked.append((filters, cells))
        candidate, accuracy = Candidate(len(asked), item.architecture, item.origin), score(filters, cells)
        broken = Violation("ram", 1, 2, "layer")
        end: Finished = Rejected(candidate, builders.report(), (broken,))
        if accuracy is not None:
            end = Evaluated(candidate, builders.report(), builders.trial(), builders.evaluation(accuracy))
        proposer.observe([end])
    return asked


def test_cells_are_added_while_that_helps_and_filters_doubled_while_that_helps() -> None:
    best = {4: 0.5, 8: 0.6, 16: 0.604, 32: 0.7}
    # c = 2 is best for every k; 16 is better than 8 by less than half a point, so that 32 is never tried
    asked = grown(lambda k, c: best[k] - 0.1 * abs(c - 2))
    assert asked == [(k, c) for k in (4, 8, 16) for c in (0, 1, 2, 3)]


def test_filters_are_halved_where_doubling_does_not_help() -> None:
    best = {4: 0.5, 8: 0.5, 2: 0.5}
    asked = grown(lambda k, c: best[k] - 0.1 * c)
    # In this space 2 filters are 4, so that only c = 1 after k = 2 is new; 1 filter makes the same networks.
    assert asked == [(4, 0), (4, 1), (8, 0), (8, 1), (2, 1)]


def test_what_does_not_fit_ends_the_growth() -> None:
    asked = grown(lambda k, c: None if k >= 8 or c >= 2 else 0.1 * (k + c))
    assert asked == [(4, 0), (4, 1), (4, 2), (8, 0), (2, 1)]


def test_it_ends_where_nothing_fits() -> None:
    assert grown(lambda k, c: None) == [(4, 0), (8, 0)]


def test_the_maps_bound_the_number_of_cells() -> None:
    asked = grown(lambda k, c: 0.01 * c - (0.5 if k > 4 else 0))
    assert max(c for _, c in asked) == 4  # as many stages as the space has


def test_widths_grow_by_a_factor_that_falls() -> None:
    proposer = ColabNAS(SPACE)
    architecture = proposer._network(16, 3)
    assert architecture is not None
    description = json.loads(architecture.text)
    assert [stage["channels"] for stage in description["stages"] if stage["block"] == "conv"] == [
        16,
        32,
        48,
        56,
    ]  # 60 is not among them
    assert description["hidden_units"] == 64


def test_another_space_is_refused() -> None:
    with pytest.raises(ConfigError, match="mcu_cnn"):
        ColabNAS(NasBench201Space((32, 32, 3), 10))
