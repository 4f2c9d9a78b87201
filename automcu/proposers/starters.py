"""Starters: of each family of known good networks one that just fits, for a search to begin with.

Where a family's widest network breaks a limit, the part of it that decides is made narrower: the first levels for RAM,
work and latency, the last ones for Flash. The costs that code can work out at once lead to a network that fits; where
the gate finds that it does not (a vendor's tool may count more), its violations lead on from there.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice

from automcu.architecture import Architecture
from automcu.board import Resource
from automcu.finished import Rejected
from automcu.proposal import Proposal
from automcu.proposers.forecast import Forecast

_Place = tuple[int, int]


class Starters:
    """The starters of `families`, as `Space.families` gives them, by `forecast`."""

    def __init__(self, families: Mapping[str, Sequence[Sequence[Architecture]]], forecast: Forecast) -> None:
        self._families = families
        self._forecast = forecast
        self._places = {
            name: self._descended(name, (len(grid) - 1, len(grid[-1]) - 1)) for name, grid in families.items()
        }

    def new(self, seen: Collection[str]) -> Iterator[tuple[str, Architecture]]:
        """Family and starter of those whose fingerprint is not in `seen`."""
        for name, place in self._places.items():
            if place is not None and (architecture := self._at(name, place)).fingerprint not in seen:
                yield name, architecture

    def proposals(self, seen: Collection[str], count: int, by: str) -> list[Proposal]:
        """The first `count` of `new`, as proposals of the proposer `by`."""
        return [Proposal(starter, f"{by}:start({family})") for family, starter in islice(self.new(seen), count)]

    def reject(self, end: Rejected) -> None:
        """A starter that the gate rejected gives way to the next one of its family; others are no concern of this."""
        rejected, broken = end.candidate.architecture, {violation.resource for violation in end.violations}
        for name, place in self._places.items():
            while place is not None and self._at(name, place) == rejected:  # several widths may make the same network
                place = _narrower(place, broken)
            if place != self._places[name]:
                self._places[name] = place and self._descended(name, place)

    def _at(self, name: str, place: _Place) -> Architecture:
        first, last = place
        return self._families[name][first][last]

    def _descended(self, name: str, start: _Place) -> _Place | None:
        """The first place from `start` on that keeps the budget, None where none does."""
        place: _Place | None = start
        while place is not None and (broken := self._forecast.broken(self._at(name, place))):
            place = _narrower(place, broken)
        return place


def _narrower(place: _Place, broken: Collection[Resource]) -> _Place | None:
    """One step down where what is `broken` is decided; where that end is narrowest already, at the other one."""
    first, last = place
    less_first, less_last = any(resource != "flash" for resource in broken), "flash" in broken
    if (less_first and first == 0) or (less_last and last == 0):
        less_first, less_last = first > 0, last > 0
    if not less_first and not less_last:
        return None
    return first - less_first, last - less_last
