"""The seam between the search and whatever thinks up architectures: an LLM, evolution, chance."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from automcu.architecture import Architecture
from automcu.finished import Finished


@dataclass(frozen=True, slots=True)
class Proposal:
    """A valid architecture of the search space. `origin` says how it came about, for example `evolution:mutate(7)`."""

    architecture: Architecture
    origin: str


@dataclass(frozen=True, slots=True)
class InvalidProposal:
    """An offer that is no architecture of the space: an excerpt (at most 2,000 characters) and why it is none."""

    excerpt: str
    reason: str


@dataclass(frozen=True, slots=True)
class Exchange:
    """One call of a language model. Tokens are the provider's count; `usd` is None when the price is unknown.

    `level` is how structure was asked for: `schema`, `json` or `prompt`. `finish` is the provider's finish reason.
    """

    model: str
    request_sha256: str
    reply: str
    finish: str
    level: str
    tokens_in: int
    tokens_out: int
    usd: float | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the user should read, for example that the LLM is down and code proposes in its place."""

    text: str


ProposalItem = Proposal | InvalidProposal | Exchange | Notice


class Proposer(Protocol):
    """Thinks up architectures. Keeps its own memory; contract suite: `tests/contracts/proposer.py`."""

    name: str

    def propose(self, count: int) -> Iterator[ProposalItem]:
        """Up to `count` proposals, each as soon as it is known, with what happened on the way. Best effort: may yield
        fewer, never an architecture outside the space. Duplicates are allowed; the search refuses them."""
        ...

    def observe(self, finished: Sequence[Finished]) -> None:
        """What became of candidates since the last call, whoever proposed them; each candidate is shown once, or
        twice when an evaluated one is later deployed."""
        ...
