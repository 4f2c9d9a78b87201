from statistics import mean

import pytest

from automcu.architecture import Candidate
from automcu.board import Violation
from automcu.finished import Rejected
from automcu.proposal import InvalidProposal, Proposal, Proposer
from automcu.proposers.random_search import RandomSearch
from automcu.proposers.tpe import TPESearch
from automcu.spaces.mcu_cnn import McuCnnSpace
from automcu.spaces.nasbench201 import NasBench201Space
from tests import builders
from tests.contracts.proposer import ProposerContract
from tests.proposers.test_local_search import ended

CELLS = NasBench201Space((32, 32, 3), 10)


class TestTPESearch(ProposerContract):
    space = McuCnnSpace((32, 32, 3), 10)

    def make(self, seed: int) -> Proposer:
        return TPESearch(self.space, seed)


class TestTPESearchOfCells(TestTPESearch):
    space = CELLS


def convolutions(proposal: Proposal) -> int:
    return CELLS.cell(proposal.architecture).count("nor_conv_3x3")


def scored(proposer: Proposer, queries: int) -> list[Proposal]:
    told: list[Proposal] = []
    while len(told) < queries:
        for item in proposer.propose(1):
            if isinstance(item, Proposal):
                told.append(item)
                proposer.observe([ended(len(told), item.architecture, convolutions(item) / 6)])
    return told


def test_it_learns_what_scores() -> None:
    late = [mean(map(convolutions, scored(make(CELLS, 0), 40)[20:])) for make in (TPESearch, RandomSearch)]
    assert late[0] > late[1] + 0.5


def test_it_learns_what_is_rejected() -> None:
    proposer, kept = TPESearch(CELLS, 0), []
    for number in range(60):
        for item in proposer.propose(1):
            if not isinstance(item, Proposal):
                assert isinstance(item, InvalidProposal) and "constant" in item.reason
                continue
            over = convolutions(item)
            kept.append(over == 0)
            if over:
                violation = Violation("flash", 10, 10 + over, "cell")
                proposer.observe(
                    [Rejected(Candidate(number + 1, item.architecture, "tpe"), builders.report(), (violation,))]
                )
            else:
                proposer.observe([ended(number + 1, item.architecture, 0.5)])
    assert mean(kept[30:]) > mean(kept[:10]) + 0.2


def test_without_optuna_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "optuna", None)
    from automcu.errors import ConfigError

    with pytest.raises(ConfigError, match=r"automcu\[benchmark\]"):
        TPESearch(CELLS, 0)
