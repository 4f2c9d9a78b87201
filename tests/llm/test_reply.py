"""Replies are untrusted: whatever comes becomes one JSON object or a `MalformedReply`, soon."""

import json
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automcu.llm.reply import MAX_DEPTH, MAX_REPLY_CHARS, MalformedReply, json_object

GOOD = '{"proposals": [{"a": 1}, {"b": [2.5, "x"]}]}'
WANTED = {"proposals": [{"a": 1}, {"b": [2.5, "x"]}]}

READABLE = {
    "bare": GOOD,
    "fenced": f"```json\n{GOOD}\n```",
    "fenced without a language": f"```\n{GOOD}\n```\n",
    "prose around": f"Sure! Here is what I propose, for {{your}} board:\n\n{GOOD}\n\nGood luck.",
    "apostrophes in prose": f"It's the best I've got: {GOOD} Isn't it?",
    "form quoted first": f'The form is {{"proposals": [...]}}, so:\n{GOOD}',
    "thoughts": f'<think>maybe {{"proposals": [{{"a": 0}}]}}? no.</think>\n{GOOD}',
    "unopened thought": f"I think {{ so... </think>{GOOD}",
    "reason first": GOOD.replace("{", '{"reason": "deep } enough {", ', 1),
    "byte order mark": "\ufeff" + GOOD,
    "escaped quotes": GOOD.replace('"x"', '"\\u0078"'),
    "Chinese": f"这是我的建议:{GOOD}",
}

REFUSED = {
    "empty": "",
    "blank": " \n\t",
    "prose": "I am sorry, I cannot help with that.",
    "German": "Ich schlage ein Netz mit drei Stufen vor, 16 Kanäle, dann 32.",
    "array": '[{"a": 1}]',
    "string": '"proposals"',
    "null": "null",
    "no such key": '{"proposal": []}',
    "empty object": "{}",
    "truncated": GOOD[:-3],
    "truncated in a string": '{"proposals": [{"a": "conv',
    "truncated after an inner object": '{"proposals": [{"a": 1}',
    "single quotes": "{'proposals': []}",
    "trailing comma": '{"proposals": [1,]}',
    "comment": '{"proposals": [1 /* one */]}',
    "wrong bracket": '{"proposals": [1}}',
    "duplicate key": '{"proposals": [], "proposals": [1]}',
    "inner duplicate key": '{"proposals": [{"a": 1, "a": 2}]}',
    "NaN": '{"proposals": [NaN]}',
    "Infinity": '{"proposals": [Infinity]}',
    "-Infinity": '{"proposals": [-Infinity]}',
    "1e999": '{"proposals": [1e999]}',
    "5,000 digits": '{"proposals": [' + "9" * 5_000 + "]}",
    "half a surrogate pair": '{"proposals": ["\\ud800"]}',
    "control character": '{"proposals": ["\x00"]}',
    "deep array": '{"proposals": ' + "[" * 100_000,
    "deep, closed": '{"proposals": ' + "[" * 50_000 + "]" * 50_000 + "}",
    "deep object": '{"proposals": ' + '{"a":' * 30_000,
    "many openings": '{"' * 90_000,
    "many short objects": '{"a":1}' * 28_000,
    "many forms": '{"proposals":' * 14_000,
    "quotes": '{"' + '"' * 190_000,
    "backslashes": '{"proposals": "' + "\\" * 180_000,
    "10 MB": '{"proposals": ["' + "x" * 10_000_000 + '"]}',
    "10 MB of brackets": "{" * 10_000_000,
}


@pytest.mark.parametrize("text", READABLE.values(), ids=READABLE)
def test_reads_what_models_send(text: str) -> None:
    assert json_object(text, "proposals")["proposals"] == WANTED["proposals"]


def test_takes_the_outer_of_nested_objects() -> None:
    assert json_object('{"p": [{"p": 1}]}', "p") == {"p": [{"p": 1}]}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_refuses_the_malformed_in_one_short_sentence_and_soon(text: str) -> None:
    began = time.perf_counter()
    with pytest.raises(MalformedReply) as caught:
        json_object(text, "proposals")
    assert time.perf_counter() - began < 0.5  # 50 ms on a quiet core; the machine may be busy
    assert 20 < len(str(caught.value)) < 200 and "\n" not in str(caught.value)


def test_the_limits_are_exact() -> None:
    nested = MAX_DEPTH - 1
    assert json_object('{"p": ' + "[" * nested + "]" * nested + "}", "p")
    with pytest.raises(MalformedReply, match="deeper"):
        json_object('{"p": [' + "[" * nested + "]" * nested + "]}", "p")
    assert json_object('{"p": 1}' + " " * (MAX_REPLY_CHARS - 8), "p")
    with pytest.raises(MalformedReply, match="characters"):
        json_object('{"p": 1}' + " " * (MAX_REPLY_CHARS - 7), "p")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)


@given(JSON, st.booleans(), st.booleans())
def test_every_json_value_comes_through_unchanged(value: object, ascii_only: bool, fenced: bool) -> None:
    text = json.dumps({"proposals": value}, ensure_ascii=ascii_only)
    found = json_object(f"```json\n{text}\n```" if fenced else text, "proposals")
    assert found == {"proposals": value}


PIECES = st.sampled_from(
    [*'{}[]",:\\ \n', '"proposals"', '{"proposals":', "NaN", "1e308", "-1", "null", "```", "</think>", "\\ud800", "é"]
)


@given(st.lists(PIECES | st.text(max_size=3), max_size=40).map("".join) | st.text())
def test_anything_is_an_object_or_a_typed_error(text: str) -> None:
    try:
        found = json_object(text, "proposals")
    except MalformedReply:
        return
    assert "proposals" in found
    json.dumps(found, allow_nan=False).encode()


@given(st.integers(0, len(GOOD) - 1), st.text(max_size=3))
def test_one_wound_never_gives_another_answer_than_json_itself(place: int, put: str) -> None:
    text = GOOD[:place] + put + GOOD[place + 1 :]
    try:
        found = json_object(text, "proposals")
    except MalformedReply:
        return
    assert json.dumps(found) in (json.dumps(json.loads(text[text.index("{") : text.rindex("}") + 1])),)
    assert all(math.isfinite(n) for n in found.values() if isinstance(n, float))
