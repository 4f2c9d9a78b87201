"""Reads a language model's reply: untrusted text becomes one JSON object, or a `MalformedReply` that says why not.

The object may stand in prose, in a code fence or behind a model's thoughts. Refused: replies over `MAX_REPLY_CHARS`,
nesting over `MAX_DEPTH`, duplicate keys, NaN, infinities, numbers too large for a float, and text that is not Unicode.
`json_object` reads a whole reply; `EntryReader` gives the entries of a list in it while it is still being written.
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
    return _locate(text, key)[0]


def _locate(text: str, key: str) -> tuple[dict[str, object], int]:
    """The object of `json_object`, and where it opens."""
    if len(text) > MAX_REPLY_CHARS:
        raise MalformedReply(f"the reply has over {MAX_REPLY_CHARS:,} characters; keep it shorter")
    first = re.search(r'\{\s*["}]', text)
    if first is None:
        raise MalformedReply("the reply holds no JSON object; answer with one JSON object and nothing else")
    opening = re.compile(r'\{\s*"' + re.escape(key) + r'"\s*:')
    found: dict[str, object] | None = None
    fault: MalformedReply | None = None
    at = first.start()
    start = opening.search(text)
    for _ in range(MAX_TRIES):
        if start is None:
            break
        try:
            found, end = _decode(text, start.start())
            at = start.start()
        except MalformedReply as error:
            fault, end = fault or error, start.end()
        start = opening.search(text, end)
    if found is None and fault is None:
        found, _ = _decode(text, at)
    if found is None or key not in found:
        raise fault or MalformedReply(f'the JSON object has no key "{key}"; put the answer under it')
    return found, at


class EntryReader:
    """Reads the list under `key` of a reply that comes in pieces: `feed` gives each of its entries as soon as it is
    whole, as strictly as `json_object`; `end` judges the whole reply and gives the entries that could not be told
    before, so that all those of the object that `json_object` finds have been given.

    An object within `<think>` tags is not read ahead. When the reply drafts an object before its answer, the entries of
    both are given: a draft cannot be told from an answer until the reply ends. At most `most` entries are given; pieces
    after `MAX_REPLY_CHARS` characters are not kept.
    """

    def __init__(self, key: str, most: int) -> None:
        self._key = key
        self._most = most
        self._pieces: list[str] = []
        self._chars = 0
        self._sought = re.compile(r'</?think>|\{\s*"' + re.escape(key) + r'"\s*:\s*\[')
        self._thinking = False
        self._tail = ""
        """What may be the beginning of what is sought."""
        self._given: dict[int, int] = {}
        """Entries given of each object's list, by where the object opens."""
        self._opened_at = -1
        self._in_list = False
        self._entry: list[str] = []
        self._entry_chars = 0
        self._depth = 0
        self._in_string = False
        self._escaped = False

    @property
    def text(self) -> str:
        """The reply so far."""
        return "".join(self._pieces)

    @property
    def too_long(self) -> bool:
        """Whether the reply is over `MAX_REPLY_CHARS`, and so refused whatever else comes."""
        return self._chars > MAX_REPLY_CHARS

    def feed(self, piece: str) -> list[object]:
        """The entries that `piece` completes."""
        if self.too_long:
            return []
        self._pieces.append(piece)
        self._chars += len(piece)
        entries: list[object] = []
        rest, base = piece, self._chars - len(piece)
        while rest and self._most > 0 and not self.too_long and (self._in_list or len(self._given) < MAX_TRIES):
            end = self._read_list(rest, entries) if self._in_list else self._seek(rest, base)
            rest, base = rest[end:], base + end
        return entries

    def end(self) -> list[object]:
        """The entries that `feed` has not given. Raises `MalformedReply` when the whole reply holds no list under the
        key, whatever was given of it."""
        found, start = _locate(self.text, self._key)
        entries = found[self._key]
        if not isinstance(entries, list):
            raise MalformedReply(f'the value of "{self._key}" is no list; give a list')
        return entries[self._given.get(start, 0) :][: self._most]

    def _seek(self, text: str, base: int) -> int:
        """Look in `text`, which begins at character `base` of the reply, for a list under the key or the tags of
        thoughts; returns how much of it was read."""
        window = self._tail + text
        before = len(self._tail)
        at = 0
        for found in self._sought.finditer(window):
            at = found.end()
            if found[0][0] == "<":
                self._thinking = found[0] == "<think>"
            elif not self._thinking:
                self._tail = ""
                self._opened_at = base - before + found.start()
                self._given[self._opened_at] = 0
                self._in_list, self._depth, self._in_string, self._escaped = True, 0, False, False
                self._entry_chars = 0
                return at - before
        start = max(window.rfind("{", at), window.rfind("<", at))
        # What is longer than any usual opening is left to `end`.
        self._tail = window[start:] if start >= 0 and len(window) - start <= _TAIL else ""
        return len(text)

    def _read_list(self, text: str, entries: list[object]) -> int:
        """Read on in the list; appends its entries that are whole, and returns how much of `text` was read."""
        begun = at = 0
        while at < len(text):
            if self._escaped:
                self._escaped, at = False, at + 1
                continue
            found = (_IN_STRING if self._in_string else _OUTSIDE).search(text, at)
            if found is None:
                break
            sign, at = found[0], found.end()
            if sign == "\\":
                self._escaped = True
            elif sign == '"':
                self._in_string = not self._in_string
            elif sign in "{[":
                self._depth += 1
            elif self._depth:
                self._depth -= sign in "}]"
            else:
                self._entry.append(text[begun : found.start()])
                begun = at
                self._in_list = sign != "}" and self._take("".join(self._entry), entries) and sign == ","
                self._entry.clear()
            if not self._in_list or self._depth > MAX_DEPTH - 2:
                return self._leave(at)
        self._entry.append(text[begun:])
        self._entry_chars += len(text) - begun
        return len(text) if self._entry_chars <= _LONGEST_ENTRY else self._leave(len(text))

    def _take(self, text: str, entries: list[object]) -> bool:
        """Append the entry that `text` is; whether it is one and more may follow."""
        self._entry_chars = 0
        try:
            entries.append(_value(text))
        except MalformedReply:
            return False
        self._given[self._opened_at] += 1
        self._most -= 1
        return self._most > 0

    def _leave(self, at: int) -> int:
        self._in_list = False
        self._entry.clear()
        return at


_IN_STRING = re.compile(r'["\\]')
_OUTSIDE = re.compile(r'["{}\[\],]')
_TAIL = 200
_LONGEST_ENTRY = 20_000
"""Characters of an entry that is read ahead; a longer one is left to `EntryReader.end`."""
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\]]', re.DOTALL)


def _decode(text: str, start: int) -> tuple[dict[str, object], int]:
    """The object that opens at `start`, and where it ends."""
    end = _end_of_object(text, start)
    found = _value(text[start:end])
    if not isinstance(found, dict):
        raise MalformedReply("the reply is not a JSON object; answer with one JSON object")
    return found, end


def _value(text: str) -> object:
    """The JSON value that `text` is, which must not be nested deeply."""
    try:
        found: object = _DECODER.decode(text)
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise MalformedReply("a string holds half of a surrogate pair; use plain text") from None
    except ValueError as error:
        raise MalformedReply(f"the reply is not valid JSON ({error}); answer with one valid JSON object") from None
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
