"""The seam between the search and whatever thinks up architectures: an LLM, evolution, chance."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from automcu.architecture import Architecture
from automcu.exchange import Exchange
from automcu.finished import Finished
from automcu.messages import RoundPlan
from automcu.results import FeasibilityReport


@dataclass(frozen=True, slots=True)
class Proposal:
    """A valid architecture of the search space. `origin` says how it came about, for example `evolution:mutate(7)`."""

    architecture: Architecture
    origin: str


@dataclass(frozen=True, slots=True)
class InvalidProposal:
    """An offer that is no architecture of the space: an excerpt (at most 2,000 characters) and why it is none. Of one
    that is not `readable` nothing can be said: the language model's reply was cut off, or no JSON of the form that was
    asked for."""

    excerpt: str
    reason: str
    readable: bool = True


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the user should read, for example that the LLM is down and code proposes in its place."""

    text: str


Cost = Callable[[Architecture], FeasibilityReport]
"""What an architecture costs, at once, for a proposer to look ahead: a feasibility tier that needs no tool. Raises
`CandidateFailure`, and `InvalidArchitecture` for what lies outside the space."""

ProposalItem = Proposal | InvalidProposal | Exchange | Notice


class Proposer(Protocol):
    """Thinks up architectures. Keeps its own memory; contract suite: `tests/contracts/proposer.py`."""

    name: str

    def propose(self, count: int, plan: RoundPlan | None = None) -> Iterator[ProposalItem]:
        """Up to `count` proposals, each as soon as it is known, with what happened on the way. Best effort: may yield
        fewer, never an architecture outside the space; who yields nothing is asked again once something has come
        back. Duplicates are allowed; the search refuses them. `plan` is what the supervisor agent wants of this round,
        where there is one: advice, which code may ignore."""
        ...

    def observe(self, finished: Sequence[Finished]) -> None:
        """What became of candidates since the last call, whoever proposed them; each candidate is shown once, or
        twice when an evaluated one is later deployed."""
        ...
