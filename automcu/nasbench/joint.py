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
    `unfinished` ones are left out."""

    comparison: Comparison
    rows: pa.Table
    runs: Sequence[Runs]
    unfinished: Sequence[Path]


def joined(folder: Path, tables: Mapping[DataSet, Table]) -> Joint:
    """The comparisons in `folder` and below. Of searches that are in several, such as those of `random`, the first are
    kept. Raises `OutputError` where there are none, where they differ in what searches were told, or one is broken."""
    rows: list[pa.Table] = []
    runs: dict[tuple[str, DataSet], Runs] = {}
    first: Comparison | None = None
    unfinished: list[Path] = []
    for path in sorted(folder.rglob(SETTINGS)):
        comparison = comparison_in(path.parent)
        if not path.with_name(ROWS).exists():
            unfinished.append(path.parent)
            continue
        first = first or comparison
        if _told(comparison) != _told(first):
            raise OutputError(
                f"{path.parent} was told other accuracies, or begins with another seed, than the comparison before it; "
                "give a folder of comparisons that differ in methods and models only"
            )
        for own in _named(pq.read_table(path.with_name(ROWS)), comparison, tables):
            key = own.run.method, own.run.table.data_set
            if key not in runs:
                runs[key] = own.run
                rows.append(own.rows)
    if first is None:
        raise OutputError(f"no comparison in {folder} or below has ended; give the folder of one, or of a multirun")
    whole = replace(first, seeds=max(len(run.places) for run in runs.values()))
    return Joint(whole, pa.concat_tables(rows).unify_dictionaries(), list(runs.values()), unfinished)


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    rows: pa.Table
    run: Runs


def _named(rows: pa.Table, comparison: Comparison, tables: Mapping[DataSet, Table]) -> list[_Part]:
    """By method and data set, with the model in the method's name where one was asked."""
    found = []
    for run in runs_of(rows, comparison, tables):
        mine = rows.filter((pc.field("method") == run.method) & (pc.field("data_set") == run.table.data_set))
        models = [name for name in pc.unique(mine["model"].cast(pa.string())).to_pylist() if name]
        name = f"{run.method} ({', '.join(models) or comparison.model})" if run.method in ASKING else run.method
        column = pa.array([name] * mine.num_rows).dictionary_encode()
        mine = mine.set_column(mine.schema.get_field_index("method"), "method", column)
        found.append(_Part(mine, replace(run, method=name)))
    return found


def _told(comparison: Comparison) -> tuple[object, ...]:
    return comparison.epochs, comparison.noise, comparison.first_seed
