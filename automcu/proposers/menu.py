"""Menus: what code offers a language model to choose from, each choice with its exact costs.

Once something was trained, a menu has edits of two networks of the archive; before, while only rejections are known,
edits of near misses; at first whole networks, starters where there are any, and others drawn at random. Whatever is on
a menu is legal and was not tried before, and what fits goes before what does not. The order is shuffled: a model that
always picks the first is left with chance.
"""

import random
from collections.abc import Collection
from dataclasses import dataclass
from itertools import islice

from automcu.architecture import Architecture, Candidate
from automcu.board import Budget, Resource
from automcu.errors import CandidateFailure, InvalidArchitecture
from automcu.finished import Rejected
from automcu.messages import CandidateNote, Focus
from automcu.proposal import Cost
from automcu.proposers.history import History, excess
from automcu.proposers.niches import Trained, accuracy
from automcu.proposers.starters import Starters
from automcu.results import FeasibilityReport
from automcu.spaces.space import Space

EDITS = 12
STARTS = 8
"""Longest menus, of edits and of whole networks: small models read slowly."""
PARENTS = 2
COSTED = 32
"""Edits of one parent whose costs are worked out."""
DRAWN = 3
"""Random networks that are costed for a whole network on the menu, which is the largest of them that fit."""


@dataclass(frozen=True, slots=True)
class Parent:
    """A network to edit: its name on the menu, what it is in words, how accurate it is (None for a near miss), what it
    costs."""

    label: str
    words: str
    candidate: Candidate
    accuracy: float | None
    report: FeasibilityReport
    note: CandidateNote | None


@dataclass(frozen=True, slots=True)
class Choice:
    """A line of a menu: what to do in words, the network that comes of it, what that costs, how far it is over the
    limits (0 when it fits). `parent` is None for a whole network."""

    words: str
    architecture: Architecture
    report: FeasibilityReport
    over: float
    parent: Parent | None


@dataclass(frozen=True, slots=True)
class Menu:
    """Choices, and the networks that they edit."""

    parents: tuple[Parent, ...]
    choices: tuple[Choice, ...]


class MenuMaker:
    """Makes menus by `cost` and `budget`; chance comes from `rng`. The first ones offer `starters` too."""

    def __init__(
        self, space: Space, budget: Budget, cost: Cost, rng: random.Random, starters: Starters | None = None
    ) -> None:
        self._starters = starters
        self._space = space
        self._budget = budget
        self._cost = cost
        self._rng = rng

    def menu(self, history: History, seen: Collection[str], focus: Focus | None) -> Menu:
        """A menu that leaves out the fingerprints `seen`; empty once nothing new is found."""
        parents = self._parents(history, focus)
        choices: list[Choice] = []
        for left, parent in zip(range(len(parents), 0, -1), parents, strict=True):
            known = {*seen, *(choice.architecture.fingerprint for choice in choices)}
            edits = self._edits(parent, known)
            edits.sort(key=lambda choice: (choice.over, not self._wanted(choice, history, focus)))
            choices += edits[: (EDITS - len(choices)) // left]
        if not choices:
            parents, choices = [], self._starts(seen)
        self._rng.shuffle(choices)
        return Menu(tuple(parents), tuple(choices))

    def _parents(self, history: History, focus: Focus | None) -> list[Parent]:
        """Two networks to edit: the best and one of another niche, or any two to explore, or the nearest of those that
        broke the limit that is in focus and the best; or two near misses, while nothing else is known."""
        members, misses = history.niches.members, history.near_misses
        broke = [miss for miss in misses if focus in {_EASES[violation.resource] for violation in miss.violations}]
        found: list[Trained | Rejected] = [*members] or [*misses]
        if focus == "explore" and members:
            self._rng.shuffle(found)
        elif broke and members:
            found = [broke[0], members[0]]
        elif len(found) > PARENTS:
            found = [found[0], self._rng.choice(found[1:])]
        parents = []
        for label, end in zip("AB", found[:PARENTS], strict=False):
            report = self._costed(end.candidate.architecture)
            if report is not None:
                measured = None if isinstance(end, Rejected) else accuracy(end)
                words = self._space.summary(end.candidate.architecture)
                parents.append(Parent(label, words, end.candidate, measured, report, getattr(end, "note", None)))
        return parents

    def _edits(self, parent: Parent, seen: Collection[str]) -> list[Choice]:
        before = parent.candidate.architecture
        found = []
        for after in islice(self._space.neighbours(before, self._rng), COSTED):
            if after.fingerprint not in seen and (report := self._costed(after)) is not None:
                words = self._space.describe_edit(before, after)
                found.append(Choice(words, after, report, self._over(report), parent))
        return found

    def _starts(self, seen: Collection[str]) -> list[Choice]:
        """Starters, and random networks: the largest that fit, and where they are too few, the nearest misses."""
        known = [] if self._starters is None else [starter for _, starter in self._starters.new(seen)]
        starters = [choice for choice in map(self._whole, known) if choice is not None][:STARTS]
        drawn: dict[str, Choice] = {}
        for _ in range(DRAWN * STARTS):
            architecture = self._space.random(self._rng)
            new = architecture.fingerprint not in seen and architecture not in known
            if new and (choice := self._whole(architecture)) is not None:
                drawn[architecture.fingerprint] = choice
        fitting = [choice for choice in drawn.values() if not choice.over]
        missing = sorted((choice for choice in drawn.values() if choice.over), key=lambda choice: choice.over)
        groups = (fitting[start::STARTS] for start in range(STARTS))
        largest = [max(group, key=lambda choice: choice.report.weights_bytes) for group in groups if group]
        return (starters + largest + missing)[:STARTS]

    def _whole(self, architecture: Architecture) -> Choice | None:
        report = self._costed(architecture)
        if report is None:
            return None
        return Choice(self._space.summary(architecture), architecture, report, self._over(report), None)

    def _wanted(self, choice: Choice, history: History, focus: Focus | None) -> bool:
        assert choice.parent is not None
        before, after = choice.parent.report, choice.report
        match focus:
            case "less_ram":
                return after.ram_bytes < before.ram_bytes
            case "less_flash":
                return after.flash_bytes < before.flash_bytes
            case "fewer_macs":
                return after.macs < before.macs
            case "fill_niche":
                return history.niches.niche(after) not in history.niches
            case _:
                return True

    def _costed(self, architecture: Architecture) -> FeasibilityReport | None:
        try:
            return self._cost(architecture)
        except (CandidateFailure, InvalidArchitecture):  # as the gate would find; not worth a line
            return None

    def _over(self, report: FeasibilityReport) -> float:
        return excess(self._budget.violations(report))


_EASES: dict[Resource, Focus] = {
    "ram": "less_ram",
    "flash": "less_flash",
    "macs": "fewer_macs",
    "latency": "fewer_macs",
}
