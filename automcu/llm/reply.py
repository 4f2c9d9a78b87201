"""Reads a language model's reply: untrusted text becomes one JSON object, or a `MalformedReply` that says why not.

The object may stand in prose, in a code fence or after a model's thoughts. Refused: replies over `MAX_REPLY_CHARS`,
nesting over `MAX_DEPTH`, duplicate keys, NaN, infinities, numbers too large for a float, and text that is not Unicode.
"""

import json
import math
import re
from typing import NoReturn

from automcu.errors import LLMError

MAX_REPLY_CHARS = 200_000
MAX_DEPTH = 32
MAX_DIGITS = 40


class MalformedReply(LLMError):
    """A reply holds no JSON object of the wanted form; the message can be shown to the model."""


def json_object(text: str, key: str) -> dict[str, object]:
    """The JSON object in `text` that has `key` at its top level.

    The last object that opens with `key` is taken (models quote the form before they fill it), otherwise the first
    object of the text. Raises `MalformedReply`.
    """
    if len(text) > MAX_REPLY_CHARS:
        raise MalformedReply(f"the reply has {len(text):,} characters; keep it below {MAX_REPLY_CHARS:,}")
    answer = text.rpartition("</think>")[2]
    starts = [match.start() for match in re.finditer(r'\{\s*"' + re.escape(key) + r'"\s*:', answer)]
    any_start = re.search(r'\{\s*["}]', answer)
    if any_start is None:
        raise MalformedReply("the reply holds no JSON object; answer with one JSON object and nothing else")
    fault: MalformedReply | None = None
    for start in dict.fromkeys([*reversed(starts[-2:]), any_start.start()]):
        try:
            found = _decode(answer, start)
        except MalformedReply as error:
            fault = fault or error
            continue
        if key in found:
            return found
        fault = fault or MalformedReply(f'the JSON object has no key "{key}"; put the answer under it')
    assert fault is not None
    raise fault


_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\]]', re.DOTALL)


def _decode(text: str, start: int) -> dict[str, object]:
    end = _end_of_object(text, start)
    try:
        found = _DECODER.decode(text[start:end])
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise MalformedReply("a string holds half of a surrogate pair; use plain text") from None
    except ValueError as error:
        raise MalformedReply(f"the reply is not valid JSON ({error}); answer with one valid JSON object") from None
    if not isinstance(found, dict):
        raise MalformedReply("the reply is not a JSON object; answer with one JSON object")
    return found


def _end_of_object(text: str, start: int) -> int:
    """Index after the bracket that closes the one at `start`; keeps the recursive decoder away from deep nesting."""
    depth = 0
    for token in _TOKEN.finditer(text, start):
        first = token[0][0]
        if first in "{[":
            depth += 1
            if depth > MAX_DEPTH:
                raise MalformedReply(f"the JSON is nested deeper than {MAX_DEPTH} levels; make it flatter")
        elif first in "}]":
            depth -= 1
            if depth == 0:
                return token.end()
    raise MalformedReply("the JSON object ends before it is closed; answer with one whole JSON object, more briefly")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has the same key twice")
    return found


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number has more than {MAX_DIGITS} digits")
    return int(digits)


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_integer, parse_float=_finite, parse_constant=_no_constant
)
