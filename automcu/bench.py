"""One comparison on NAS-Bench-201, from its composed configuration to its exit code."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automcu.errors import AutoMCUError, DataError, LLMError
from automcu.run_folder import RunFolder

if TYPE_CHECKING:
    import pyarrow as pa

    from automcu.config import BenchmarkConfig, LLMConfig
    from automcu.llm.client import LLM
    from automcu.nasbench.comparison import Comparison, Piece

_TELL_SECONDS = 5.0


def run_benchmark(composed: Mapping[str, Any], folder: Path) -> int:
    """Carry out the comparison that `composed` asks for, or what is left of it, in `folder`; returns the exit code.

    What a user can do something about is printed as one sentence, and never raised.
    """
    try:
        files = RunFolder(folder)
        with files.locked():
            _carry_out(composed, files)
    except AutoMCUError as error:
        print(f"automcu: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"automcu: interrupted; the same command with hydra.run.dir={folder} goes on", file=sys.stderr)
        return 130
    return 0


def _carry_out(composed: Mapping[str, Any], files: RunFolder) -> None:
    from automcu.config import read_benchmark
    from automcu.nasbench import report
    from automcu.nasbench.comparison import Comparison, Results, runs_of, tables_in
    from automcu.nasbench.methods import ASKING

    began = time.monotonic()
    config = read_benchmark(composed)
    asked = config.benchmark
    asks = any(method in ASKING for method in asked.methods)
    comparison = Comparison(**asked.model_dump(exclude={"asked_at_once"}), **(_described(config.llm) if asks else {}))
    path = _table_file(config.data.root)
    tables = tables_in(path)
    if asked.noise:
        for data_set in asked.data_sets:
            tables[data_set].require_trainings()
    results = Results(files, comparison)
    missing = results.missing()
    total = len(list(comparison.pieces()))
    print(
        f"NAS-Bench-201: {', '.join(asked.methods)}; {', '.join(asked.data_sets)}; {asked.seeds:,} seeds of "
        f"{asked.queries:,} queries{f'; asks {comparison.model}' if asks else ''}; "
        f"{total - len(missing)} of {total} pieces are done\nRun folder: {files.path}",
        flush=True,
    )
    told = time.monotonic()
    failed: list[LLMError] = []
    with _pieces(config, comparison, missing, path, files.path) as pieces:
        for count, (piece, rows) in enumerate(pieces, 1):
            if isinstance(rows, LLMError):
                failed.append(rows)
                print(f"{piece.name}: {rows}", flush=True)
                continue
            results.add(piece, rows)
            if time.monotonic() - told > _TELL_SECONDS:
                told = time.monotonic()
                done = total - len(missing) + count - len(failed)
                print(f"{told - began:.0f} s: {done} of {total} pieces", flush=True)
    if failed:
        raise LLMError(
            f"{len(failed)} of {total} pieces got no answer, the last because: {str(failed[-1]).rstrip('.')}; the same "
            f"command with hydra.run.dir={files.path} asks again, for what is missing only"
        )
    rows = results.rows()
    summary = report.write(files, rows, runs_of(rows, comparison, tables), comparison)
    print(f"\n{summary}\n{time.monotonic() - began:.0f} s; {files.path / 'report.html'}", flush=True)


def join_benchmarks(folder: Path) -> Sequence[str]:
    """The comparisons below `folder` as one, methods that ask a model by the model's name; writes tables and curves
    into `folder`, and returns the lines to print. Raises `OutputError` where there are none that can be compared."""
    from automcu.nasbench import report
    from automcu.nasbench.comparison import tables_in
    from automcu.nasbench.joint import joined

    whole = joined(folder, tables_in(_table_file(None)))
    files = RunFolder(folder)
    summary = report.write(files, whole.rows, whole.runs, whole.comparison)
    return [*summary.splitlines(), *(f"Left out: {what}" for what in whole.left_out), f"{files.path / 'report.html'}"]


def _table_file(named: str | None) -> Path:
    from automcu.nasbench.table import FILE
    from automcu.training.data import data_roots

    roots = data_roots(named)
    for root in roots:
        if (root / FILE).is_file():
            return root / FILE
    raise DataError(
        f"no {FILE} in {', '.join(map(str, roots))}; put it into one of these folders, or name its folder in "
        "$AUTOMCU_DATA (or as data.root of a comparison)"
    )


@contextmanager
def _pieces(
    config: "BenchmarkConfig", comparison: "Comparison", missing: "Sequence[Piece]", path: Path, folder: Path
) -> "Iterator[Iterator[tuple[Piece, pa.Table | LLMError]]]":
    """What each missing piece brings: first those of code alone, on the cluster, then those that ask a model, here, so
    that caps on tokens and money hold for all of them together."""
    from automcu.nasbench.asking import Asking
    from automcu.nasbench.methods import ASKING

    free = [piece for piece in missing if piece.method not in ASKING]
    asking = [piece for piece in missing if piece.method in ASKING]
    with ExitStack() as stack:
        by_model: Iterator[tuple[Piece, pa.Table | LLMError]] = iter(())
        if asking:
            models = stack.enter_context(_models(config, folder))
            by_model = Asking(folder, path, models).pieces(asking, config.benchmark.asked_at_once)
        by_code = stack.enter_context(_by_code(config, free, path))
        yield chain(by_code, by_model)


@contextmanager
def _models(config: "BenchmarkConfig", folder: Path) -> "Iterator[Callable[[Piece], LLM]]":
    from automcu.build_agents import metered_models
    from automcu.config import ReplayConfig
    from automcu.journal import exchanges_of
    from automcu.llm.replay import ReplayLLM
    from automcu.nasbench.asking import exchanges_in, record_of

    asked = config.llm
    if isinstance(asked, ReplayConfig):
        run, strict = asked.run, asked.strict
        yield lambda piece: ReplayLLM("proposal", exchanges_of(record_of(run, piece)), strict=strict)
        return
    with metered_models(asked, config.budget, exchanges_in(folder)) as models:
        yield lambda piece: models(piece.first_seed)


def _described(llm: "LLMConfig") -> Mapping[str, Any]:
    """What a comparison notes of its model; one that is replayed has what is recorded."""
    from automcu.build_agents import model_name
    from automcu.config import ReplayConfig
    from automcu.nasbench.comparison import comparison_in

    if isinstance(llm, ReplayConfig):
        recorded = comparison_in(llm.run)
        return {name: getattr(recorded, name) for name in ("model", "temperature", "context_tokens")}
    known = {name: getattr(llm, name, None) for name in ("temperature", "context_tokens")}
    return {"model": model_name(llm), **known}


@contextmanager
def _by_code(
    config: "BenchmarkConfig", pieces: "Sequence[Piece]", path: Path
) -> "Iterator[Iterator[tuple[Piece, pa.Table]]]":
    from automcu.nasbench.comparison import run_piece

    if config.cluster.kind == "inline" or not pieces:
        yield ((piece, run_piece(piece, path)) for piece in pieces)
        return
    from automcu.actors import cluster
    from automcu.actors.comparison import pieces_on_ray

    if config.cluster.kind == "join":
        cluster.join(config.cluster.address or "auto")
    else:
        store = config.cluster.object_store_mb * 1_000_000
        cluster.start_local(cpus=config.cluster.cpus, gpus=0, object_store_bytes=store)
    try:
        yield pieces_on_ray(pieces, path)
    finally:
        cluster.stop_local()
