"""What `automcu intake` prints: what was understood, what is open, and how to run it."""

import shlex
from collections.abc import Iterator

from automcu.agents.intake import AS_CONFIGURED, overrides_of
from automcu.messages import Brief, OpenPoint, Point, adapter

_KB, _KIB = 1000, 1024
LAUNCH = ("python", "-m", "automcu.launch")


def text_brief(brief: Brief) -> Iterator[str]:
    """A table of the brief with the user's own words for it, and then the open points or the command that runs it."""
    said = {one.key: f'"{one.words}"' for one in brief.evidence}
    open_ones = {point.key for point in brief.open_points}
    rows: tuple[tuple[Point, str | float | None], ...] = (
        ("task", brief.task),
        ("board", brief.board),
        ("ram", _size(brief.ram_bytes)),
        ("flash", _size(brief.flash_bytes)),
        ("latency", brief.latency_ms and f"{brief.latency_ms:g} ms an inference"),
        ("macs", brief.macs and f"{brief.macs:,} an inference"),
        ("minutes", brief.minutes and f"{brief.minutes:g}"),
        ("candidates", brief.candidates and f"{brief.candidates:,}"),
        ("tokens", brief.tokens and f"{brief.tokens:,}"),
        ("usd", brief.usd and f"{brief.usd:g}"),
        ("objective", "highest int8 accuracy within the limits"),
    )
    for key, value in rows:
        shown = "open, see below" if key in open_ones else value or AS_CONFIGURED
        yield f"  {key:<11} {shown:<40} {said.get(key, '')}".rstrip()
    yield ""
    if not brief.open_points:
        yield f"Run it: {command(brief)}"
        return
    yield "Still open; say it in the request, or run this on a terminal to be asked:"
    for point in brief.open_points:
        yield from text_point(point)


def text_point(point: OpenPoint) -> Iterator[str]:
    """One open point as a question with numbered choices."""
    yield f"  {point.key}: {point.question}"
    if point.choices:
        yield "    " + ", ".join(f"{number}) {choice}" for number, choice in enumerate(point.choices, 1))


def json_brief(brief: Brief) -> dict[str, object]:
    """The brief, and the arguments of `automcu.launch` that run it, null while a point is open."""
    arguments = None if brief.open_points else _arguments(brief)
    return {"brief": adapter(Brief).dump_python(brief, mode="json"), "arguments": arguments}


def command(brief: Brief) -> str:
    """The command line that runs a whole brief."""
    return shlex.join([*LAUNCH, *_arguments(brief)])


def _arguments(brief: Brief) -> list[str]:
    return [f"{key}={value}" for key, value in overrides_of(brief).items()]


def _size(size_bytes: int | None) -> str | None:
    return None if size_bytes is None else f"{size_bytes / _KB:,g} KB = {size_bytes / _KIB:,.4g} KiB"
