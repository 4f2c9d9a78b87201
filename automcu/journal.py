"""The memory of a run: an append-only file of JSON lines, written by the driver alone, enough to rebuild the search.

The first line describes the run (`Header`); each further line is one outcome with the seconds since the start; the last
one says how the run ended. A line is written whole and flushed to the operating system before the search acts on it,
so killing the process loses nothing that was acted on. A power failure may lose the last seconds, but no line up to the
last training that ended. A torn last line is what a kill in mid-write leaves behind; reading drops it.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from automcu.errors import OutputError
from automcu.exchange import Exchange, Role
from automcu.redaction import redacted_json
from automcu.work import (
    Checked,
    DeployDone,
    EvaluationDone,
    Exchanged,
    Noticed,
    Outcome,
    Planned,
    ProposalsEnded,
    Proposed,
    RecipeChosen,
    TestDone,
    Trained,
    WorkFailed,
)

VERSION = 4
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Header:
    """What a run was asked to do, and by which software: enough to run it again."""

    version: int
    config: Mapping[str, Any]
    seed: int
    git_revision: str | None
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended: exit code and the sentence that was shown."""

    exit_code: int
    message: str


Event = Header | Ended | Outcome
_KINDS: Mapping[str, type[Event]] = {
    kind.__name__: kind
    for kind in (
        Header,
        Ended,
        Exchanged,
        Noticed,
        Planned,
        Proposed,
        ProposalsEnded,
        Checked,
        RecipeChosen,
        Trained,
        EvaluationDone,
        TestDone,
        DeployDone,
        WorkFailed,
    )
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a journal."""

    seconds: float
    event: Event


@cache
def _adapter(kind: str) -> TypeAdapter[Any]:
    return TypeAdapter(_KINDS[kind])


class Journal:
    """Appends events to `path`. `clock` gives the seconds since the run began. Raises `OutputError` when it cannot."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self.path = path
        self._clock = clock
        self._file: IO[bytes] = _guarded(path, lambda: _open(path))

    def __call__(self, event: Event) -> None:
        """Append one event, without what in it looks like a key."""
        kind = type(event).__name__
        line = b'{"seconds":%.3f,"kind":"%s","event":%s}\n' % (
            self._clock(),
            kind.encode(),
            redacted_json(_adapter(kind).dump_json(event)),
        )
        _guarded(self.path, lambda: (self._file.write(line), self._file.flush()))
        if isinstance(event, Trained):  # hours of work, whose checkpoint is removed next
            _guarded(self.path, lambda: os.fsync(self._file.fileno()))

    def close(self) -> None:
        """Close the file; the journal takes no more events."""
        self._file.close()


def _open(path: Path) -> IO[bytes]:
    """Open for appending, after cutting off a torn last line, which would spoil the next one."""
    if path.is_file():
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(path, whole)
    return path.open("ab")


def _guarded(path: Path, act: Callable[[], T]) -> T:
    try:
        return act()
    except OSError as error:
        raise OutputError(
            f"cannot write the journal {path} ({error.strerror}); free disk space or choose a writable run folder "
            "with hydra.run.dir=FOLDER"
        ) from error


def journal_extract(path: Path, candidate_id: int) -> bytes:
    """The lines of a journal that are about one candidate, as they are. Raises `OutputError` when it cannot be read."""
    lines = [line + b"\n" for line in _read_lines(path)]
    return b"".join(line for line in lines if json.loads(line)["event"].get("candidate_id") == candidate_id)


def read_journal(path: Path) -> Iterator[Entry]:
    """The entries of a journal, in order; a torn last line is dropped.

    Raises `OutputError` when the file is missing, was written by another version, or is damaged before its end.
    """
    for number, line in enumerate(_read_lines(path), start=1):
        try:
            record = json.loads(line)
            event = _adapter(record["kind"]).validate_python(record["event"])
            seconds = float(record["seconds"])
        except (ValueError, KeyError, TypeError, ValidationError) as error:
            raise OutputError(
                f"line {number} of {path} is damaged ({type(error).__name__}); restore the file or start a new run"
            ) from error
        if isinstance(event, Header) and event.version != VERSION:
            raise OutputError(
                f"{path} was written in journal version {event.version}, this is {VERSION}; "
                "read it with the AutoMCU version named in its first line"
            )
        yield Entry(seconds, event)


def exchanges_of(path: Path, role: Role | None = None) -> Iterator[Exchange]:
    """A role's stream, or everyone's: the calls of language models in a journal, in order. Raises as `read_journal`."""
    for entry in read_journal(path):
        if isinstance(entry.event, Exchanged) and role in (None, entry.event.exchange.role):
            yield entry.event.exchange


def _read_lines(path: Path) -> list[bytes]:
    """The whole lines of a journal, without their ends."""
    try:
        return path.read_bytes().split(b"\n")[:-1]
    except OSError as error:
        raise OutputError(f"cannot read the journal {path} ({error.strerror}); name the folder of a run") from error
