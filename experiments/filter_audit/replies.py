"""Replies such as language models send, with every kind of fault that the tests of the reply reader know.

No model was asked. The kinds take turns, so that shares of them say nothing about any model.
"""

import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from automcu.spaces.space import Space

ENTRIES = 5
"""Descriptions in a reply."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The text, and the descriptions that were put into it; `readable` says whether the text is meant to be."""

    kind: str
    text: str
    entries: tuple[object, ...]
    readable: bool


READABLE: Mapping[str, Callable[[str], str]] = {
    "bare": lambda text: text,
    "fenced": lambda text: f"```json\n{text}\n```",
    "prose around": lambda text: f"Sure! Here is what I propose, for {{your}} board:\n\n{text}\n\nGood luck.",
    "form quoted first": lambda text: f'The form is {{"proposals": [...]}}, so:\n{text}',
    "thoughts": lambda text: f'<think>maybe {{"proposals": [{{"stages": 0}}]}}? no.</think>\n{text}',
}
"""What stands around an answer that can be read."""

REFUSED: Mapping[str, Callable[[str], str]] = {
    "empty": lambda text: "",
    "prose": lambda text: "I am sorry, I cannot help with that.",
    "array": lambda text: text.removeprefix('{"proposals": ').removesuffix("}"),
    "no such key": lambda text: text.replace('"proposals"', '"proposal"'),
    "truncated": lambda text: text[: -len(text) // 3],
    "single quotes": lambda text: text.replace('"', "'"),
    "trailing comma": lambda text: text.replace("]}", ",]}"),
    "comment": lambda text: text.replace("[", "[ /* one */ ", 1),
    "duplicate key": lambda text: text.replace('{"proposals": ', '{"proposals": [], "proposals": ', 1),
    "NaN": lambda text: text.replace("[", "[NaN, ", 1),
    "deep array": lambda text: '{"proposals": ' + "[" * 100_000,
}
"""Whole replies that cannot be read."""

Description = dict[str, Any]


def _first_stage(**values: object) -> Callable[[Description], object]:
    return lambda entry: entry | {"stages": [entry["stages"][0] | values, *entry["stages"][1:]]}


_CONV = {"block": "conv", "channels": 8, "kernel": 3, "stride": 1, "repeats": 1, "activation": "relu"}

FAULTY: Mapping[str, Callable[[Description], object]] = {
    "value not in the list": lambda entry: entry | {"hidden_units": 100},
    "number as text": lambda entry: entry | {"hidden_units": str(entry["hidden_units"])},
    "missing field": lambda entry: {"stages": entry["stages"]},
    "unknown field": lambda entry: entry | {"dropout": 0.5},
    "unknown field of a stage": _first_stage(dilation=2),
    "unknown block": _first_stage(block="transformer"),
    "no object": lambda entry: 7,
    "no stage": lambda entry: entry | {"stages": []},
    "11 stages": lambda entry: entry | {"stages": [_CONV] * 11},
    "pools only": lambda entry: entry | {"stages": [{"block": "max_pool", "kernel": 2}]},
    "halved too often": lambda entry: entry | {"stages": [_CONV | {"stride": 2}] * 10},
    "too many parameters": lambda entry: entry | {"stages": [_CONV | {"channels": 256, "kernel": 7, "repeats": 4}] * 2},
}
"""Faults of one description; the others of its reply are sound. The last three are descriptions of no network."""


def replies(space: Space, rng: random.Random) -> Iterator[Reply]:
    """Replies without end: architectures of `space` drawn at random, damaged in one way after another."""
    for kind in cycle((*READABLE, *REFUSED, *FAULTY)):
        entries: list[object] = [json.loads(space.random(rng).text) for _ in range(ENTRIES)]
        if kind in FAULTY:
            place = rng.randrange(ENTRIES)
            sound = entries[place]
            assert isinstance(sound, dict)
            entries[place] = FAULTY[kind](sound)
        text = json.dumps({"proposals": entries})
        dressed = {**READABLE, **REFUSED}.get(kind)
        yield Reply(kind, text if dressed is None else dressed(text), tuple(entries), kind not in REFUSED)
