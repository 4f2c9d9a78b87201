"""Reading the profile that `stedgeai validate` prints of the runs of a network.

Forms as in captured output of ST Edge AI Core 2.2 and of its sensor tools, and as ST's open `stm_ai_runner` writes
them. The text is untrusted: whatever is not as expected becomes an `StToolError`.
"""

import re
from dataclasses import dataclass
from typing import NoReturn

from automcu.feasibility.st.errors import StToolError

_TITLE = re.compile(r"ST\.AI Profiling results v\d{1,3}\.\d{1,3}\b")
_DECIMAL = r"(\d{1,9}\.\d{1,6})"
_DURATION = re.compile(rf"{_DECIMAL} ms by sample \({_DECIMAL}/{_DECIMAL}/{_DECIMAL}\)")
_COUNT = re.compile(r"\d{1,15}")
_RATIO = re.compile(_DECIMAL)
_STACK_HEAP = re.compile(r"(not monitored|-?\d{1,9})/(-?\d{1,9}) bytes")
_NODE = re.compile(
    rf"\d{{1,5}}\s+(?:\[[^\]]*\]|\S+)\s+(\S.*?)\s+{_DECIMAL}\s+\d+\.\d%\s+\d+\.\d%\s+(?:\[.*\]\s+)?(\S+)"
)
_NODES = "Inference time per node"
_ENDS = ("Statistic per tensor", "Evaluation report", "Saving validation data", "Computing the metrics")
_LINE_CHARACTERS = 1_000
_LARGEST_NODES = 4_000


@dataclass(frozen=True, slots=True)
class StNode:
    """A node of ST's C code and the mean time of a run of it. `kind` is such as `Conv2D (0x103)`."""

    name: str
    kind: str
    milliseconds: float


@dataclass(frozen=True, slots=True)
class StProfile:
    """How long a network took, over `samples` runs: mean, least and most, in milliseconds.

    `cycles_per_mac` (of ST's own count of MACs) is None where it did not run on a device: its times mean nothing then.
    Stack and heap (bytes) are None where the firmware does not watch them. `nodes` is empty without a table of them.
    """

    samples: int
    latency_ms: float
    least_ms: float
    most_ms: float
    macs: int | None
    cycles_per_mac: float | None
    stack_bytes: int | None
    heap_bytes: int | None
    nodes: tuple[StNode, ...]


def read_profile(text: str) -> StProfile:
    """The first profile in `text`. Raises `StToolError` when there is none, or it cannot be read."""
    title = _TITLE.search(text)
    if title is None:
        _unreadable("it has none")
    values: dict[str, str] = {}
    nodes: list[StNode] = []
    in_nodes = False
    for line in text[title.end() :].splitlines()[1:]:
        line = line.strip()
        if line.startswith(_ENDS) or _TITLE.match(line):
            break
        if line.startswith(_NODES):
            in_nodes = True
        elif in_nodes:
            found = _NODE.fullmatch(line[:_LINE_CHARACTERS])
            if found is not None:
                nodes.append(StNode(found[3], found[1], float(found[2])))
        else:
            key, colon, value = line.partition(":")
            if colon:
                values.setdefault(key.strip(), value.strip())
    if len(nodes) > _LARGEST_NODES:
        _unreadable(f"it has {len(nodes):,} nodes")
    return _profile(values, tuple(nodes))


def _profile(values: dict[str, str], nodes: tuple[StNode, ...]) -> StProfile:
    duration = _value(values, "duration", _DURATION)
    samples = _value(values, "nb sample(s)", _COUNT)
    if duration is None or samples is None:
        _unreadable("it states no duration, or not of how many samples")
    macs, ratio = _value(values, "macc", _COUNT), _value(values, "cycles/MACC", _RATIO)
    used = _value(values, "used stack/heap", _STACK_HEAP)
    mean, least, most, _ = map(float, duration.groups())
    # The three are rounded alike, so that no rounding puts them out of order.
    if not 0 < least <= mean <= most or int(samples[0]) == 0:
        _unreadable(f"it states {duration[0]!r} of {samples[0]} samples")
    return StProfile(
        samples=int(samples[0]),
        latency_ms=mean,
        least_ms=least,
        most_ms=most,
        macs=None if macs is None else int(macs[0]),
        cycles_per_mac=None if ratio is None else float(ratio[0]),
        stack_bytes=None if used is None else _used_bytes(used[1]),
        heap_bytes=None if used is None else _used_bytes(used[2]),
        nodes=nodes,
    )


def _value(values: dict[str, str], key: str, form: re.Pattern[str]) -> re.Match[str] | None:
    """The value of `key`, None where there is no such line."""
    if key not in values:
        return None
    found = form.fullmatch(values[key])
    if found is None:
        _unreadable(f"{key} is {values[key][:50]!r}")
    return found


def _used_bytes(text: str) -> int | None:
    """A negative number stands for what is not watched, too."""
    return None if text == "not monitored" or int(text) < 0 else int(text)


def _unreadable(why: str) -> NoReturn:
    raise StToolError(
        f"ST Edge AI's profile cannot be read ({why}); validate by hand, with a version from ST Edge AI 1 to 4"
    )
