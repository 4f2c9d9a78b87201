"""Architectures that a user gives: proposed in order, so that one can be trained, tested and deployed by itself."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from automcu.architecture import Architecture
from automcu.errors import ConfigError, InvalidArchitecture
from automcu.finished import Finished
from automcu.messages import RoundPlan
from automcu.proposal import Proposal, ProposalItem
from automcu.spaces.space import Space

_MOST_BYTES = 1_000_000


class Given:
    """Proposes `architectures`, each once."""

    name = "given"

    def __init__(self, architectures: Sequence[Architecture]) -> None:
        self._left = list(architectures)

    def propose(self, count: int, plan: RoundPlan | None = None) -> Iterator[ProposalItem]:
        """The next `count` of them."""
        for _ in range(min(count, len(self._left))):
            yield Proposal(self._left.pop(0), self.name)

    def observe(self, finished: Sequence[Finished]) -> None:
        """Drops what has been tried, in case this proposer was started afresh; else nothing is left to learn."""
        tried = {end.candidate.architecture for end in finished}
        self._left = [architecture for architecture in self._left if architecture not in tried]


def given(space: Space, files: Sequence[Path]) -> Given:
    """The proposer of the architectures in `files`: JSON objects with `space` and `description`, such as the
    architecture.json of a bundle. Raises `ConfigError` for a file that holds no architecture of `space`."""
    if not files:
        raise ConfigError("proposer=given needs files; name them, such as proposer.architectures=[architecture.json]")
    return Given([_read(space, path) for path in files])


def _read(space: Space, path: Path) -> Architecture:
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_MOST_BYTES))
        if not isinstance(found, dict) or found.get("space") != space.name:
            raise ValueError(f"it is no object whose space is {space.name}")
        return space.parse(found.get("description"))
    except (OSError, ValueError, RecursionError, InvalidArchitecture) as error:
        raise ConfigError(
            f"{path} holds no architecture ({error}); give files such as the architecture.json of a bundle"
        ) from None
