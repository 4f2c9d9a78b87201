"""One search on a table: who proposes is asked for one network after the other, and told at once how it scored.

Everything that is proposed counts as a query, whatever becomes of it: a network that was proposed before, or is the
same as one of them (`isomorphism`), and what is no network at all. What a method is told is validation accuracy; test
accuracy is only written down.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from automcu.architecture import Architecture, Candidate
from automcu.finished import Evaluated, Finished
from automcu.nasbench.isomorphism import canonical
from automcu.nasbench.table import Epochs, Table, place
from automcu.proposal import InvalidProposal, Proposal, Proposer
from automcu.results import EpochPoint, Evaluation, FeasibilityReport, TrialResult
from automcu.spaces.nasbench201 import NasBench201Space

Status = Literal["new", "isomorphic", "duplicate", "invalid"]
STATUSES: tuple[Status, ...] = get_args(Status)
_FRUITLESS_ROUNDS = 3
_UNJUDGED = FeasibilityReport("", 0, 0, 0, 0, 0, "", "", "", "none", "", "", "", 0.0)


@dataclass(frozen=True, slots=True)
class Query:
    """One proposal: where its cell lies in the table (-1 where it is none), and what became of it."""

    place: int
    status: Status
    origin: str


def search(
    proposer: Proposer,
    space: NasBench201Space,
    table: Table,
    queries: int,
    *,
    epochs: Epochs = 200,
    report: Callable[[Architecture], FeasibilityReport] = lambda architecture: _UNJUDGED,
) -> Iterator[Query]:
    """The first `queries` proposals; fewer where the proposer has no more. `report` is what proposers that look at
    costs are told of a network."""
    asked, fruitless = 0, 0
    architectures: set[Architecture] = set()
    networks: set[str] = set()
    while asked < queries and fruitless < _FRUITLESS_ROUNDS:
        before = asked
        news: list[Finished] = []
        for item in proposer.propose(1):
            match item:
                case Proposal(architecture, origin) if asked < queries:
                    asked += 1
                    cell = space.cell(architecture)
                    network = canonical(cell)
                    if architecture in architectures:
                        status: Status = "duplicate"
                    else:
                        status = "isomorphic" if network in networks else "new"
                        architectures.add(architecture)
                        networks.add(network)
                        candidate = Candidate(asked, architecture, origin)
                        news.append(_scored(candidate, table.validation(cell, epochs), report(architecture)))
                    yield Query(place(cell), status, origin)
                case InvalidProposal() if asked < queries:
                    asked += 1
                    yield Query(-1, "invalid", proposer.name)
                case _:
                    pass
        fruitless = fruitless + 1 if asked == before else 0
        proposer.observe(news)


def _scored(candidate: Candidate, accuracy: float, report: FeasibilityReport) -> Evaluated:
    trial = TrialResult((EpochPoint(1, 1 - accuracy, accuracy, 0.0),), "completed", 0, 0.0)
    return Evaluated(candidate, report, trial, Evaluation(accuracy, accuracy, 0, 0.0, 0, "", report, None, 0.0))
