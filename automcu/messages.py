"""What crosses between agent roles: small, typed, versioned messages, and nothing else.

A role's conversation, reasoning and memory stay with it. Every message is one of the dataclasses below; `encode` and
`decode` are its form on the wire, JSON with the version and the kind, of at most `MAX_BYTES`. Whatever a language model
wrote is a closed choice or a short `Line`, one line of printable text.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, FiniteFloat, StringConstraints, TypeAdapter, ValidationError

from automcu.architecture import Task
from automcu.errors import CandidateFailure
from automcu.results import Evaluation, Measurement, TestResult, TrialResult

VERSION = 1
MAX_BYTES = 16_000
LINE_CHARS = 200
"""Longest free text that crosses between roles, except the model card's prose."""
PROSE_CHARS = 800


def one_line(text: str) -> str:
    """`text` with whatever cannot be printed, line ends included, as blanks."""
    return "".join(c if c.isprintable() else " " for c in text)


def quoted(text: str, limit: int) -> str:
    """`text` as one line between double quotes, at most `limit` characters of it: how free text that users or tools
    wrote stands in a prompt."""
    cut = text if len(text) <= limit else text[:limit] + " ..."
    return json.dumps(one_line(cut), ensure_ascii=False)


Line = Annotated[str, StringConstraints(max_length=LINE_CHARS), AfterValidator(one_line)]
Prose = Annotated[str, StringConstraints(max_length=PROSE_CHARS), AfterValidator(one_line)]

Focus = Literal["explore", "more_accuracy", "less_ram", "less_flash", "fewer_macs", "fill_niche"]
"""What a round of proposals should aim at."""


@dataclass(frozen=True, slots=True)
class RoundRequest:
    """To the supervisor: how the search stands before a round. Counts since the start; `trainings_left` of the
    budget; `rounds_without_gain` rounds have passed without a better network; `over_ram`, `over_flash`, `over_other` of
    the candidates since the last round broke that limit. No time: code ends the search in time, and a replayed run,
    which is faster, must ask what the recorded one did."""

    round: int
    proposed: int
    feasible: int
    trained: int
    duplicate: int
    best_accuracy: FiniteFloat | None
    rounds_without_gain: int
    over_ram: int
    over_flash: int
    over_other: int
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
class RecipeChoice:
    """From the training agent: per cent of what the configured recipe says. 100 is listed first because small models
    tend to take what comes first."""

    learning_rate_percent: Literal[100, 50, 25, 200]
    weight_decay_percent: Literal[100, 50, 0, 200]
    label_smoothing_percent: Literal[100, 50, 0, 200]


CONFIGURED = RecipeChoice(100, 100, 100)
"""The configured recipe as it is."""


@dataclass(frozen=True, slots=True)
class ConvergenceNote:
    """How one training went: accuracy on the validation split after the first, the last but one and the last epoch,
    and the last training loss. One that failed for good, most often because its loss was no number any more, has zeros.
    """

    candidate_id: int
    epochs: int
    first_accuracy: FiniteFloat
    previous_accuracy: FiniteFloat
    last_accuracy: FiniteFloat
    last_loss: FiniteFloat
    ended: Literal["completed", "scheduler", "deadline", "failed"]
    recipe: RecipeChoice


def convergence_note(candidate_id: int, trial: TrialResult | None, recipe: RecipeChoice | None) -> ConvergenceNote:
    """The note on a training with `recipe` (None: as configured) that ended as `trial`, or failed for good (None)."""
    used = recipe or CONFIGURED
    if trial is None:
        return ConvergenceNote(candidate_id, 0, 0.0, 0.0, 0.0, 0.0, "failed", used)
    curve = trial.curve
    return ConvergenceNote(
        candidate_id=candidate_id,
        epochs=len(curve),
        first_accuracy=curve[0].validation_accuracy,
        previous_accuracy=curve[max(0, len(curve) - 2)].validation_accuracy,
        last_accuracy=curve[-1].validation_accuracy,
        last_loss=curve[-1].train_loss,
        ended=trial.ended,
        recipe=used,
    )


@dataclass(frozen=True, slots=True)
class RecipeRequest:
    """To the training agent: a candidate about to be trained, and how the trainings since the last request went."""

    candidate_id: int
    macs: int
    weights_bytes: int
    notes: tuple[ConvergenceNote, ...]


@dataclass(frozen=True, slots=True)
class CandidateNote:
    """From the evaluation agent to the history: what limits a measured candidate, and what to try next."""

    candidate_id: int
    limited_by: Literal["capacity", "training", "overfitting", "quantization", "nothing_clear"]
    advice: Literal["larger", "smaller", "deeper", "wider", "train_longer", "other_blocks", "keep"]
    note: Line


