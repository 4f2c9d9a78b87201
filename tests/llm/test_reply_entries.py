"""Entries of a list that is still being written: told early, as strictly as the whole reply, in whatever pieces."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automcu.llm.reply import MAX_DEPTH, MAX_REPLY_CHARS, MAX_TRIES, EntryReader, MalformedReply, json_object
from tests.llm.test_reply import GOOD, JSON, PIECES, READABLE, REFUSED

MANY = 1_000


def fed(reader: EntryReader, pieces: list[str]) -> list[object]:
    return [entry for piece in pieces for entry in reader.feed(piece)]


def cut(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


def test_an_entry_is_told_with_the_piece_that_ends_it() -> None:
    reader = EntryReader("proposals", 9)
    told = [reader.feed(piece) for piece in ['{"prop', 'osals": [', '{"a": "]', '}, 1"}', ' ,{"b"', ":2}", "]", "}"]]
    assert told == [[], [], [], [], [{"a": "]}, 1"}], [], [{"b": 2}], []]
    assert reader.end() == []
    assert reader.text == '{"proposals": [{"a": "]}, 1"} ,{"b":2}]}'


@pytest.mark.parametrize(
    ("rest", "told"),
    [
        ("", []),
        ('{"b": 1', []),
        ('{"b": NaN}]}', []),
        ('{"b": 1, "b": 2}]}', []),
        ("oops", []),
        ("1}", []),
        ("]}", []),
        ('1], "proposals": [7]}', [1]),
    ],
)
def test_what_was_told_stands_when_the_reply_is_cut_off_or_goes_wrong(rest: str, told: list[object]) -> None:
    reader = EntryReader("proposals", 9)
    assert fed(reader, cut('{"proposals": [{"a": 1}, ' + rest, 5)) == [{"a": 1}, *told]
    with pytest.raises(MalformedReply):
        reader.end()


@pytest.mark.parametrize(
    ("text", "ahead", "late"),
    [
        ('{"p": [1, 2]} and {"p": [3, 4', [1, 2, 3], []),
        ('{"p": [{"p": [1, 2]} oops]}', [], [1, 2]),
        ('{"p": [1, 2]} {' + " " * 300 + '"p": [3, 4]}', [1, 2], [3, 4]),
        ('{"p": ["' + "x" * 30_000 + '", 2]}', [], ["x" * 30_000, 2]),
    ],
    ids=["draft after the answer", "answer in a broken draft", "wide gap", "long entry"],
)
def test_the_end_gives_what_was_not_told_and_nothing_twice(text: str, ahead: list[object], late: list[object]) -> None:
    reader = EntryReader("p", 9)
    assert fed(reader, cut(text, 40)) == ahead
    assert reader.end() == late


def test_only_so_many_objects_are_read_ahead() -> None:
    reader = EntryReader("p", MANY)
    assert fed(reader, ['{"p": [1]} ' * 20]) == [1] * MAX_TRIES
    assert reader.end() == []


@pytest.mark.parametrize("size", [1, 2, 7, 64, 10_000])
@pytest.mark.parametrize("text", READABLE.values(), ids=READABLE)
def test_reads_what_models_send_in_any_pieces(text: str, size: int) -> None:
    reader = EntryReader("proposals", 9)
    told = fed(reader, cut(text, size)) + reader.end()
    assert told[-2:] == [{"a": 1}, {"b": [2.5, "x"]}]


@pytest.mark.parametrize("name", ["bare", "fenced", "prose around", "form quoted first", "thoughts", "Chinese"])
def test_reads_ahead_whatever_stands_before_the_object(name: str) -> None:
    reader = EntryReader("proposals", 9)
    assert fed(reader, cut(READABLE[name], 3)) == [{"a": 1}, {"b": [2.5, "x"]}]
    assert reader.end() == []


def test_gives_no_more_than_asked_for_and_reads_no_further() -> None:
    reader = EntryReader("p", 2)
    assert fed(reader, cut('{"p": [1, 2, 3, 4]}', 4)) == [1, 2]
    assert reader.end() == []
    late = EntryReader("p", 2)
    assert fed(late, ['{"reason": "", "p": [1, 2, 3]}']) == []
    assert late.end() == [1, 2]


def test_what_is_no_list_is_told_at_the_end() -> None:
    reader = EntryReader("p", 9)
    assert reader.feed('{"p": {"p": 1}}') == []
    with pytest.raises(MalformedReply, match="no list"):
        reader.end()


def test_the_limits_are_those_of_the_whole_reply() -> None:
    nested = MAX_DEPTH - 2
    for depth, wanted in ((nested, 1), (nested + 1, 0)):
        reader = EntryReader("p", 9)
        assert len(reader.feed('{"p": [' + "[" * depth + "]" * depth + "]}")) == wanted
    reader = EntryReader("p", 9)
    reader.feed('{"p": [1]}' + " " * MAX_REPLY_CHARS)
    assert reader.too_long
    with pytest.raises(MalformedReply, match="characters"):
        reader.end()


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_refuses_the_malformed_soon(text: str) -> None:
    reader = EntryReader("proposals", MANY)
    pieces = cut(text, 50)
    began = time.process_time()
    told = []
    for piece in pieces:
        told += reader.feed(piece)
        if reader.too_long:
            break
    with pytest.raises(MalformedReply):
        reader.end()
    assert time.process_time() - began < 0.3  # 50 ms on a quiet core; see test_malformed_replies.py
    json.dumps(told, allow_nan=False).encode()


ANY = st.lists(PIECES | st.text(max_size=3) | st.just('{"proposals": ['), max_size=40).map("".join)
SIZES = st.integers(1, 30)


@given(ANY | st.builds(lambda a, b: GOOD + a + b, ANY, st.just(GOOD)), SIZES)
def test_whatever_the_pieces_it_agrees_with_the_whole_reply(text: str, size: int) -> None:
    reader = EntryReader("proposals", MANY)
    told = fed(reader, cut(text, size))
    json.dumps(told, allow_nan=False).encode()
    whole = EntryReader("proposals", MANY)
    assert fed(whole, [text]) == told
    try:
        wanted = json_object(text, "proposals")["proposals"]
    except MalformedReply:
        with pytest.raises(MalformedReply):
            reader.end()
        return
    if isinstance(wanted, list):
        told += reader.end()
        assert told[len(told) - len(wanted) :] == wanted


@given(st.lists(JSON, max_size=5), SIZES, st.booleans())
def test_every_entry_comes_through_unchanged_and_early(entries: list[object], size: int, fenced: bool) -> None:
    text = json.dumps({"proposals": entries})
    reader = EntryReader("proposals", MANY)
    assert fed(reader, cut(f"```json\n{text}\n```" if fenced else text, size)) == entries
    assert reader.end() == []
