"""What crosses between agent roles: small, typed, versioned messages, and nothing else.

A role's conversation, reasoning and memory stay with it. Every message is one of the dataclasses below; `encode` and
`decode` are its form on the wire, JSON with the version and the kind, of at most `MAX_BYTES`. Whatever a language model
wrote is a closed choice or a short `Line`, one line of printable text.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, StringConstraints, TypeAdapter, ValidationError

from automcu.errors import CandidateFailure

VERSION = 1
MAX_BYTES = 16_000
LINE_CHARS = 200
"""Longest free text that crosses between roles, except the model card's prose."""
PROSE_CHARS = 800


def one_line(text: str) -> str:
    """`text` with whatever cannot be printed, line ends included, as blanks."""
    return "".join(c if c.isprintable() else " " for c in text)


Line = Annotated[str, StringConstraints(max_length=LINE_CHARS), AfterValidator(one_line)]
Prose = Annotated[str, StringConstraints(max_length=PROSE_CHARS), AfterValidator(one_line)]

Focus = Literal["explore", "more_accuracy", "less_ram", "less_flash", "fewer_macs", "fill_niche"]
"""What a round of proposals should aim at."""


@dataclass(frozen=True, slots=True)
class RoundRequest:
    """To the supervisor: how the search stands before a round. Counts since the start; `minutes_left` and
    `trainings_left` of the budget; `rounds_without_gain` rounds have passed without a better network;
    `over_ram`, `over_flash`, `over_other` of the candidates since the last round broke that limit."""

    round: int
    proposed: int
    feasible: int
    trained: int
    duplicate: int
    best_accuracy: float | None
    rounds_without_gain: int
    over_ram: int
    over_flash: int
    over_other: int
    minutes_left: float
    trainings_left: int
    most_proposals: int


@dataclass(frozen=True, slots=True)
class RoundPlan:
    """From the supervisor to the proposal agent: how many proposals, with which focus; or to stop."""

    count: int
    focus: Focus
    stop: bool
    reason: Line


@dataclass(frozen=True, slots=True)
class ConvergenceNote:
    """How one training went: accuracy on the validation split after the first, the last but one and the last epoch."""

    candidate_id: int
    epochs: int
    first_accuracy: float
    previous_accuracy: float
    last_accuracy: float
    last_loss: float
    ended: Literal["completed", "scheduler", "deadline"]
    recipe: "RecipeChoice"


@dataclass(frozen=True, slots=True)
class RecipeRequest:
    """To the training agent: a candidate about to be trained, and how the trainings since the last request went."""

    candidate_id: int
    macs: int
    weights_bytes: int
    notes: tuple[ConvergenceNote, ...]


@dataclass(frozen=True, slots=True)
class RecipeChoice:
    """From the training agent: the configured recipe with two of its figures scaled and one replaced."""

    learning_rate_factor: Literal[0.25, 0.5, 1.0, 2.0]
    weight_decay_factor: Literal[0.0, 0.5, 1.0, 2.0]
    label_smoothing: Literal[0.0, 0.05, 0.1, 0.2]


@dataclass(frozen=True, slots=True)
class CandidateNote:
    """From the evaluation agent to the history: what limits a measured candidate, and what to try next."""

    candidate_id: int
    limited_by: Literal["capacity", "training", "overfitting", "quantization", "nothing_clear"]
    advice: Literal["larger", "smaller", "deeper", "wider", "train_longer", "other_blocks", "keep"]
    note: Line


@dataclass(frozen=True, slots=True)
class CardProse:
    """From the deploy agent: the model card's two paragraphs of prose. Figures stand elsewhere on the card."""

    intended_use: Prose
    limitations: Prose


Message = RoundRequest | RoundPlan | ConvergenceNote | RecipeRequest | RecipeChoice | CandidateNote | CardProse
_KINDS: Mapping[str, type] = {kind.__name__: kind for kind in Message.__args__}


class MalformedMessage(CandidateFailure):
    """Bytes that are no message of this version, or a message that is too large."""


@cache
def adapter(kind: type) -> TypeAdapter[Any]:
    """What validates one kind of message, and gives its JSON schema."""
    return TypeAdapter(kind)


def encode(message: Message) -> bytes:
    """`message` on the wire. Raises `MalformedMessage` when it is over `MAX_BYTES` or breaks its own limits."""
    kind = type(message)
    try:
        body = adapter(kind).dump_python(adapter(kind).validate_python(message), mode="json")
        adapter(kind).validate_python(body)
    except ValidationError as error:
        raise MalformedMessage(f"a {kind.__name__} breaks its limits ({_first(error)}); shorten it") from None
    wire = json.dumps({"version": VERSION, "kind": kind.__name__, "body": body}, allow_nan=False).encode()
    if len(wire) > MAX_BYTES:
        raise MalformedMessage(f"a {kind.__name__} of {len(wire):,} bytes is over {MAX_BYTES:,}; shorten it")
    return wire


def decode(wire: bytes) -> Message:
    """The message of `encode`. Raises `MalformedMessage` for anything else."""
    if len(wire) > MAX_BYTES:
        raise MalformedMessage(f"a message of {len(wire):,} bytes is over {MAX_BYTES:,}; shorten it")
    try:
        envelope = json.loads(wire)
        if envelope["version"] != VERSION:
            raise MalformedMessage(
                f"a message of version {envelope['version']!r:.20}, this is {VERSION}; run one AutoMCU on all nodes"
            )
        found: Message = adapter(_KINDS[envelope["kind"]]).validate_python(envelope["body"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise MalformedMessage(
            f"no message between roles ({type(error).__name__}); send what automcu.messages.encode gives"
        ) from None
    return found


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg'].lower()}"
