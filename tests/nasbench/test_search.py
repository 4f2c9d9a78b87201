import random
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import pytest

from automcu.architecture import Architecture
from automcu.errors import DataError
from automcu.finished import Evaluated, Finished
from automcu.nasbench.methods import FREE, PRIOR
from automcu.nasbench.search import search
from automcu.nasbench.table import load_tables, place
from automcu.proposal import InvalidProposal, Notice, Proposal, ProposalItem
from automcu.spaces.nasbench201 import NasBench201Space
from tests.contracts.proposer import ProposerContract
from tests.nasbench.tables import REAL, counting, needs_table

SPACE = NasBench201Space((32, 32, 3), 10)
ONE = ("nor_conv_3x3", "none", "none", "none", "skip_connect", "none")
TWIN = ("none", "nor_conv_3x3", "none", "none", "none", "skip_connect")
OTHER = ("nor_conv_3x3", "none", "none", "nor_conv_3x3", "skip_connect", "none")


class Told:
    """Proposes what it is told to, item by item, and keeps what it is shown."""

    name = "told"

    def __init__(self, *items: ProposalItem) -> None:
        self._items = list(items)
        self.seen: list[Finished] = []

    def propose(self, count: int, plan: object = None) -> Iterator[ProposalItem]:
        for item in self._items[:1]:
            self._items.pop(0)
            yield item

    def observe(self, finished: Sequence[Finished]) -> None:
        self.seen += finished


def of(cell: tuple[str, ...]) -> Proposal:
    return Proposal(SPACE.architecture(cell), "told")


def test_everything_proposed_is_a_query_and_what_was_new_is_told_of() -> None:
    proposer = Told(
        of(ONE), InvalidProposal("{}", "no"), of(ONE), Notice("the model is down"), of(TWIN), of(OTHER), of(ONE)
    )
    found = list(search(proposer, SPACE, counting().validation, 5))
    assert [query.status for query in found] == ["new", "invalid", "duplicate", "isomorphic", "new"]
    assert [query.place for query in found] == [place(ONE), -1, place(ONE), place(TWIN), place(OTHER)]
    assert [end.candidate.architecture for end in proposer.seen] == [
        of(cell).architecture for cell in (ONE, TWIN, OTHER)
    ]
    told = [end.evaluation.int8_validation_accuracy for end in proposer.seen if isinstance(end, Evaluated)]
    assert told == pytest.approx([0.2, 0.2, 0.3])


def test_a_method_may_be_told_the_short_schedules_accuracy() -> None:
    proposer = Told(of(OTHER))
    assert (
        len(list(search(proposer, SPACE, partial(counting().validation, epochs=12), 5))) == 1
    )  # it has no more to propose
    (end,) = proposer.seen
    assert isinstance(end, Evaluated) and end.evaluation.int8_validation_accuracy == pytest.approx(0.15)


@pytest.mark.parametrize("method", FREE)
def test_every_method_proposes_as_many_as_asked_and_all_but_tpe_none_twice(method) -> None:
    found = list(search(FREE[method](SPACE, 3), SPACE, counting().validation, 40))
    assert len(found) == 40
    assert {query.status for query in found} <= {"new", "isomorphic"} or method == "tpe"
    again = list(search(FREE[method](SPACE, 3), SPACE, counting().validation, 40))
    assert found == again


def test_the_prior_draws_as_it_says() -> None:
    drawn = [SPACE.cell(item.architecture) for item in FREE["operation_prior"](SPACE, 0).propose(300)]  # type: ignore[union-attr]
    share = sum(cell.count("nor_conv_3x3") for cell in drawn) / (6 * len(drawn))
    assert share == pytest.approx(PRIOR["nor_conv_3x3"], abs=0.05)


class TestOperationPrior(ProposerContract):
    space = SPACE

    def make(self, seed):
        return FREE["operation_prior"](self.space, seed)


@needs_table
def test_a_single_training_is_one_of_those_that_the_mean_is_of() -> None:
    tables = load_tables(REAL)
    table = tables["cifar10"]
    known = table.require_trainings()
    assert np.isfinite(known).sum(axis=1).min() >= 2
    # The lists are of the benchmark's second edition, which trained some cells again.
    assert np.corrcoef(np.nanmean(known, axis=1), table.validation_200)[0, 1] > 0.999
    rng = random.Random(0)
    drawn = {table.one_training(OTHER, rng) for _ in range(50)}
    assert drawn == set(known[place(OTHER)][np.isfinite(known[place(OTHER)])]) and len(drawn) > 1
    with pytest.raises(DataError, match=r"cifar100.*benchmark\.noise"):
        tables["cifar100"].one_training(OTHER, rng)


@needs_table
def test_the_surrogate_beats_local_search_on_real_cells() -> None:
    # 500 seeds are in experiments/nasbench201; a few suffice to see that nothing broke.
    table = load_tables(REAL)["cifar100"]

    def regret(method: str) -> float:
        best = [
            max(
                table.validation_200[query.place]
                for query in search(FREE[method](SPACE, seed), SPACE, table.validation, 30)
            )
            for seed in range(6)
        ]
        return table.best_validation - sum(best) / len(best)

    assert regret("surrogate") < regret("local_search")


def test_an_architecture_of_renamed_operations_is_found_in_the_table() -> None:
    hidden = NasBench201Space((32, 32, 3), 10, ("op_c", "op_a", "op_e", "op_b", "op_d"))
    architecture = hidden.architecture(OTHER)
    assert isinstance(architecture, Architecture) and "conv" not in architecture.text
    (query,) = search(Told(Proposal(architecture, "told")), hidden, counting().validation, 1)
    assert query.place == place(OTHER)
