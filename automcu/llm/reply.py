"""Reads a language model's reply: untrusted text becomes one JSON object, or a `MalformedReply` that says why not.

The object may stand in prose, in a code fence or behind a model's thoughts. Refused: replies over `MAX_REPLY_CHARS`,
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
MAX_TRIES = 8


class MalformedReply(LLMError):
    """A reply holds no JSON object of the wanted form; the message can be shown to the model."""


def json_object(text: str, key: str) -> dict[str, object]:
    """The JSON object in `text` that has `key` at its top level.

    Of several objects that open with `key` the last is taken (models quote the form, or draft, before they answer);
    where none does, the first object of the text. Raises `MalformedReply`.
    """
    if len(text) > MAX_REPLY_CHARS:
        raise MalformedReply(f"the reply has {len(text):,} characters; keep it below {MAX_REPLY_CHARS:,}")
    first = re.search(r'\{\s*["}]', text)
    if first is None:
        raise MalformedReply("the reply holds no JSON object; answer with one JSON object and nothing else")
    opening = re.compile(r'\{\s*"' + re.escape(key) + r'"\s*:')
    found: dict[str, object] | None = None
    fault: MalformedReply | None = None
    start = opening.search(text)
    for _ in range(MAX_TRIES):
        if start is None:
            break
        try:
            found, end = _decode(text, start.start())
        except MalformedReply as error:
            fault, end = fault or error, start.end()
        start = opening.search(text, end)
    if found is None and fault is None:
        found, _ = _decode(text, first.start())
    if found is None or key not in found:
        raise fault or MalformedReply(f'the JSON object has no key "{key}"; put the answer under it')
    return found


_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\]]', re.DOTALL)


def _decode(text: str, start: int) -> tuple[dict[str, object], int]:
    """The object that opens at `start`, and where it ends."""
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
    return found, end


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
