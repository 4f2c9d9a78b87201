"""Several comparisons as one: such as a multirun over language models leaves, a folder each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from automcu.errors import OutputError
from automcu.nasbench.comparison import ROWS, SETTINGS, Comparison, comparison_in, runs_of
from automcu.nasbench.methods import ASKING
from automcu.nasbench.summary import Runs
from automcu.nasbench.table import DataSet, Table


@dataclass(frozen=True, slots=True, eq=False)
class Joint:
    """Rows and searches of all, methods that ask by the name of the model too; what they were told is in `comparison`.
    `left_out` says what of the folder is not in them."""

    comparison: Comparison
    rows: pa.Table
    runs: Sequence[Runs]
    left_out: Sequence[str]


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """One method on one data set."""

    folder: Path
    rows: pa.Table
    run: Runs


def joined(folder: Path, tables: Mapping[DataSet, Table]) -> Joint:
    """The comparisons in `folder` and below. Of searches that are in several, such as those of `random`, the largest
    are kept. Raises `OutputError` where there are none, where they differ in what searches were told, or one is broken.
    """
    parts: dict[tuple[str, DataSet], _Part] = {}
    first: Comparison | None = None
    left_out: list[str] = []
    for path in sorted(folder.rglob(SETTINGS)):
        comparison = comparison_in(path.parent)
        if not path.with_name(ROWS).exists():
            left_out.append(f"{path.parent}, which has not ended")
            continue
        first = first or comparison
        if _told(comparison) != _told(first):
            raise OutputError(
                f"{path.parent} was told other accuracies, or begins with another seed, than the comparison before it; "
                "give a folder of comparisons that differ in methods and models only"
            )
        for part in _parts(path.parent, comparison, tables):
            key = part.run.method, part.run.table.data_set
            other = parts.get(key)
            if other is None or other.run.places.size < part.run.places.size:
                parts[key], part = part, other or part
            if other is not None:
                left_out.append(f"{', '.join(key)} of {part.folder}, which {parts[key].folder} has too")
    if first is None:
        raise OutputError(f"no comparison in {folder} or below has ended; give the folder of one, or of a multirun")
    runs = [part.run for part in parts.values()]
    rows = pa.concat_tables([part.rows for part in parts.values()]).unify_dictionaries()
    return Joint(replace(first, seeds=max(len(run.places) for run in runs)), rows, runs, left_out)


def _parts(folder: Path, comparison: Comparison, tables: Mapping[DataSet, Table]) -> list[_Part]:
    """By method and data set, with the model in the method's name where one was asked."""
    try:
        rows = pq.read_table(folder / ROWS)
    except (OSError, pa.ArrowException) as error:
        raise OutputError(
            f"{folder / ROWS} cannot be read ({type(error).__name__}); remove it with its folder"
        ) from None
    found = []
    for run in runs_of(rows, comparison, tables):
        mine = rows.filter((pc.field("method") == run.method) & (pc.field("data_set") == run.table.data_set))
        name = f"{run.method} ({_model(mine, comparison)})" if run.method in ASKING else run.method
        column = pa.array([name] * mine.num_rows).dictionary_encode()
        mine = mine.set_column(mine.schema.get_field_index("method"), "method", column)
        found.append(_Part(folder, mine, replace(run, method=name)))
    return found


def _model(rows: pa.Table, comparison: Comparison) -> str:
    """The models that answered, else the one that was to, and the temperature where one was set."""
    answered = [name for name in pc.unique(rows["model"].cast(pa.string())).to_pylist() if name]
    temperature = "" if comparison.temperature is None else f", T={comparison.temperature:g}"
    return f"{', '.join(answered) or comparison.model}{temperature}"


def _told(comparison: Comparison) -> tuple[object, ...]:
    return comparison.epochs, comparison.noise, comparison.first_seed
