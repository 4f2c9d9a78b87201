"""What the roles' language models have in common, each in an actor of its own, seen through the seams of `llm/`."""

from collections.abc import Sequence
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError

from automcu.errors import LLMError
from automcu.executors.blueprint import Blueprint, Shared
from automcu.llm.client import Message
from automcu.llm.meter import Amount

# A meter that began again would have forgotten what was spent.
_ACTOR: dict[str, Any] = {"num_cpus": 0, "max_restarts": 0}


def shared_on_ray(blueprint: Blueprint) -> Shared:
    """What the roles of a run share, reachable from every actor."""
    made = blueprint.shared()
    return Shared(
        None if made.meter is None else MeterOnRay(_actor(made.meter)),
        None if made.context is None else ContextOnRay(_actor(made.context)),
    )


class Held:
    """An object in an actor of its own, whose methods are called by name."""

    def __init__(self, held: Any) -> None:
        self._held = held

    def call(self, method: str, *arguments: Any) -> Any:
        """What the method gives."""
        return getattr(self._held, method)(*arguments)


def _actor(held: Any) -> ActorHandle:
    return ray.remote(Held).options(**_ACTOR).remote(held)


def _call(actor: ActorHandle, method: str, *arguments: Any) -> Any:
    try:
        return ray.get(actor.call.remote(method, *arguments))
    except LLMError:
        raise
    except RayError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, LLMError):
            raise cause from None
        raise LLMError("what the language models share was lost with its process; start the run again") from error


class ContextOnRay:
    """A `Context` in an actor."""

    def __init__(self, actor: ActorHandle) -> None:
        self._actor = actor

    def recall(self) -> tuple[Message, ...]:
        """See `Context`."""
        turns: tuple[Message, ...] = _call(self._actor, "recall")
        return turns

    def add(self, turns: Sequence[Message]) -> None:
        """See `Context`."""
        _call(self._actor, "add", turns)


class MeterOnRay:
    """A `MeterLike` in an actor."""

    def __init__(self, actor: ActorHandle) -> None:
        self._actor = actor

    def acquire(self, most: Amount) -> float:
        """See `MeterLike`."""
        wait: float = _call(self._actor, "acquire", most)
        return wait

    def settle(self, reserved: Amount, used: Amount) -> None:
        """See `MeterLike`."""
        _call(self._actor, "settle", reserved, used)
