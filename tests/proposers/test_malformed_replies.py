"""No reply can become anything but a schema object: generated malformed replies, in random pieces, in both forms.

    python -m pytest tests/proposers/test_malformed_replies.py -m "slow or not slow" -s

The full run has 10,000 replies and prints the slowest. Times are those of the processor from the beginning of a reply
to the end of its round or its repair: the proposer's, the conversation's and the reader's work. Replies of more than
20,000 characters come in pieces of 100 and more: a model takes minutes for so many.
"""

import gc
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from itertools import pairwise
from statistics import median

import pytest

from automcu.errors import LLMError
from automcu.llm.client import Completion, Message, TruncatedReply, UnusableReply
from automcu.proposal import Exchange, InvalidProposal, Notice, Proposal
from automcu.proposers.forms import Mode
from automcu.spaces.space import Space
from tests.proposers.asked import CNN, GRID, llm_proposer

COUNT = 4
MODES: tuple[Mode, ...] = ("architecture", "edit")
Wound = Callable[[str, random.Random], str]


class Wounded:
    """Gives one reply, in random pieces, and may break off or fail at its end."""

    model, temperature, seed = "wounded", None, None

    def __init__(self, text: str, rng: random.Random) -> None:
        self.text, self.rng = text, rng
        self.calls: list[float] = []
        """Processor time at the beginning of each call."""
        self.asked = ""

    def stream(
        self, messages: Sequence[Message], schema: Mapping[str, object], *, max_tokens: int
    ) -> Generator[str, None, Completion]:
        self.calls.append(time.process_time())
        self.asked = messages[1].content
        most = self.rng.choice((4, 40, 400, 40_000) if len(self.text) < 20_000 else (400, 40_000))
        start = 0
        while start < len(self.text):
            end = start + self.rng.randint(max(1, most // 4), most)
            yield self.text[start:end]
            start = end
        completion = Completion(self.text, "stop", "prompt", self.model, 0, 0, 0, None, 0.0)
        match self.rng.randrange(12):
            case 0:
                raise TruncatedReply("the reply was cut off; allow more tokens", completion)
            case 1:
                raise UnusableReply("the provider filtered the reply; ask differently", completion)
            case 2:
                raise LLMError("the connection broke; try again")
        return completion


# Replies that are as wanted ----------------------------------------------------------------------------------------
def architectures(rng: random.Random) -> str:
    entries = [json.loads(CNN.random(rng).text) for _ in range(rng.randint(1, COUNT))]
    return json.dumps({"proposals": entries}, indent=rng.choice((None, 1)))


def choices(rng: random.Random) -> str:
    return json.dumps({"choices": [rng.randint(1, 8) for _ in range(rng.randint(1, COUNT))]})


GOOD: Mapping[Mode, Callable[[random.Random], str]] = {"architecture": architectures, "edit": choices}


# What goes wrong ---------------------------------------------------------------------------------------------------
def _somewhere(put: Callable[[random.Random], str]) -> Wound:
    """Put something in place of a piece of the reply."""

    def wound(text: str, rng: random.Random) -> str:
        start = rng.randrange(len(text) + 1)
        return text[:start] + put(rng) + text[start + rng.choice((0, 0, 1, 5)) :]

    return wound


def _value(put: Callable[[random.Random], str]) -> Wound:
    """Put something in place of a number or a string of the reply."""

    def wound(text: str, rng: random.Random) -> str:
        places = [i for i, char in enumerate(text) if char.isdigit()] or [0]
        start = rng.choice(places)
        end = start
        while end < len(text) and text[end].isdigit():
            end += 1
        return text[:start] + put(rng) + text[end:]

    return wound


def _nested(rng: random.Random) -> str:
    depth = rng.choice((30, 33, 1_000, 50_000))
    opening, closing = rng.choice((("[", "]"), ('{"a":', "}")))
    return opening * depth + "1" + closing * (depth if rng.random() < 0.7 else 0)


def _huge(text: str, rng: random.Random) -> str:
    """About 10 MB, or as much as is read at most."""
    size = rng.choice((199_000, 199_000, 10_000_000))
    filler = rng.choice(
        ["x", "[", "{", '"', "\\", "[],", '{"a":1},', '{"proposals":[', '{"choices":[', "1,", " ", "\n"]
    )
    filler = filler * (size // len(filler))
    start = rng.choice((0, len(text) // 2, len(text)))
    return text[:start] + filler + text[start:]


def _wrong_type(text: str, rng: random.Random) -> str:
    found = json.loads(text)
    (key,) = found
    strange: list[object] = [None, True, 1, -1, 2.5, "", "1", [], {}, [[]], {"stages": 3}, {"stages": []}, "all"]
    if rng.random() < 0.3:
        found[key] = rng.choice(strange)
    else:
        found[key][rng.randrange(len(found[key]))] = rng.choice(strange)
    if rng.random() < 0.3:
        found = rng.choice([[found], {"answer": found}, {**found, "note": "x"}, found[key]])
    return json.dumps(found)


def _inner_type(text: str, rng: random.Random) -> str:
    """A wrong value, a missing or an unknown field deep inside."""
    found = json.loads(text)
    place = found
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = rng.choice(keys)
        if not isinstance(place[key], dict | list) or not place[key] or rng.random() < 0.15:
            break
        place = place[key]
    match rng.randrange(3):
        case 0:
            place[key] = rng.choice([None, True, 0, 7, 10**9, 2.0, "conv", "relu7", [], {}, [1]])
        case 1:
            del place[key]
        case _ if isinstance(place, dict):
            place["extra"] = 1
        case _:
            place.extend([place[key]] * 12)
    return json.dumps(found)


LANGUAGES = [
    "Ich schlage vier Netze vor, das erste mit 16 Kanälen: ",
    "这是我的建议,请看:",
    "Вот мои предложения {три}: ",
    "هذه اقتراحاتي: ",
    "これが私の提案です「proposals」: ",
    "Voilà «proposals»: [1, 2] ",
    "제안합니다 🙂 ",
]
WOUNDS: Mapping[str, Wound] = {
    "truncated": lambda text, rng: text[: rng.randrange(len(text))],
    "fenced": lambda text, rng: f"```{rng.choice(('json', '', 'python'))}\n{text}\n```",
    "fenced and truncated": lambda text, rng: f"```json\n{text[: rng.randrange(len(text))]}\n```",
    "prose": lambda text, rng: f'Sure, {{here}} is [my] "answer":\n{text}\nIt\'s good.',
    "thoughts": lambda text, rng: f"<think>{text[: rng.randrange(len(text))]}</think>{text}",
    "draft": lambda text, rng: text + rng.choice((", ", "\n", "")) + text[: rng.randrange(len(text))],
    "no answer": lambda text, rng: rng.choice(["", " ", "null", "[]", "{}", "I cannot.", "NaN", "\x00", "{" * 9]),
    "NaN": _value(lambda rng: rng.choice(["NaN", "Infinity", "-Infinity", "nan", "undefined", "None"])),
    "1e308": _value(lambda rng: rng.choice(["1e308", "1e309", "-1e999", "1e-400", "3.0", "1E2"])),
    "huge integers": _value(lambda rng: rng.choice("123456789") * rng.choice((20, 40, 41, 5_000, 100_000))),
    "nested": _value(_nested),
    "nested anywhere": _somewhere(_nested),
    "10 MB": _huge,
    "duplicate keys": lambda text, rng: text.replace(", ", ', "channels": 8, "channels": 8, ', rng.randint(1, 3)),
    "key twice": lambda text, rng: text.rstrip()[:-1] + "," + text.lstrip()[1:],
    "wrong types": _wrong_type,
    "wrong inside": _inner_type,
    "other languages": lambda text, rng: rng.choice(LANGUAGES) + text + rng.choice(LANGUAGES),
    "other languages inside": _somewhere(lambda rng: rng.choice(LANGUAGES)),
    "lone surrogates": _somewhere(lambda rng: rng.choice(["\ud800", "\udfff", '"\\ud800"', "\\udc00", "\ud83d"])),
    "surrogates in values": _value(lambda rng: '"\\ud800"'),
    "one wrong sign": _somewhere(lambda rng: rng.choice([*'{}[]",:\\\n\x00\u2028', "//", "/*", "'", "..."])),
    "single quotes": lambda text, rng: text.replace('"', "'"),
    "as a string": lambda text, rng: json.dumps(text),
    "lines cut": lambda text, rng: text.replace(",", rng.choice((",,", ";", "", ",\n//\n"))),
}


def reply(mode: Mode, number: int) -> tuple[str, str]:
    """The reply of that number, and what is wrong with it: one thing, or two."""
    rng = random.Random(f"{mode} {number}")
    names = [list(WOUNDS)[number % len(WOUNDS)]]
    text = WOUNDS[names[0]](GOOD[mode](rng), rng)
    if len(text) > 1 and rng.random() < 0.25:
        names.append(rng.choice(["truncated", "one wrong sign", "lone surrogates", "other languages", "fenced"]))
        text = WOUNDS[names[1]](text, rng)
    return text, " + ".join(names)


def survive(mode: Mode, number: int) -> tuple[float, int, str]:
    """Processor seconds of the slowest reading of the reply, how many proposals came of it, what was wrong with it."""
    text, what = reply(mode, number)
    llm = Wounded(text, random.Random(number))
    space: Space = CNN if mode == "architecture" else GRID
    items = list(llm_proposer(llm, space, mode, fallback=None).propose(COUNT))
    llm.calls.append(time.process_time())
    proposals = [item for item in items if isinstance(item, Proposal)]
    assert len(proposals) <= COUNT, text
    menu = [line.split(". ", 1)[-1].split(" (")[0] for line in llm.asked.splitlines()]
    for proposal in proposals:
        assert space.parse(json.loads(proposal.architecture.text)) == proposal.architecture, text
        assert mode == "architecture" or space.summary(proposal.architecture) in menu, text
    for item in items:
        match item:
            case InvalidProposal(excerpt, reason):
                assert len(excerpt) <= 2_000 and len(reason) <= 400 and "\n" not in reason
                (excerpt + reason).encode()
            case Notice(told):
                told.encode()
            case Exchange():
                (item.reply + item.error).encode()
    slowest = max(later - sooner for sooner, later in pairwise(llm.calls))
    return slowest, len(proposals), what


def survive_all(mode: Mode, numbers: range) -> list[tuple[float, int, str]]:
    """`survive` for each; its memory is cleaned up before, so that no reply pays for others."""
    gc.collect()
    gc.disable()
    try:
        return [survive(mode, number) for number in numbers]
    finally:
        gc.enable()


@pytest.mark.parametrize("mode", MODES)
def test_no_reply_becomes_anything_but_what_was_asked_for(mode: Mode) -> None:
    found = survive_all(mode, range(400))
    assert {what.split(" + ")[0] for _, _, what in found} == set(WOUNDS)
    assert sum(proposals for _, proposals, _ in found) > 100  # what is whole in a reply counts
    assert sum(proposals == 0 for _, proposals, _ in found) > 100
    assert sorted(seconds for seconds, _, _ in found)[-4] < 0.2  # 50 ms on a quiet core; this one may be busy


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_ten_thousand_replies(mode: Mode, capsys: pytest.CaptureFixture[str]) -> None:
    found = survive_all(mode, range(1_000_000, 1_005_000))
    ranked = sorted(found, reverse=True)
    with capsys.disabled():
        shares = Counter(what.split(" + ")[0] for _, proposals, what in found if proposals)
        print(f"\n{mode}: {len(found):,} replies, {sum(shares.values()):,} of them with something whole")
        print(f"  median {1e3 * median(seconds for seconds, _, _ in found):.2f} ms, slowest:")
        for seconds, proposals, what in ranked[:5]:
            print(f"  {1e3 * seconds:.1f} ms, {proposals} proposals: {what}")
    assert ranked[0][0] < 0.05
