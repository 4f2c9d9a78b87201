import json
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automcu.architecture import Task
from automcu.messages import (
    CONFIGURED,
    LINE_CHARS,
    MAX_BYTES,
    Brief,
    CandidateNote,
    CardFacts,
    CardProse,
    ConvergenceNote,
    Evidence,
    MalformedMessage,
    Message,
    OpenPoint,
    Quotes,
    RecipeChoice,
    RecipeRequest,
    RoundPlan,
    RoundRequest,
    convergence_note,
    decode,
    encode,
    one_line,
    quoted,
    typed,
)
from automcu.results import EpochPoint, TrialResult
from tests import builders

TASK = Task("birds", "birds_v2", (32, 32, 3), 10, "Tell ten garden birds apart.")
NOTE = ConvergenceNote(1, 8, 0.1, 0.5, 0.6, 1.2, "completed", CONFIGURED)
MESSAGES: tuple[Message, ...] = (
    RoundRequest(1, 4, 3, 2, 1, None, 0, 1, 0, 0, 6, 4),
    RoundPlan(4, "less_ram", False, "most broke the RAM limit"),
    RecipeRequest(3, 1_000_000, 20_000, (NOTE,)),
    RecipeChoice(50, 0, 200),
    NOTE,
    CandidateNote(3, "capacity", "larger", "no limit is used to more than 40%"),
    CardFacts(TASK, "nucleo_f446re", builders.evaluation(), builders.test_result(), builders.measurement(), ""),
    CardProse("It sorts images.", "It errs.", "code"),
    Quotes("mnist", "numbers", "", "", "64 KB Arbeitsspeicher", "", "", ""),
    Brief(
        "mnist",
        None,
        64_000,
        None,
        12.5,
        None,
        30.0,
        8,
        None,
        0.5,
        "int8_accuracy",
        (Evidence("ram", "64 KB RAM"),),
        (OpenPoint("board", "Which board?", ("nucleo_f446re",)),),
    ),
)
# What JSON can hold, with numbers that Python's reader lets through.
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def test_every_kind_of_message_is_tried_here() -> None:
    assert {type(message) for message in MESSAGES} == set(get_args(Message))


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_what_is_encoded_is_decoded_again(message: Message) -> None:
    assert decode(encode(message)) == message


@given(
    reason=st.text(st.characters(), max_size=LINE_CHARS),
    count=st.integers(1, 10**9),
    focus=st.sampled_from(["explore", "less_ram"]),
)
def test_free_text_comes_out_as_one_printable_line(reason: str, count: int, focus: str) -> None:
    plan = RoundPlan(count, focus, False, reason)  # type: ignore[arg-type]
    if any("\ud800" <= sign <= "\udfff" for sign in reason):
        with pytest.raises(MalformedMessage):
            encode(plan)
        return
    found = decode(encode(plan))
    assert isinstance(found, RoundPlan)
    assert found == replace(plan, reason=one_line(reason)) and found.reason.isprintable()


def test_text_over_its_cap_is_refused() -> None:
    with pytest.raises(MalformedMessage, match="reason"):
        encode(RoundPlan(1, "explore", False, "x" * (LINE_CHARS + 1)))


def test_a_message_over_the_cap_is_refused_both_ways() -> None:
    long = RecipeRequest(3, 1, 1, (NOTE,) * 200)
    with pytest.raises(MalformedMessage, match=f"over {MAX_BYTES:,}"):
        encode(long)
    with pytest.raises(MalformedMessage, match=f"over {MAX_BYTES:,}"):
        decode(b" " * (MAX_BYTES + 1))


def test_another_version_is_refused_and_named() -> None:
    wire = json.loads(encode(MESSAGES[1]))
    with pytest.raises(MalformedMessage, match="version 2"):
        decode(json.dumps({**wire, "version": 2}).encode())


@pytest.mark.parametrize("accuracy", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_none_is_refused(accuracy: float) -> None:
    with pytest.raises(MalformedMessage):
        encode(replace(NOTE, last_accuracy=accuracy))
    body = encode(NOTE).decode().replace("0.6", json.dumps(accuracy))
    with pytest.raises(MalformedMessage):
        decode(body.encode())


@pytest.mark.parametrize(
    "change",
    [
        {"count": "4"},
        {"count": True},
        {"count": 4.5},
        {"focus": "everything"},
        {"stop": "no"},
        {"stop": 0},
        {"reason": None},
        {"more": 1},
        {"limits": {"ram_bytes": 10**9}},
    ],
)
def test_nothing_is_converted_and_nothing_added(change: dict[str, object]) -> None:
    body = {"count": 4, "focus": "less_ram", "stop": False, "reason": "why"}
    assert typed(RoundPlan, body) == RoundPlan(4, "less_ram", False, "why")
    with pytest.raises(MalformedMessage):
        typed(RoundPlan, {**body, **change})


@given(hostile=st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()))
def test_hostile_bytes_are_one_typed_error(hostile: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode(hostile)


@given(
    message=st.sampled_from(MESSAGES),
    key=st.sampled_from(["version", "kind", "body", "body.reason", "body.count", "body.notes", "body.task", "x"]),
    value=JSON,
)
def test_a_message_changed_anywhere_is_valid_or_refused(message: Message, key: str, value: object) -> None:
    wire = json.loads(encode(message))
    inner = wire["body"] if key.startswith("body.") else wire
    inner[key.removeprefix("body.")] = value
    try:
        found = decode(json.dumps(wire).encode())
    except MalformedMessage:
        return
    assert decode(encode(found)) == found and json.loads(encode(found)) == wire


def test_bytes_nested_too_deep_are_refused() -> None:
    with pytest.raises(MalformedMessage):
        decode(b'{"version":1,"kind":"RoundPlan","body":' + b"[" * 7_000 + b"]" * 7_000 + b"}")


def test_a_convergence_note_takes_the_ends_of_the_curve() -> None:
    curve = tuple(EpochPoint(epoch, 2 - epoch / 4, epoch / 10, float(epoch)) for epoch in (1, 2, 3, 4))
    note = convergence_note(7, TrialResult(curve, "scheduler", 0, 4.0), RecipeChoice(50, 100, 100))
    assert note == ConvergenceNote(7, 4, 0.1, 0.3, 0.4, 1.0, "scheduler", RecipeChoice(50, 100, 100))
    short = convergence_note(8, builders.trial(0.5), None)
    assert (short.first_accuracy, short.previous_accuracy, short.last_accuracy) == (0.5, 0.5, 0.5)
    assert short.recipe == CONFIGURED
    assert convergence_note(9, None, None).ended == "failed"


@given(st.text(st.characters()), st.integers(1, 50))
def test_quoted_text_cannot_leave_its_quotes(text: str, limit: int) -> None:
    told = quoted(text, limit)
    assert told.isprintable() and told[0] == told[-1] == '"'
    assert len(json.loads(told)) <= limit + 4
