"""One search on a table: who proposes is asked for one network after the other, and told at once how it scored.

Everything that is proposed counts as a query, whatever becomes of it: a network that was proposed before, or is the
same as one of them (`isomorphism`), and what is no network at all. What a method is told is validation accuracy; test
accuracy is only written down. A language model that gives nothing new any more ends the search.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import nan
from typing import Literal, get_args

from automcu.architecture import Architecture, Candidate
from automcu.errors import LLMError
from automcu.exchange import CANCELLED, TOO_LONG, Exchange
from automcu.finished import Evaluated, Finished
from automcu.ledger import Calls, calls_of
from automcu.nasbench.isomorphism import canonical
from automcu.nasbench.table import place
from automcu.proposal import InvalidProposal, Proposal, Proposer
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
    why it is none), and what the method was told of its accuracy (NaN for nothing). The first of a round also says what
    a language model was asked in it, which `model`, and when (UTC, ISO 8601)."""

    place: int
    status: Status
    origin: str
    told: float = nan
    asked: Calls = _NOTHING
    model: str = ""
    date: str = ""


def without_footprint(architecture: Architecture) -> FeasibilityReport:
    """For proposers that look at accuracies alone: a network of no size at all."""
    return _NO_FOOTPRINT


def unheard(exchange: Exchange) -> None:
    """For searches of which no one keeps what was said."""


def search(
    proposer: Proposer,
    space: NasBench201Space,
    validation: Callable[[Cell], float],
    queries: int,
    report: Callable[[Architecture], FeasibilityReport] = without_footprint,
    heard: Callable[[Exchange], None] = unheard,
) -> Iterator[Query]:
    """The first `queries` proposals; fewer where the proposer has no more. `validation` is what the proposer is told of
    a cell, `report` what it is told of a network's footprint; `heard` is given every exchange with a model that
    answered. Raises `LLMError` when one does not, since code must not pass for it, and what ends the run
    (`EndsTheRun`)."""
    asked, fruitless, talk = 0, 0, list[Exchange]()
    architectures: set[Architecture] = set()
    networks: set[str] = set()
    while asked < queries and fruitless < _FRUITLESS_ROUNDS:
        found: list[Query] = []
        news: list[Finished] = []
        for item in proposer.propose(1):
            match item:
                case Exchange():
                    if _unanswered(item) and not item.error.startswith(TOO_LONG):
                        raise LLMError(item.error)
                    heard(item)
                    talk.append(item)
                case Proposal(architecture, origin) if asked + len(found) < queries:
                    cell = space.cell(architecture)
                    network = canonical(cell)
                    told = nan
                    if architecture in architectures:
                        status: Status = "duplicate"
                    else:
                        status = "isomorphic" if network in networks else "new"
                        told = validation(cell)
                        architectures.add(architecture)
                        networks.add(network)
                        candidate = Candidate(asked + len(found) + 1, architecture, origin)
                        news.append(_scored(candidate, told, report(architecture)))
                    found.append(Query(place(cell), status, origin, told))
                case InvalidProposal(_, reason) if asked + len(found) < queries:
                    found.append(Query(-1, "invalid", f"{proposer.name}: {reason}"))
                case _:
                    pass
        if talk and _unanswered(talk[-1]):  # of a prompt that was too long, a shorter one would have followed
            raise LLMError(talk[-1].error)
        if found:
            if talk:
                calls = sum(map(calls_of, talk), _NOTHING)
                found[0] = replace(found[0], asked=calls, model=talk[-1].model, date=talk[-1].date)
                talk.clear()
            yield from found
        asked += len(found)
        fruitless = 0 if found else fruitless + 1
        proposer.observe(news)


def _unanswered(exchange: Exchange) -> bool:
    """Whether a call failed without a reply, good or bad."""
    return bool(exchange.error) and not exchange.finish and exchange.error != CANCELLED


def _scored(candidate: Candidate, accuracy: float, report: FeasibilityReport) -> Evaluated:
    trial = TrialResult((EpochPoint(1, 1 - accuracy, accuracy, 0.0),), "completed", 0, 0.0)
    return Evaluated(candidate, report, trial, Evaluation(accuracy, accuracy, 0, 0.0, 0, "", report, None, 0.0))
