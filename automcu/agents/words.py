"""Plain words read by rules alone: figures with their units, names of tasks and boards, wishes that no limit says.

A rule takes what the words say without doubt. What it takes is exact: 1 KB is 1,000 bytes, 1 KiB is 1,024. A figure
that could limit two things, a lower limit, a range are reported as such and never guessed at. English only; in other
languages units and names are still found.
"""

import re
import unicodedata
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from automcu.architecture import Task
from automcu.board import Board
from automcu.messages import Point

MAX_CHARS = 8_000
"""Longest words that are read."""
QUOTE_CHARS = 60
"""Longest piece of the words that is told again."""

Kind = Literal["bytes", "seconds", "macs", "candidates", "tokens", "usd"]
FITTING: dict[Point, Kind] = {
    "ram": "bytes",
    "flash": "bytes",
    "latency": "seconds",
    "minutes": "seconds",
    "macs": "macs",
    "candidates": "candidates",
    "tokens": "tokens",
    "usd": "usd",
}
"""The kind of figure that each limit takes."""
_ONLY: dict[Kind, Point] = {"macs": "macs", "candidates": "candidates", "tokens": "tokens", "usd": "usd"}


def plain(text: str) -> str:
    """`text` as a reader sees it: compatible characters as one, invisible ones left out, every gap one blank."""
    normal = unicodedata.normalize("NFKC", text)
    seen = (c if c.isprintable() else " " for c in normal if unicodedata.category(c) != "Cf")
    return " ".join("".join(seen).split())


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with a unit: its exact value in bytes, seconds, US dollars or pieces, and where in the words it stands.

    `unit` is how much one of its unit is; `bare` figures have one that may mean something else, as in `64k`. `fault`
    says what keeps it from being an upper limit, empty when nothing does."""

    kind: Kind
    value: Fraction
    unit: Fraction
    text: str
    start: int
    end: int
    bare: bool
    fault: str


@dataclass(frozen=True, slots=True)
class Attached:
    """A figure and the limit that it is for."""

    key: Point
    figure: Figure


# --- figures ------------------------------------------------------------------------------------------------------

_DIGITS = r"[0-9][0-9,_']*(?:\.[0-9]+)?(?:e[+-]?[0-9]{1,2})?"
NUMBER = re.compile(_DIGITS, re.IGNORECASE)
_UNITS: tuple[tuple[str, Kind, str], ...] = (
    (r"\$|usd|us\$|(?:us )?dollars?", "usd", "1"),
    (r"(?:us )?cents?", "usd", "0.01"),
    (r"bytes?|b", "bytes", "1"),
    (r"kb|kbytes?|kilobytes?|k", "bytes", "1000"),
    (r"kib|kibibytes?", "bytes", "1024"),
    (r"mb|mbytes?|megabytes?", "bytes", "1000000"),
    (r"mib|mebibytes?", "bytes", "1048576"),
    (r"us|[\u00b5\u03bc]s|microseconds?", "seconds", "0.000001"),
    (r"ms|msecs?|milliseconds?", "seconds", "0.001"),
    (r"s|secs?|seconds?", "seconds", "1"),
    (r"mins?|minutes?", "seconds", "60"),
    (r"h|hrs?|hours?", "seconds", "3600"),
    (r"days?", "seconds", "86400"),
    (r"maccs?|macs?|mac operations|multiply[- ]accumulates?|multiply[- ]adds?", "macs", "1"),
    (r"mmacc?s?", "macs", "1000000"),
    (r"candidates?|networks|architectures|trainings|trials|designs", "candidates", "1"),
    (r"tokens?", "tokens", "1"),
)
_SCALES = {"k": 10**3, "thousand": 10**3, "m": 10**6, "mio": 10**6, "million": 10**6, "billion": 10**9}
_COUNTED = "|".join(unit for unit, kind, _ in _UNITS if kind in ("macs", "candidates", "tokens"))
_FIGURE = re.compile(
    rf"(?<![\w.,'])(?P<sign>[-\u2212])?(?P<dollars>(?:us)?\$\s?)?(?:(?P<before>{_DIGITS})\s?/\s?)?(?P<number>{_DIGITS})"
    rf"(?:[-\s]?(?:(?P<scale>{'|'.join(_SCALES)})\s?(?P<counted>{_COUNTED})"
    rf"|(?P<unit>{'|'.join(unit for unit, _, _ in _UNITS)})))?(?!\w)",
    re.IGNORECASE,
)
_OTHER = r"(?<![\w.\-])[0-9](?:[0-9.,]*[0-9])?\s?"
_RANGE = re.compile(
    rf"(?:{_OTHER}(?:[a-z]{{1,3}}\s)?\s?(?:-|\u2013|\.\.|to|or)\s?|between {_OTHER}(?:[a-z]{{1,3}}\s)?\s?and\s|"
    rf"{_OTHER}(?:and\s)?)$",
    re.IGNORECASE,
)
_SPELT = re.compile(
    r"\b(?:an?|one|two|three|four|five|six|seven|eight|nine|ten|twelve|fifteen|twenty|thirty|half an?|hundred|dozen)"
    r"[\s-](?:kilobytes?|megabytes?|milliseconds?|minutes?|hours?|days?|candidates|networks|trainings|dollars?|cents)\b",
    re.IGNORECASE,
)
"""Limits without a figure."""
_LEAST = re.compile(
    r"(?<!\bno )(?<!\bnot )(?:\b(?:at least|more than|over|above|minimum(?: of)?|min\.?|no less than|not less than|"
    r"exceeding|from)|>=?|\u2265)\s*(?:about |around |roughly |~)?$",
    re.IGNORECASE,
)


def figures(words: str) -> Iterator[Figure]:
    """The figures with units in `words` (after `plain`), in their order."""
    for found in _FIGURE.finditer(words):
        unit = found["unit"] or found["counted"] or ("$" if found["dollars"] else "")
        if not unit:
            continue
        kind, factor = next((kind, Fraction(factor)) for form, kind, factor in _UNITS if re.fullmatch(form, unit, re.I))
        factor *= _SCALES[found["scale"].lower()] if found["scale"] else 1
        ahead = words[max(0, found.start() - 40) : found.start()]
        fault = ""
        if _LEAST.search(ahead):
            fault = "a lower limit"
        elif not found["before"] and _RANGE.search(ahead):
            fault = "one of two figures"
        ends = [found.end("before"), found.end()] if found["before"] else [found.end()]
        for group, end in zip(("before", "number")[-len(ends) :], ends, strict=True):
            value = factor * _number(found[group])
            start = found.start() if end == ends[0] else found.start(group)
            wrong = "not above 0" if found["sign"] or value <= 0 else "too large" if value > 10**15 else fault
            yield Figure(kind, value, factor, found[0].strip(), start, end, unit.lower() == "k", wrong)


def _number(text: str) -> Fraction:
    """The number of `text`; a comma before other than three digits is a decimal one."""
    text = text.rstrip(",'_")
    if re.fullmatch(r"[0-9]+,(?:[0-9]{1,2}|[0-9]{4,})", text):
        text = text.replace(",", ".")
    return Fraction(Decimal(re.sub("[,_']", "", text)))


# --- which limit a figure is for ----------------------------------------------------------------------------------

_MEMORY = re.compile(r"\b(?:(?P<flash>flash(?: memory| rom)?|rom)|(?P<ram>s?ram))\b", re.IGNORECASE)
_BETWEEN = re.compile(
    r"(?:[\s,;:=/&+()<|~\u2264]|\b(?:of|and|or|for|the|is|are|at|most|max|maximum|limit|limits|limited|up|to|under|below|"
    r"less|than|within|in|on|its|my|each|both|only|about|no|not|more|budget|usage|use|uses|with|as|a|must|should|may|"
    r"stay|be|has|have|free|internal|total|peak|just|available|memory|plus|but)\b)*",
    re.IGNORECASE,
)
_PARTED = re.compile(r"[,;()]|\bbut\b", re.IGNORECASE)
_INFERENCE = re.compile(
    r"\b(?:latency|infer\w*|predict\w*|(?:per|an|each|every|one) (?:image|frame|picture)|frame)\b", re.I
)
_SEARCH = re.compile(r"\b(?:search\w*|run|runs|train\w*|wait|budget|design\w*|finish\w*|done|ready)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Named:
    """`RAM` or `Flash` in the words."""

    key: Point
    start: int
    end: int


def attach(words: str) -> tuple[list[Attached], list[Figure]]:
    """The figures of `words` with the limits that they are for, and those that could be for more than one."""
    attached: list[Attached] = []
    loose: list[Figure] = []
    items: list[Figure | _Named] = [
        _Named("ram" if found["ram"] else "flash", found.start(), found.end()) for found in _MEMORY.finditer(words)
    ]
    for figure in figures(words):
        if figure.kind == "bytes":
            items.append(figure)
        elif figure.kind == "seconds":
            if key := _timed(words, figure):
                attached.append(Attached(key, figure))
            else:
                loose.append(figure)
        else:
            attached.append(Attached(_ONLY[figure.kind], figure))
    items.sort(key=lambda item: item.start)
    for run in _split(words, items, lambda gap: _BETWEEN.fullmatch(gap) is None):
        found, left = _pair(words, run)
        attached += found
        loose += left
    return attached, loose


def _timed(words: str, figure: Figure) -> Point | None:
    """Milliseconds are of an inference, minutes of the search; of seconds the words around tell."""
    if figure.unit != 1:
        return "latency" if figure.unit < 1 else "minutes"
    around = words[max(0, figure.start - 40) : figure.end + 40]
    inference, search = _INFERENCE.search(around), _SEARCH.search(around)
    return None if bool(inference) == bool(search) else "latency" if inference else "minutes"


def _split(
    words: str, items: Sequence[Figure | _Named], parted: Callable[[str], object]
) -> Iterator[list[Figure | _Named]]:
    run: list[Figure | _Named] = []
    for item in items:
        if run and parted(words[run[-1].end : item.start]):
            yield run
            run = []
        run.append(item)
    if run:
        yield run


def _pair(words: str, run: Sequence[Figure | _Named]) -> tuple[list[Attached], list[Figure]]:
    """What the figures of `run`, where nothing of weight stands in between, are for: in order when there are as many
    as names, all of them when there is one name, one for all names by `each` or `both`."""
    sizes = [item for item in run if isinstance(item, Figure)]
    names = [item.key for item in run if isinstance(item, _Named)]
    told = words[run[0].start : run[-1].end + 12]
    if len(sizes) == len(names) == len(set(names)):
        return [Attached(key, size) for key, size in zip(names, sizes, strict=True)], []
    if len(set(names)) == 1:
        return [Attached(names[0], size) for size in sizes], []
    if len(sizes) == 1 and len(set(names)) == 2 and re.search(r"\b(?:each|both)\b", told, re.IGNORECASE):
        return [Attached(key, sizes[0]) for key in dict.fromkeys(names)], []
    pieces = list(_split(words, run, _PARTED.search))
    if names and len(pieces) > 1:
        pairs = [_pair(words, piece) for piece in pieces]
        return [one for found, _ in pairs for one in found], [one for _, left in pairs for one in left]
    return [], [size for size in sizes if not size.bare]


# --- names --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mention:
    """A piece of the words that speaks of entries of a table: `meant` are their names, none where it names an entry
    that the table lacks. A `hint` only tells them apart."""

    text: str
    meant: frozenset[str]
    hint: bool = False


_GAP = r"[-_ ]*"
_STM32 = re.compile(
    r"(?<![a-z0-9])(?P<prefix>(?:nucleo[-_ ]*)?(?:stm32[-_ ]?)?)(?P<part>(?:[fghlu][0-9]|wb|wl|c0|n6|mp)[0-9a-z+]*)",
    re.IGNORECASE,
)
_WHOLE_PART = re.compile("[fghlu][0-9][0-9a-z][0-9][a-z][0-9a-z]")
_CORE = re.compile(r"cortex[-_ ]?m([0-9]+\+?)", re.IGNORECASE)


def board_mentions(words: str, boards: Collection[Board]) -> list[Mention]:
    """The boards that `words` speak of: by name, by part number or its beginning, by core."""
    mentions = []
    rest = words
    for board in boards:
        form = _GAP.join(re.escape(part) for part in board.name.split("_"))
        form = re.sub("disco$|dk$", r"(?:disco(?:very)?|dk)(?:[-_ ]?kit)?", form).replace("stm32", "(?:stm)?32")
        for found in re.finditer(rf"(?<![a-z0-9]){form}(?![a-z0-9])", words, re.IGNORECASE):
            mentions.append(Mention(found[0], frozenset({board.name})))
            rest = rest.replace(found[0], " " * len(found[0]))
    for found in _STM32.finditer(rest):
        part = found["part"].lower()
        meant = {
            board.name for board in boards
            if any(name.startswith(f"stm32{part}") for name in (board.part.lower(), board.name.replace("_", "")))
        }  # fmt: skip
        # Without a prefix L2, F1 and H264 are of other trades.
        if found["prefix"] or (meant and len(part) > 3) or _WHOLE_PART.match(part):
            mentions.append(Mention(found[0], frozenset(meant)))
    for found in _CORE.finditer(words):
        core = f"cortex-m{found[1].lower()}"
        meant = {board.name for board in boards if board.core.rstrip("f") == core}
        mentions.append(Mention(found[0], frozenset(meant), hint=True))
    return mentions


def task_mentions(words: str, tasks: Collection[Task]) -> list[Mention]:
    """The tasks that `words` speak of: by name, by size of image, by number of classes. A word that is a task's name
    but, with the word before it, describes another as well may mean both; one inside a longer name (MNIST in
    Fashion-MNIST) means nothing."""
    named: list[tuple[int, int, Mention]] = []
    for task in tasks:
        for name in dict.fromkeys((task.name, task.dataset)):
            parts = re.findall("[a-z]+|[0-9]+", name.lower())
            form = rf"(?<![a-z0-9])(?:(?P<before>[a-z]+)[- ])?(?P<name>{_GAP.join(parts)})(?![0-9a-z])"
            for found in re.finditer(form, words, re.IGNORECASE):
                phrase = (
                    f"{found['before'] or ''} {found['name']}".lower().replace("hand written", "handwritten").strip()
                )
                others = {other.name for other in tasks if " " in phrase and phrase in other.description.lower()}
                named.append((*found.span("name"), Mention(found["name"], frozenset({task.name, *others}))))
    mentions = [
        mention
        for start, stop, mention in named
        if not any(first <= start and stop <= last and last - first > stop - start for first, last, _ in named)
    ]
    for found in re.finditer(r"(?<![\w.])([0-9]{1,4}) ?[x\u00d7] ?([0-9]{1,4})(?![\w.])", words, re.IGNORECASE):
        size = int(found[1]), int(found[2])
        mentions.append(Mention(found[0], frozenset(t.name for t in tasks if t.input_shape[:2] == size), hint=True))
    for found in re.finditer(r"(?<![\w.-])([0-9]{1,6})[- ](?:classes|categories)\b", words, re.IGNORECASE):
        count = int(found[1])
        mentions.append(Mention(found[0], frozenset(t.name for t in tasks if t.class_count == count), hint=True))
    return mentions


# --- what no limit says -------------------------------------------------------------------------------------------

_WISHES: tuple[tuple[str, str], ...] = (
    (
        r"[0-9][0-9.,]* ?(?:%|percent|per cent)(?!\w)",
        "no accuracy can be promised beforehand: give the limits, and it looks for the highest",
    ),
    (
        r"(?:small|tini|cheap)est|as small as possible|(?:minimal|minimi[sz]e|least|lowest|fewest) (?:the )?"
        r"(?:size|memory|ram|flash|parameters)",
        "give a RAM or Flash limit in KB instead",
    ),
    (
        r"(?:fast|quick)est|as fast as possible|real[- ]time|(?:lowest|minimal|minimi[sz]e) (?:the )?latency|"
        r"[0-9][0-9.,]* ?(?:fps|hz|frames per second|inferences per second)",
        "give the longest time of an inference in ms instead",
    ),
    (
        r"energy|low[- ]power|battery|[0-9][0-9.,]* ?(?:m|u|\u00b5|\u03bc)?(?:j|joules?|w|watts?|wh|mah)(?!\w)",
        "energy is no limit: give the longest time of an inference in ms, or MACs, instead",
    ),
    (r"[0-9][0-9.,]* ?(?:k|m|million)? ?(?:parameters|params)", "parameters are no limit: give Flash in KB instead"),
    (r"[0-9][0-9.,]* ?(?:\u20ac|eur|euros?)|[\u20ac\u00a3] ?[0-9][0-9.,]*", "give money in US dollars instead"),
)


def wishes(words: str) -> Iterator[tuple[str, str]]:
    """What `words` ask for that no limit says, and what to give instead."""
    for form, instead in _WISHES:
        if found := re.search(rf"(?<![\w.])(?:{form})", words, re.IGNORECASE):
            yield found[0][:QUOTE_CHARS], instead
    for found in _SPELT.finditer(words):
        yield found[0], "write the number in figures"


_OWN_DATA = re.compile(
    r"\b(?:my|our|own) (?:own )?(?:data|images|photos|pictures|recordings|folder|files)|"
    r"(?<![\w/])(?:~|\.{1,2})?/[\w.-]+/|\b[a-z]:\\|\w\.(?:npz|npy|parquet|csv|zip)\b",
    re.IGNORECASE,
)


def own_data(words: str) -> str:
    """The piece of `words` that speaks of data of the user's own, empty where none does."""
    found = _OWN_DATA.search(words)
    return found[0][:QUOTE_CHARS] if found else ""
