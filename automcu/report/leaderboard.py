"""Runs side by side: what the runs below a folder came to, by who proposed, which model was asked, for what, and by
whatever else of their settings differs between runs that agree in these.

A run that failed is counted and shown, never left out: a mean over those that worked alone would flatter.
"""

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from automcu.errors import OutputError


class _Kind(BaseModel):
    model_config = ConfigDict(extra="allow")
    kind: str
    model: str | None = None


class _Named(BaseModel):
    model_config = ConfigDict(extra="allow")
    name: str


class _Config(BaseModel):
    model_config = ConfigDict(extra="allow")
    seed: int
    task: _Named
    board: _Named
    proposer: _Kind
    llm: _Kind


class _Record(BaseModel):
    """What `run.json` must say."""

    config: _Config
    status: str
    exit_code: int | None = None
    message: str = ""


_ASKING = ("llm", "hybrid")
_COUNTS = (
    "proposed", "invalid", "duplicate", "feasible", "trained",
    "tokens_in", "tokens_cached", "tokens_out", "usd", "seconds",
)  # fmt: skip
_STAGES = ("propose_seconds", "check_seconds", "train_seconds", "evaluate_seconds", "test_seconds", "deploy_seconds")
_OWN = ("seed",)
"""Settings in which the runs of a group may differ."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One run. `group` is proposer, model, task and board, `settings` the whole configuration by dotted keys. The
    models that `answered` have the names that they gave; `dates` are those of the first and the last call; `counted`
    says that results are there. Of the proposal agent's model so many `replies` came, of which so many were
    `unreadable`: cut off, or no JSON of the form that was asked for.
    `accuracy` is the shipped file's on the test set, None where none shipped; counts are of proposals, `in_vain` of
    trained networks that do not fit, tokens of all roles together; `work_seconds` is the work of all processes;
    `usd` is None where a price is unknown. `trouble` says why it did not end well."""

    folder: Path
    group: tuple[str, str, str, str]
    seed: int
    settings: Mapping[str, str] = field(default_factory=dict)
    answered: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()
    counted: bool = False
    accuracy: float | None = None
    proposed: int = 0
    invalid: int = 0
    duplicate: int = 0
    replies: int = 0
    unreadable: int = 0
    feasible: int = 0
    trained: int = 0
    in_vain: int = 0
    tokens_in: int = 0
    tokens_cached: int = 0
    tokens_out: int = 0
    usd: float | None = 0.0
    seconds: float = 0.0
    work_seconds: float = 0.0
    trouble: str = ""


def entries(*places: Path) -> Sequence[Entry]:
    """The runs of all `places`, each a folder with runs in it or below, in the order of their names, or a file that
    `save` wrote. A run that is in several, by its folder's name as given, is what the last of them says. Raises
    `OutputError` for one without runs."""
    found: dict[Path, Entry] = {}
    for place in places:
        here = _saved(place) if place.is_file() else [_entry(path.parent) for path in sorted(place.rglob("run.json"))]
        if not here:
            raise OutputError(f"no run is in {place} or below; give the folder of a multirun, or one that holds runs")
        found |= {entry.folder: entry for entry in here}
    return list(found.values())


def save(found: Sequence[Entry], path: Path) -> None:
    """Keep runs as a Parquet file, a row each, their settings as JSON; see `entries`. Raises `OutputError`."""
    rows = [
        asdict(entry) | {"folder": str(entry.folder), "settings": json.dumps(entry.settings, sort_keys=True)}
        for entry in found
    ]
    try:
        pq.write_table(pa.Table.from_pylist(rows), path, compression="zstd")
    except OSError as error:
        raise OutputError(f"cannot write {path} ({error.strerror}); choose another file") from error


def _saved(path: Path) -> list[Entry]:
    try:
        rows = pq.read_table(path).to_pylist()
        saved = [row | {"folder": Path(row["folder"]), "settings": json.loads(row["settings"])} for row in rows]
        return _ENTRIES.validate_python(saved)
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        told = str(error).splitlines()[0]
        raise OutputError(f"{path} holds no saved runs ({told:.100}); give a file of --save, or a folder") from None