@dataclass(frozen=True, slots=True)
class CardFacts:
    """To the deploy agent: what is known of the network that is shipped. `unverified` says why there is no
    measurement."""

    task: Task
    board: str
    evaluation: Evaluation
    test: TestResult
    measurement: Measurement | None
    unverified: str


@dataclass(frozen=True, slots=True)
class CardProse:
    """From the deploy agent: the model card's two paragraphs of prose, and who wrote them, `code` or a model's name."""

    intended_use: Prose
    limitations: Prose
    author: Line


# --- intake ---

Point = Literal[
    "task", "board", "ram", "flash", "latency", "macs", "minutes", "candidates", "tokens", "usd", "objective"
]
"""What a brief says, and what can be open in it."""
_Count = Annotated[int, Field(gt=0, le=10**15)]
_Amount = Annotated[float, Field(gt=0, le=1e12, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class Quotes:
    """From intake's model to its code: pieces of the user's words that say something which rules did not understand,
    empty where none does; and the names of the tables that `task_words` and `board_words` may mean."""

    task: Line
    task_words: Line
    board: Line
    board_words: Line
    ram: Line
    flash: Line
    latency: Line
    minutes: Line


@dataclass(frozen=True, slots=True)
class Evidence:
    """The user's own words that give a value of a brief."""

    key: Point
    words: Line


@dataclass(frozen=True, slots=True)
class OpenPoint:
    """What the user must still decide, with what can be chosen (empty where it is a figure)."""

    key: Point
    question: Prose
    choices: Annotated[tuple[Line, ...], Field(max_length=64)]


@dataclass(frozen=True, slots=True)
class Brief:
    """From intake: what the user's words ask for. Task and board are names of the tables; a limit is None where the
    words set none. With `open_points` it is not whole yet."""

    task: Line | None
    board: Line | None
    ram_bytes: _Count | None
    flash_bytes: _Count | None
    latency_ms: _Amount | None
    macs: _Count | None
    minutes: _Amount | None
    candidates: _Count | None
    tokens: _Count | None
    usd: _Amount | None
    objective: Literal["int8_accuracy"]
    evidence: Annotated[tuple[Evidence, ...], Field(max_length=16)]
    open_points: Annotated[tuple[OpenPoint, ...], Field(max_length=16)]


Message = (
    RoundRequest
    | RoundPlan
    | RecipeRequest
    | RecipeChoice
    | ConvergenceNote
    | CandidateNote
    | CardFacts
    | CardProse
    | Quotes
    | Brief
)
M = TypeVar("M", bound=Message)
_KINDS: Mapping[str, type] = {kind.__name__: kind for kind in Message.__args__}


class MalformedMessage(CandidateFailure):
    """Bytes that are no message of this version, or a message that is too large."""


@cache
def adapter(kind: type) -> TypeAdapter[Any]:
    """What validates one kind of message, and gives its JSON schema."""
    return TypeAdapter(kind)


def typed(kind: type[M], body: Mapping[str, object]) -> M:
    """The message of `kind` that `body` describes: exactly its keys, nothing converted. Raises `MalformedMessage`."""
    name = kind.__name__
    if unknown := body.keys() - {field.name for field in fields(kind)}:
        raise MalformedMessage(f"a {name} has no {quoted(min(unknown), 40)}; leave it out")
    try:
        message: M = adapter(_KINDS[name]).validate_json(json.dumps(body, allow_nan=False), strict=True)
    except ValidationError as error:
        raise MalformedMessage(f"a {name} breaks its form ({_first(error)}); correct it") from None
    except ValueError:
        raise MalformedMessage(f"a {name} holds a number that is none; give finite numbers") from None
    return message


def encode(message: Message) -> bytes:
    """`message` on the wire. Raises `MalformedMessage` when it is over `MAX_BYTES` or breaks its own limits."""
    kind: type[Message] = type(message)
    name, convert = kind.__name__, adapter(_KINDS[kind.__name__])
    checked = typed(kind, convert.dump_python(message, mode="json", warnings=False))
    body = convert.dump_python(checked, mode="json")
    wire = json.dumps({"version": VERSION, "kind": name, "body": body}).encode()
    if len(wire) > MAX_BYTES:
        raise MalformedMessage(f"a {name} of {len(wire):,} bytes is over {MAX_BYTES:,}; shorten it")
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
        found: Message = typed(_KINDS[envelope["kind"]], envelope["body"])
        if json.loads(encode(found)) != envelope:
            raise ValueError("keys of no message, or text that cannot be printed")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise MalformedMessage(
            f"no message between roles ({type(error).__name__}); send what automcu.messages.encode gives"
        ) from None
    return found


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg'].lower()}"[:LINE_CHARS]
