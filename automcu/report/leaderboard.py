"""Runs side by side: what the runs below a folder came to, by who proposed, which model was asked, and for what.

A run that failed is counted and shown, never left out: a mean over those that worked alone would flatter.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError

from automcu.errors import OutputError


class _Named(BaseModel):
    kind: str
    model: str | None = None


class _Place(BaseModel):
    name: str


class _Config(BaseModel):
    seed: int
    task: _Place
    board: _Place
    proposer: _Named
    llm: _Named


class _Record(BaseModel):
    """What `run.json` must say."""

    config: _Config
    status: str
    exit_code: int | None = None
    message: str = ""


_ASKING = ("llm", "hybrid")
_COUNTS = (
    "proposed", "invalid", "duplicate", "feasible", "tokens_in", "tokens_cached", "tokens_out", "usd", "seconds",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """One run. `accuracy` is the shipped file's on the test set, None where none shipped; counts are of proposals,
    tokens of all roles together; `usd` is None where a price is unknown. `trouble` says why it did not end well."""

    folder: Path
    group: tuple[str, str, str, str]
    seed: int
    accuracy: float | None = None
    proposed: int = 0
    invalid: int = 0
    duplicate: int = 0
    feasible: int = 0
    tokens_in: int = 0
    tokens_cached: int = 0
    tokens_out: int = 0
    usd: float | None = 0.0
    seconds: float = 0.0
    trouble: str = ""


def entries(folder: Path) -> Sequence[Entry]:
    """The runs in `folder` and below, in the order of their names. Raises `OutputError` where there is none."""
    found = [_entry(path.parent) for path in sorted(folder.rglob("run.json"))]
    if not found:
        raise OutputError(f"no run is in {folder} or below; give the folder of a multirun, or one that holds runs")
    return found


def _entry(folder: Path) -> Entry:
    try:
        record = _Record.model_validate_json((folder / "run.json").read_bytes())
    except (OSError, ValidationError) as error:
        return Entry(folder, ("?", "?", "?", "?"), 0, trouble=f"run.json cannot be read ({str(error).splitlines()[0]})")
    config = record.config
    model = (config.llm.model or config.llm.kind) if config.proposer.kind in _ASKING else ""
    group = (config.proposer.kind, model, config.task.name, config.board.name)
    if record.status != "ended":
        return Entry(folder, group, config.seed, trouble="it has not ended, or was killed")
    trouble = "" if record.exit_code == 0 else f"exit code {record.exit_code}: {record.message}"
    try:
        (all_roles,) = [row for row in pq.read_table(folder / "costs.parquet").to_pylist() if row["role"] == "all"]
        (*_, shipped) = [None, *_shipped(folder)]
        counts: dict[str, Any] = {name: all_roles[name] for name in _COUNTS}
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        told = trouble or f"its results cannot be read ({str(error).splitlines()[0]:.100})"
        return Entry(folder, group, config.seed, trouble=told)
    return Entry(folder, group, config.seed, shipped, **counts, trouble=trouble)


def _shipped(folder: Path) -> list[float]:
    rows = pq.read_table(folder / "candidates.parquet", columns=["status", "int8_test_accuracy"]).to_pylist()
    return [row["int8_test_accuracy"] for row in rows if row["status"] == "deployed"]


def leaderboard(found: Sequence[Entry]) -> list[dict[str, object]]:
    """A row for each group, the most accurate first. Shares are in [0, 1]; means are over the runs that left results,
    accuracy's over those that shipped a network."""
    rows = []
    for group in dict.fromkeys(entry.group for entry in found):
        mine = [entry for entry in found if entry.group == group]
        shipped = [entry.accuracy for entry in mine if entry.accuracy is not None]
        told = [entry for entry in mine if entry.proposed + entry.invalid]
        offered = sum(entry.proposed + entry.invalid + entry.duplicate for entry in told)
        feasible = sum(entry.feasible for entry in told)
        tokens = sum(entry.tokens_in + entry.tokens_out for entry in told)
        proposer, model, task, board = group
        rows.append(
            {
                "proposer": proposer,
                "model": model,
                "task": task,
                "board": board,
                "runs": len(mine),
                "shipped": len(shipped),
                "accuracy": mean(shipped) if shipped else None,
                "accuracy_sd": stdev(shipped) if len(shipped) > 1 else None,
                "feasible_rate": feasible / checked if (checked := sum(entry.proposed for entry in told)) else None,
                "valid_rate": 1 - sum(entry.invalid for entry in told) / offered if offered else None,
                "duplicate_rate": sum(entry.duplicate for entry in told) / offered if offered else None,
                "tokens_in": _mean([entry.tokens_in for entry in told]),
                "tokens_cached": _mean([entry.tokens_cached for entry in told]),
                "tokens_out": _mean([entry.tokens_out for entry in told]),
                "usd": _mean([entry.usd for entry in told]),
                "seconds": _mean([entry.seconds for entry in told]),
                "tokens_per_feasible": tokens / feasible if feasible else None,
            }
        )
    return sorted(rows, key=lambda row: -(row["accuracy"] or 0.0))  # type: ignore[operator]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if known and len(known) == len(values) else None


_COLUMNS = (
    ("proposer", "proposer", "s"), ("model", "model", "s"), ("task", "task", "s"), ("board", "board", "s"),
    ("runs", "runs", "d"), ("shipped", "shipped", "d"), ("accuracy", "test accuracy", ".2%"),
    ("accuracy_sd", "sd", ".2%"), ("feasible_rate", "fit", ".0%"), ("valid_rate", "valid", ".0%"),
    ("duplicate_rate", "duplicates", ".0%"), ("tokens_in", "tokens in", ",.0f"), ("tokens_cached", "cached", ",.0f"),
    ("tokens_out", "tokens out", ",.0f"), ("usd", "USD", ".4f"), ("seconds", "seconds", ",.0f"),
    ("tokens_per_feasible", "tokens per fit", ",.0f"),
)  # fmt: skip


def as_markdown(found: Sequence[Entry]) -> str:
    """The leaderboard, and below it every run that did not end well."""
    head = [title for _, title, _ in _COLUMNS]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * 4}{'--:|' * (len(head) - 4)}"]
    for row in leaderboard(found):
        cells = ["" if row[key] is None else format(row[key], form) for key, _, form in _COLUMNS]
        lines.append(f"| {' | '.join(cells)} |")
    troubled = [f"- {entry.folder}: {entry.trouble}" for entry in found if entry.trouble]
    return "\n".join([*lines, *(["", "Did not end well:", "", *troubled] if troubled else [])])


def as_json(found: Sequence[Entry]) -> str:
    """The leaderboard's rows, and the runs that did not end well."""
    troubled = [{"folder": str(entry.folder), "trouble": entry.trouble} for entry in found if entry.trouble]
    return json.dumps({"rows": leaderboard(found), "troubled": troubled}, indent=1)