_ENTRIES = TypeAdapter(list[Entry])


def _entry(folder: Path) -> Entry:
    try:
        record = _Record.model_validate_json((folder / "run.json").read_bytes())
    except (OSError, ValidationError) as error:
        return Entry(folder, ("?", "?", "?", "?"), 0, trouble=f"run.json cannot be read ({str(error).splitlines()[0]})")
    config = record.config
    model = (config.llm.model or config.llm.kind) if config.proposer.kind in _ASKING else ""
    group = (config.proposer.kind, model, config.task.name, config.board.name)
    begun = Entry(folder, group, config.seed, _flat(config.model_dump()))
    if record.status != "ended":
        return replace(begun, trouble="it has not ended, or was killed")
    trouble = "" if record.exit_code == 0 else f"exit code {record.exit_code}: {record.message}"
    try:
        costs = pq.read_table(folder / "costs.parquet").to_pylist()
        (all_roles,) = [row for row in costs if row["role"] == "all"]
        calls = [row for row in costs if row["role"] != "all"]
        answered = tuple(dict.fromkeys(row["models"] for row in calls if row.get("models")))
        dates = tuple(sorted(row[name][:10] for row in calls for name in ("first", "last") if row.get(name)))
        columns = ["status", "train_seconds", "int8_test_accuracy"]
        candidates = pq.read_table(folder / "candidates.parquet", columns=columns).to_pylist()
        (*_, shipped) = [None, *(row["int8_test_accuracy"] for row in candidates if row["status"] == "deployed")]
        counts: dict[str, Any] = {name: all_roles[name] for name in _COUNTS}
        counts |= {name: all_roles.get(name) or 0 for name in ("replies", "unreadable")}
        work = sum(all_roles[stage] for stage in _STAGES)
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        return replace(begun, trouble=trouble or f"its results cannot be read ({str(error).splitlines()[0]:.100})")
    in_vain = sum(row["status"] == "rejected" and row["train_seconds"] is not None for row in candidates)
    found = replace(begun, answered=answered, dates=dates, counted=True, accuracy=shipped, **counts)
    return replace(found, in_vain=in_vain, work_seconds=work, trouble=trouble)


