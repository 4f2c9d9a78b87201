"""The feasibility pool: checks on several actors, with never more than one call under way on each.

New checks are screened in batches, one call carrying many, because Ray takes longer over a call than a screening
takes. What only a slow vendor tool can judge then goes to whichever actor is free, one check a call. Checks that wait
for an actor wait here, not at Ray, and are never more than `room` allowed.

A batch whose actor dies fails as a whole. One of its checks may have been the cause, so when they come again each is
sent by itself: only the one that kills its actor every time ends as failed.
"""

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError, RayError

from automcu.actors.roles import FeasibilityActor
from automcu.feasibility.gate import Gate
from automcu.work import Check, Outcome, WorkFailed

CHECKS_PER_CALL = 32
"""At most so many in a batch: far more than it takes to hide the cost of a call, few enough to stay responsive."""
CHECKS_PER_ACTOR = 2 * CHECKS_PER_CALL
"""Checks taken on per actor: one batch under way, and one to follow."""


@dataclass(frozen=True, slots=True)
class _Call:
    """What one actor is doing. `vendor`: it asks the slow tool, about one check."""

    actor: ActorHandle
    checks: tuple[Check, ...]
    vendor: bool


class CheckPool:
    """`size` actors, each with a gate of its own made by `make_gate`."""

    def __init__(self, make_gate: Callable[[], Gate], size: int) -> None:
        self._actors = [FeasibilityActor.remote(make_gate) for _ in range(size)]
        self._idle = deque(self._actors)
        self._calls: dict[Any, _Call] = {}
        self._new: deque[Check] = deque()
        self._for_vendor: deque[Check] = deque()
        self._suspects: set[int] = set()

    @property
    def actors(self) -> Sequence[ActorHandle]:
        """The pool's members."""
        return self._actors

    @property
    def room(self) -> int:
        """How many more checks are taken on now."""
        flying = sum(len(call.checks) for call in self._calls.values())
        return CHECKS_PER_ACTOR * len(self._actors) - len(self._new) - len(self._for_vendor) - flying

    @property
    def pending(self) -> Collection[Any]:
        """The calls under way, as references to wait for: at most one an actor."""
        return self._calls.keys()

    def submit(self, check: Check) -> None:
        """Take on one check; `start` begins it."""
        self._new.append(check)

    def start(self) -> None:
        """Give the idle actors what waits, screening first, since it may spare the slow tool work."""
        while self._idle and (self._new or self._for_vendor):
            vendor = not self._new
            checks = (self._for_vendor.popleft(),) if vendor else self._batch()
            actor = self._idle.popleft()
            call = actor.check.remote(checks[0]) if vendor else actor.screen.remote(checks)
            self._calls[call] = _Call(actor, checks, vendor)

    def land(self, reference: Any) -> Sequence[Outcome]:
        """The outcomes of a call that is ready; fewer than its checks when some have to go to the vendor's tool."""
        call = self._calls.pop(reference)
        self._idle.append(call.actor)
        try:
            result = ray.get(reference)
        except RayError as error:
            ids = [check.candidate.id for check in call.checks]
            self._suspects.update(ids)
            return [WorkFailed("check", candidate_id, True, sentence(error)) for candidate_id in ids]
        outcomes = [result] if call.vendor else result
        self._for_vendor += [check for check, outcome in zip(call.checks, outcomes, strict=True) if outcome is None]
        return [outcome for outcome in outcomes if outcome is not None]

    def _batch(self) -> tuple[Check, ...]:
        """The next new checks: an idle actor's fair share of them, or one alone that was in a batch that failed."""
        batch = [self._new.popleft()]
        if batch[0].candidate.id not in self._suspects:
            most = min(CHECKS_PER_CALL, ceil((1 + len(self._new)) / len(self._idle)))
            while self._new and len(batch) < most and self._new[0].candidate.id not in self._suspects:
                batch.append(self._new.popleft())
        return tuple(batch)


def sentence(error: RayError) -> str:
    """What to tell of a call that Ray could not carry out."""
    kind = "the actor's process died" if isinstance(error, RayActorError) else type(error).__name__
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{kind}: {first}; see the cluster's logs, and its memory, if this repeats"
