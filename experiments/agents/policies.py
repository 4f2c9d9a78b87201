"""Language models that follow a rule: what a reader of the prompt could do, and what one should survive."""

import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from automcu.llm.client import Message
from automcu.llm.scripted import Policy
from automcu.proposers.prompt import ARCHITECTURES, CHOICES
from automcu.spaces.mcu_cnn.description import CHOICES as FIELDS
from automcu.spaces.mcu_cnn.description import STAGE_TYPES, McuCnn

_LINE = re.compile(r"^(\d+)\. (.*)$", re.MULTILINE)
_PICKS = re.compile(r"^Pick the (\d+) ", re.MULTILINE)
_EXAMPLE = re.compile(r"^One architecture, drawn at random, to show the form: (\{.*\})$", re.MULTILINE)
_MISS = re.compile(r'^- #\d+ ("(?:ram|flash|macs|latency) .*"): (\{.*\})$', re.MULTILINE)
_CHANGE = re.compile(r"(halve|cut a quarter of) the channels of ([^:;]*?) \(\d+ -> \d+\): [\d,]+(?: B| us)?(, fits)?")
_OWNER = re.compile(r"stage(\d+)_block\d+_(\w+)")
_MACS = re.compile(r"MACs ([+-]?[\d.]+)([kM]?)")
_FACTORS = {"": 1.0, "k": 1e3, "M": 1e6}


def first(seed: int) -> Policy:
    """Takes what comes first: the first lines of a menu, or the example that the prompt shows."""
    return lambda messages: _answer(_asked(messages), lambda menu, picks: menu[:picks])


def chance(seed: int) -> Policy:
    """Picks from a menu at random: the control for every model that picks."""
    rng = random.Random(seed)
    return lambda messages: _answer(_asked(messages), lambda menu, picks: rng.sample(menu, picks))


def obedient(seed: int) -> Policy:
    """Does what the prompt advises. Of a menu it takes what fits, the most MACs first; else it applies to each near
    miss the changes that its finding names, those that fit first, each once."""
    done: set[str] = set()

    def reply(messages: Sequence[Message]) -> str:
        text = _asked(messages)
        if ARCHITECTURES not in messages[0].content:
            return _answer(text, lambda menu, picks: sorted(menu, key=_largest_that_fits)[:picks])
        found = []
        for finding, description in _MISS.findall(text):
            changes = sorted(_CHANGE.findall(json.loads(finding)), key=lambda change: not change[2])
            for how, owners, _ in changes:
                changed = json.dumps(_smaller(json.loads(description), owners, 1 / 2 if how == "halve" else 3 / 4))
                if changed not in done:
                    done.add(changed)
                    found.append(changed)
                    break
        return f'{{"{ARCHITECTURES}": [{", ".join(found or _EXAMPLE.findall(text))}]}}'

    return reply


def rubbish(seed: int) -> Policy:
    """Replies of which nothing can be used, one kind after the other."""
    turn = iter(range(10**9))
    kinds = (
        "As a large language model I would rather discuss the weather.",
        '{"proposals": [{"stages": "many"}], "choices": [0, 10000]}',
        '{"proposals": [{"stages": [{"block": "conv", ',
        '{"proposals": [NaN, 1e999, null], "choices": ["first", 2.5]}',
        "",
    )
    return lambda messages: kinds[next(turn) % len(kinds)]


POLICIES: Mapping[str, Callable[[int], Policy]] = {
    "first": first,
    "chance": chance,
    "obedient": obedient,
    "rubbish": rubbish,
}


def menu_of(text: str) -> list[tuple[int, str]]:
    """The lines of a menu with their numbers; empty where the prompt has none."""
    return [(int(number), line) for number, line in _LINE.findall(text)]


def _asked(messages: Sequence[Message]) -> str:
    """The question, without what was refused of an earlier reply."""
    return next(message.content for message in messages if message.role == "user")


def _answer(text: str, pick: Callable[[list[tuple[int, str]], int], list[tuple[int, str]]]) -> str:
    menu, picks = menu_of(text), _PICKS.search(text)
    if picks is None:
        return f'{{"{ARCHITECTURES}": [{", ".join(_EXAMPLE.findall(text))}]}}'
    return json.dumps({CHOICES: [number for number, _ in pick(menu, int(picks[1]))]})


def _largest_that_fits(entry: tuple[int, str]) -> tuple[bool, float]:
    found = _MACS.search(entry[1])
    macs = float(found[1]) * _FACTORS[found[2]] if found else 0.0
    return "too large" in entry[1], -macs


def _smaller(network: dict[str, Any], owners: str, share: float) -> dict[str, Any]:
    """`network` with `share` of the channels of the layers that `owners` names, as nearly as its fields allow."""
    touched = {
        (
            int(number),
            "expansion" if network["stages"][int(number)]["block"] == "inverted" and layer == "expand" else "channels",
        )
        for number, layer in _OWNER.findall(owners)
    }
    for number, field in touched:
        stage = network["stages"][number]
        stage[field] = _at_most(FIELDS[STAGE_TYPES[stage["block"]]][field], stage[field] * share)
    if "head_hidden" in owners:
        network["hidden_units"] = _at_most(FIELDS[McuCnn]["hidden_units"], network["hidden_units"] * share)
    return network


def _at_most(allowed: Sequence[int], value: float) -> int:
    return max((choice for choice in allowed if choice <= value), default=allowed[0])