def _flat(settings: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """By dotted keys."""
    found: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{above}{key}.")
        else:
            found[above + key] = str(value)
    return found


def differing(found: Sequence[Entry]) -> list[str]:
    """The settings in which runs of the same proposer, model, task and board differ, seeds apart; but for those that
    left no results, which may have been refused for what they are."""
    keys: set[str] = set()
    for mine in _grouped([entry for entry in found if entry.counted], lambda entry: entry.group):
        for key in dict.fromkeys(key for entry in mine for key in entry.settings):
            if key not in _OWN and len({entry.settings.get(key) for entry in mine if entry.settings}) > 1:
                keys.add(key)
    return sorted(keys)


def _grouped(found: Sequence[Entry], key: Callable[[Entry], Hashable]) -> list[list[Entry]]:
    groups: dict[Hashable, list[Entry]] = {}
    for entry in found:
        groups.setdefault(key(entry), []).append(entry)
    return list(groups.values())


def _keys(found: Sequence[Entry], by: Sequence[str] | None) -> Sequence[str]:
    if by is None:
        return differing(found)
    for key in by:
        if not any(key in entry.settings for entry in found):
            raise OutputError(f"no run has a setting {key!r}; choose from {', '.join(differing(found)) or 'none'}")
    return by


def leaderboard(found: Sequence[Entry], by: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """A row for each group and each combination of the settings `by` (None: all that are `differing`), the most
    accurate first. Shares are in [0, 1]; means are over the runs that left results, accuracy's over those that shipped
    a network. Raises `OutputError` for a setting that no run has."""
    rows: list[dict[str, Any]] = []
    keys = _keys(found, by)
    for mine in _grouped(found, lambda entry: (entry.group, *(entry.settings.get(key) for key in keys))):
        shipped = [entry.accuracy for entry in mine if entry.accuracy is not None]
        told = [entry for entry in mine if entry.counted]
        dates = sorted(date for entry in mine for date in entry.dates)
        answered = [
            *dict.fromkeys(name for entry in mine for name in entry.answered),
            *dict.fromkeys(dates[:1] + dates[-1:]),
        ]
        offered = sum(entry.proposed + entry.invalid + entry.duplicate for entry in told)
        feasible = sum(entry.feasible for entry in told)
        replies = sum(entry.replies for entry in told)
        tokens = sum(entry.tokens_in + entry.tokens_out for entry in told)
        proposer, model, task, board = mine[0].group
        means = ("trained", "in_vain", "tokens_in", "tokens_cached", "tokens_out", "usd", "seconds", "work_seconds")
        rows.append(
            {
                "proposer": proposer,
                "model": model,
                "task": task,
                "board": board,
                "answered": ", ".join(answered),
                "settings": {key: mine[0].settings.get(key, "") for key in keys},
                "runs": len(mine),
                "shipped": len(shipped),
                "accuracy": mean(shipped) if shipped else None,
                "accuracy_sd": stdev(shipped) if len(shipped) > 1 else None,
                "feasible_rate": feasible / checked if (checked := sum(entry.proposed for entry in told)) else None,
                "json_rate": 1 - sum(entry.unreadable for entry in told) / replies if replies else None,
                "valid_rate": 1 - sum(entry.invalid for entry in told) / offered if offered else None,
                "duplicate_rate": sum(entry.duplicate for entry in told) / offered if offered else None,
                **{name: _mean([getattr(entry, name) for entry in told]) for name in means},
                "tokens_per_feasible": tokens / feasible if feasible else None,
            }
        )
    return sorted(rows, key=lambda row: -(row["accuracy"] or 0.0))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if known and len(known) == len(values) else None


_NAMES = ("proposer", "model", "answered", "task", "board")
_COLUMNS = (
    ("runs", "runs", "d"), ("shipped", "shipped", "d"), ("accuracy", "test accuracy", ".2%"),
    ("accuracy_sd", "sd", ".2%"), ("feasible_rate", "fit", ".0%"), ("json_rate", "JSON", ".0%"),
    ("valid_rate", "valid", ".0%"), ("duplicate_rate", "duplicates", ".0%"),
    ("trained", "trained", ".1f"), ("in_vain", "in vain", ".1f"),
    ("tokens_in", "tokens in", ",.0f"), ("tokens_cached", "cached", ",.0f"), ("tokens_out", "tokens out", ",.0f"),
    ("usd", "USD", ".4f"), ("seconds", "seconds", ",.0f"), ("work_seconds", "of work", ",.0f"),
    ("tokens_per_feasible", "tokens per fit", ",.0f"),
)  # fmt: skip


def as_markdown(found: Sequence[Entry], by: Sequence[str] | None = None) -> str:
    """The leaderboard, and below it every run that did not end well."""
    keys = _keys(found, by)
    head = [*_NAMES, *keys, *(title for _, title, _ in _COLUMNS)]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * (len(head) - len(_COLUMNS))}{'--:|' * len(_COLUMNS)}"]
    for row in leaderboard(found, by):
        cells = [*(row[name] for name in _NAMES), *row["settings"].values()]
        cells += ["" if row[key] is None else format(row[key], form) for key, _, form in _COLUMNS]
        lines.append(f"| {' | '.join(cells)} |")
    troubled = [f"- {entry.folder}: {entry.trouble}" for entry in found if entry.trouble]
    return "\n".join([*lines, *(["", "Did not end well:", "", *troubled] if troubled else [])])


def as_json(found: Sequence[Entry], by: Sequence[str] | None = None) -> str:
    """The leaderboard's rows, and the runs that did not end well."""
    troubled = [{"folder": str(entry.folder), "trouble": entry.trouble} for entry in found if entry.trouble]
    return json.dumps({"rows": leaderboard(found, by), "troubled": troubled}, indent=1)
