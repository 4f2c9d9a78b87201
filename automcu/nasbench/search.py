"""One search on a table: who proposes is asked for one network after the other, and told at once how it scored.

Everything that is proposed counts as a query, whatever becomes of it: a network that was proposed before, or is the
same as one of them (`isomorphism`), and what is no network at all. What a method is told is validation accuracy; test
accuracy is only written down. A language model that gives nothing new any more ends the search.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, get_args

from automcu.architecture import Architecture, Candidate
from automcu.errors import LLMError
from automcu.exchange import Exchange
from automcu.finished import Evaluated, Finished
from automcu.ledger import Calls, calls_of
from automcu.llm.client import EndsTheRun
from automcu.nasbench.isomorphism import canonical
from automcu.nasbench.table import place
from automcu.proposal import InvalidProposal, Proposal, ProposalItem, Proposer
from automcu.results import EpochPoint, Evaluation, FeasibilityReport, TrialResult
from automcu.spaces.nasbench201 import Cell, NasBench201Space

Status = Literal["new", "isomorphic", "duplicate", "invalid"]
STATUSES: tuple[Status, ...] = get_args(Status)
_FRUITLESS_ROUNDS = 3
_NO_FOOTPRINT = FeasibilityReport("", 0, 0, 0, 0, 0, "", "", "", "none", "", "", "", 0.0)
_NOTHING = Calls()


@dataclass(frozen=True, slots=True)
class Query:
    """One proposal: where its cell lies in the table (-1 where it is none), what became of it, how it came about (or
    why it is none), and what a language model was asked in the round that it is the first of."""

    place: int
    status: Status
    origin: str
    asked: Calls = _NOTHING


def without_footprint(architecture: Architecture) -> FeasibilityReport:
    """For proposers that look at accuracies alone: a network of no size at all."""
    return _NO_FOOTPRINT


def search(
    proposer: Proposer,
    space: NasBench201Space,
    validation: Callable[[Cell], float],
    queries: int,
    report: Callable[[Architecture], FeasibilityReport] = without_footprint,
) -> Iterator[Query]:
    """The first `queries` proposals; fewer where the proposer has no more. `validation` is what the proposer is told of
    a cell, `report` what it is told of a network's footprint. Raises what ends the run (`EndsTheRun`), and `LLMError`
    when a model fails before it has given anything at all."""
    asked, fruitless, talk = 0, 0, _NOTHING
    architectures: set[Architecture] = set()
    networks: set[str] = set()
    while asked < queries and fruitless < _FRUITLESS_ROUNDS:
        found: list[Query] = []
        news: list[Finished] = []
        over = False
        for item in _until_it_gives_up(proposer, first=not asked):
            match item:
                case Exchange():
                    talk = talk + calls_of(item)
                case Proposal(architecture, origin) if asked + len(found) < queries:
                    cell = space.cell(architecture)
                    network = canonical(cell)
                    if architecture in architectures:
                        status: Status = "duplicate"
                    else:
                        status = "isomorphic" if network in networks else "new"
                        architectures.add(architecture)
                        networks.add(network)
                        candidate = Candidate(asked + len(found) + 1, architecture, origin)
                        news.append(_scored(candidate, validation(cell), report(architecture)))
                    found.append(Query(place(cell), status, origin))
                case InvalidProposal(_, reason) if asked + len(found) < queries:
                    found.append(Query(-1, "invalid", f"{proposer.name}: {reason}"))
                case _GaveUp():
                    over = True
                case _:
                    pass
        if found:
            yield replace(found[0], asked=talk)
            yield from found[1:]
            talk = _NOTHING
        if over:
            return
        asked += len(found)
        fruitless = 0 if found else fruitless + 1
        proposer.observe(news)


class _GaveUp:
    """A proposer's model failed for good."""


def _until_it_gives_up(proposer: Proposer, *, first: bool) -> Iterator[ProposalItem | _GaveUp]:
    try:
        yield from proposer.propose(1)
    except EndsTheRun:
        raise
    except LLMError:
        if first:
            raise
        yield _GaveUp()


def _scored(candidate: Candidate, accuracy: float, report: FeasibilityReport) -> Evaluated:
    trial = TrialResult((EpochPoint(1, 1 - accuracy, accuracy, 0.0),), "completed", 0, 0.0)
    return Evaluated(candidate, report, trial, Evaluation(accuracy, accuracy, 0, 0.0, 0, "", report, None, 0.0))
