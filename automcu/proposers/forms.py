"""The two forms in which a language model may propose: whole architectures, and picks from a menu.

A form turns the state of a search into a question, and an entry of the answer into a proposal or a refusal.
"""

import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from automcu.errors import InvalidArchitecture
from automcu.messages import RoundPlan
from automcu.proposal import Proposal
from automcu.proposers.history import History
from automcu.proposers.menu import MenuMaker
from automcu.proposers.niches import Niche
from automcu.proposers.prompt import (
    ARCHITECTURES,
    CHOICES,
    CHOOSE,
    DESIGN,
    Setting,
    choose_prompt,
    design_prompt,
    list_schema,
)
from automcu.spaces.space import Space

Mode = Literal["architecture", "edit"]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: a system message, the question, a schema whose list under `key` is wanted, and how many entries.

    `read` makes the proposal of one entry of the answer, which is untrusted. Raises `InvalidArchitecture`.
    """

    system: str
    text: str
    schema: Mapping[str, object]
    key: str
    count: int
    read: Callable[[object], Proposal]


class Form(Protocol):
    """How a language model proposes."""

    def question(
        self, history: History, seen: Collection[str], duplicates: int, count: int, plan: RoundPlan | None
    ) -> Question | None:
        """The question for up to `count` architectures whose fingerprints are not `seen`, None when there is nothing
        left to ask. `duplicates` counts those the last reply repeated."""
        ...


class WholeArchitectures:
    """The model writes whole architectures."""

    def __init__(self, setting: Setting, space: Space, rng: random.Random) -> None:
        self._setting = setting
        self._space = space
        self._rng = rng

    def question(
        self, history: History, seen: Collection[str], duplicates: int, count: int, plan: RoundPlan | None
    ) -> Question | None:
        """See `Form`."""
        example, gap = self._space.random(self._rng), gap_of(history, plan, self._rng)
        return Question(
            DESIGN,
            design_prompt(self._setting, self._space, example, history, duplicates, count, plan, gap),
            list_schema(ARCHITECTURES, self._space.json_schema, 1, count),
            ARCHITECTURES,
            count,
            lambda entry: Proposal(self._space.parse(entry), "llm"),
        )


class EditMenu:
    """The model picks from a menu of edits, see `automcu.proposers.menu`; at most half of it."""

    def __init__(self, setting: Setting, menus: MenuMaker, rng: random.Random) -> None:
        self._setting = setting
        self._menus = menus
        self._rng = rng

    def question(
        self, history: History, seen: Collection[str], duplicates: int, count: int, plan: RoundPlan | None
    ) -> Question | None:
        """See `Form`."""
        menu = self._menus.menu(history, seen, plan.focus if plan else None)
        if not menu.choices:
            return None
        proposals = [
            Proposal(choice.architecture, f"llm:edit({choice.parent.candidate.id})" if choice.parent else "llm:start")
            for choice in menu.choices
        ]
        picks = min(count, max(1, len(proposals) // 2))
        numbers = {"type": "integer", "enum": list(range(1, len(proposals) + 1))}

        def read(entry: object) -> Proposal:
            if type(entry) is not int or not 1 <= entry <= len(proposals):
                raise InvalidArchitecture(f"not on the list; choose numbers from 1 to {len(proposals)}")
            return proposals[entry - 1]

        return Question(
            CHOOSE,
            choose_prompt(self._setting, history, menu, picks, plan, gap_of(history, plan, self._rng)),
            list_schema(CHOICES, numbers, picks, picks),
            CHOICES,
            picks,
            read,
        )


def gap_of(history: History, plan: RoundPlan | None, rng: random.Random) -> Niche | None:
    """The niche to tell of: one beside the best network, any one when niches are to be filled; None where none is
    empty."""
    gaps = history.niches.gaps()
    if not gaps:
        return None
    return rng.choice(gaps) if plan and plan.focus == "fill_niche" else gaps[0]
