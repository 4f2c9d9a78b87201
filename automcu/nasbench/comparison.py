"""A comparison: methods x data sets x seeds, cut into pieces that run anywhere and in any order.

In the comparison's folder `settings.json` says what is compared, `parts/` holds the pieces that are done, and
`queries.parquet` a row for each query once all are. A comparison that is started again goes on with what is missing.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from random import Random

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from automcu.errors import ConfigError, OutputError
from automcu.exchange import Exchange
from automcu.llm.client import LLM
from automcu.nasbench.methods import ASKING, FREE, METHODS, footprint, view_of
from automcu.nasbench.search import STATUSES, search, unheard, without_footprint
from automcu.nasbench.setting import Setting, setting
from automcu.nasbench.summary import Runs
from automcu.nasbench.table import DATA_SETS, DataSet, Epochs, Table, load_tables
from automcu.proposal import Proposer
from automcu.run_folder import RunFolder

PIECE_SEEDS = 25
ROWS = "queries.parquet"
SETTINGS = "settings.json"
_QUERY_BYTES = 400
"""Of memory for each row, while what all of them come to is worked out; measured with a million rows."""
_ASKED = {
    "calls": pa.int32(),
    "tokens_in": pa.int32(),
    "tokens_cached": pa.int32(),
    "tokens_out": pa.int32(),
    "usd": pa.float64(),
    "seconds": pa.float32(),
}
"""Columns of what was asked of a language model, as in `automcu.ledger.Calls`."""
FORMAT = 2
"""Of the rows."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is compared: `seeds` searches, from `first_seed` on, of `queries` each. Methods are told the validation
    accuracy after so many `epochs`, with `noise` that of one of a cell's trainings, drawn at random. What they were
    told is best is what they find; how good that is, is always told by the mean after 200 epochs. `model` says which
    language model is asked, empty for none, at what `temperature`, and for how many tokens its prompt and reply have
    room (`context_tokens`, None for very many).

    Raises `ConfigError` for names that there are not, and for more rows than fit into half of the machine's memory.
    """

    methods: tuple[str, ...]
    data_sets: tuple[DataSet, ...]
    seeds: int
    queries: int
    first_seed: int = 0
    epochs: Epochs = 200
    noise: bool = False
    model: str = ""
    temperature: float | None = None
    context_tokens: int | None = None

    def __post_init__(self) -> None:
        for kind, asked, known in (("method", self.methods, METHODS), ("data set", self.data_sets, DATA_SETS)):
            unknown = [name for name in asked if name not in known]
            if unknown or not asked or len(set(asked)) < len(asked):
                raise ConfigError(
                    f"{kind} {unknown[0]!r} is unknown; choose from {', '.join(known)}"
                    if unknown
                    else f"give each {kind} that is to be compared once, at least one; choose from {', '.join(known)}"
                )
        if self.seeds < 1 or self.queries < 1:
            raise ConfigError("a comparison needs seeds >= 1 and queries >= 1; raise them")
        if self.noise and self.epochs != 200:
            raise ConfigError(
                "benchmark.noise is known after 200 epochs only; leave one of it and benchmark.epochs out"
            )
        needed = len(self.methods) * len(self.data_sets) * self.seeds * self.queries * _QUERY_BYTES
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if needed > memory / 2:
            raise ConfigError(
                f"the rows of this comparison take about {needed / 1e9:,.0f} GB of a machine's {memory / 1e9:,.0f} GB "
                "of memory; lower benchmark.seeds or benchmark.queries"
            )

    def pieces(self) -> Iterator["Piece"]:
        """All pieces, those of a method together."""
        last = self.first_seed + self.seeds
        for method in self.methods:
            size = 1 if method in ASKING else PIECE_SEEDS
            for data_set in self.data_sets:
                for seed in range(self.first_seed, last, size):
                    seeds = min(size, last - seed)
                    yield Piece(method, data_set, seed, seeds, self.queries, self.epochs, self.noise)


@dataclass(frozen=True, slots=True)
class Piece:
    """Some seeds of one method on one data set."""

    method: str
    data_set: DataSet
    first_seed: int
    seeds: int
    queries: int
    epochs: Epochs
    noise: bool

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.method}-{self.data_set}-{self.first_seed:06d}.parquet"


@cache
def tables_in(path: Path) -> Mapping[DataSet, Table]:
    """The tables, read once in a process."""
    return load_tables(path)


def run_piece(
    piece: Piece, path: Path, llm: LLM | None = None, heard: Callable[[Exchange], None] = unheard
) -> pa.Table:
    """The rows of a piece, by the tables in the file at `path`. `llm` is for a method that asks one; `heard` and what
    is raised are as in `automcu.nasbench.search.search`."""
    table = tables_in(path)[piece.data_set]
    names = ("seed", "query", "place", "status", "origin", "told", "model", "date", *_ASKED)
    columns: dict[str, list[object]] = {name: [] for name in names}
    for seed in range(piece.first_seed, piece.first_seed + piece.seeds):
        shown = setting(piece.data_set, seed, view_of(piece.method))
        proposer = _proposer(piece.method, shown, seed, llm)
        told = partial(table.validation, epochs=piece.epochs)
        if piece.noise:
            told = partial(table.one_training, rng=Random(f"noise {seed}"))
        judged = partial(footprint, shown) if piece.method in ASKING else without_footprint
        for number, query in enumerate(search(proposer, shown.space, told, piece.queries, judged, heard), 1):
            asked = (getattr(query.asked, name) for name in _ASKED)
            row = (seed, number, query.place, STATUSES.index(query.status), query.origin, query.told)
            row += (query.model, query.date, *asked)
            for column, value in zip(columns.values(), row, strict=True):
                column.append(value)
    count = len(columns["seed"])
    places = np.array(columns["place"], np.int64)
    scores = {
        "validation": np.append(table.validation_200, np.nan)[places],
        "test": np.append(table.test_200, np.nan)[places],
        "training_seconds": np.append(table.seconds_200, 0.0)[places] * piece.epochs / 200,
    }
    return pa.table(
        {
            "method": pa.array([piece.method] * count).dictionary_encode(),
            "data_set": pa.array([piece.data_set] * count).dictionary_encode(),
            "seed": pa.array(columns["seed"], pa.int32()),
            "query": pa.array(columns["query"], pa.int32()),
            "place": pa.array(columns["place"], pa.int16()),
            "status": pa.DictionaryArray.from_arrays(pa.array(columns["status"], pa.int8()), list(STATUSES)),
            "origin": pa.array(columns["origin"], pa.string()).dictionary_encode(),
            "told": pa.array(columns["told"], pa.float64()),
            **{name: pa.array(values, pa.float32()) for name, values in scores.items()},
            **{name: pa.array(columns[name], pa.string()).dictionary_encode() for name in ("model", "date")},
            **{name: pa.array(columns[name], kind) for name, kind in _ASKED.items()},
        }
    )


def _proposer(method: str, shown: Setting, seed: int, llm: LLM | None) -> Proposer:
    if method in FREE:
        return FREE[method](shown.space, seed)
    assert llm is not None  # who starts a comparison has seen to it
    return ASKING[method](shown, seed, llm)


def comparison_in(folder: Path) -> Comparison:
    """What is compared in `folder`. Raises `OutputError` where that cannot be read."""
    path = folder / SETTINGS
    try:
        settings = json.loads(path.read_bytes())
        if settings.pop("format", None) != FORMAT:
            raise OutputError(f"{folder} holds rows of another version of AutoMCU; make the comparison again")
        return TypeAdapter(Comparison).validate_python(settings)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise OutputError(f"{path} cannot be read ({type(error).__name__}); name the folder of a comparison") from None


class Results:
    """The folder of a comparison. Raises `OutputError` where it holds another one, or the disk refuses."""

    def __init__(self, folder: RunFolder, comparison: Comparison) -> None:
        self._folder = folder
        self._comparison = comparison
        settings = json.dumps({"format": FORMAT, **asdict(comparison)}, indent=1).encode()
        if not (folder.path / SETTINGS).exists():
            folder.write(SETTINGS, settings)
        elif folder.read(SETTINGS) != settings:
            raise OutputError(
                f"{folder.path} holds a comparison with other settings ({SETTINGS}); choose another folder with "
                "hydra.run.dir=FOLDER"
            )

    def missing(self) -> list[Piece]:
        """The pieces that are still to be run."""
        if (self._folder.path / ROWS).exists():
            return []
        return [piece for piece in self._comparison.pieces() if not self._part(piece).exists()]

    def add(self, piece: Piece, rows: pa.Table) -> None:
        """Keep what a piece brought."""
        sink = pa.BufferOutputStream()
        pq.write_table(rows, sink, compression="zstd")
        self._folder.write(f"parts/{piece.name}", sink.getvalue().to_pybytes())

    def rows(self) -> pa.Table:
        """All rows; puts the pieces together when they are there for the first time."""
        target = self._folder.path / ROWS
        if not target.exists():
            parts = [self._part(piece) for piece in self._comparison.pieces()]
            whole = pa.concat_tables([pq.read_table(part) for part in parts]).unify_dictionaries()
            sink = pa.BufferOutputStream()
            pq.write_table(whole, sink, compression="zstd")
            self._folder.write(ROWS, sink.getvalue().to_pybytes())
            for part in parts:
                self._folder.remove(f"parts/{part.name}")
            with suppress(OSError):
                (self._folder.path / "parts").rmdir()
        return pq.read_table(target)

    def _part(self, piece: Piece) -> Path:
        return self._folder.path / "parts" / piece.name


def runs_of(rows: pa.Table, comparison: Comparison, tables: Mapping[DataSet, Table]) -> Sequence[Runs]:
    """The searches in `rows`, by method and data set."""
    found = []
    for method in comparison.methods:
        for data_set in comparison.data_sets:
            mine = rows.filter((pc.field("method") == method) & (pc.field("data_set") == data_set))
            seeds, queries, places, told = (mine[name].to_numpy() for name in ("seed", "query", "place", "told"))
            cell = seeds - comparison.first_seed, queries - 1
            shape = comparison.seeds, comparison.queries
            by_seed, told_by_seed = np.full(shape, -1, np.int16), np.full(shape, np.nan)
            by_seed[cell], told_by_seed[cell] = places, told
            found.append(Runs(method, tables[data_set], by_seed, told_by_seed))
    return found
