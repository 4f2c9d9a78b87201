"""Searches that ask a language model: several at once, each with a record of what was said, so that nothing is paid for
twice and all can be replayed.

`exchanges/PIECE.jsonl` in the comparison's folder is a journal of the piece's exchanges. A piece that was stopped hears
the recorded replies again, and goes on from there. A model that does not answer fails its piece, not the others.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import pyarrow as pa

from automcu.errors import LLMError, OutputError
from automcu.exchange import Exchange
from automcu.journal import Journal, exchanges_of
from automcu.llm.client import LLM, EndsTheRun, UnseenRequest
from automcu.llm.replay import Resumed
from automcu.nasbench.comparison import Piece, run_piece
from automcu.work import Exchanged

MOST_FAILED = 3
"""Pieces that may fail in a row, beside those that were asked at once; more say that the others would too."""


class Asking:
    """Runs pieces that ask a model, by the table in the file at `path`, and records in `folder`. `model` makes one for
    a piece."""

    def __init__(self, folder: Path, path: Path, model: Callable[[Piece], LLM]) -> None:
        self._folder = folder
        self._path = path
        self._model = model
        self._stopped = threading.Event()

    def run(self, piece: Piece) -> pa.Table:
        """The rows of `piece`. Raises `LLMError` when its model does not answer, `OutputError` when the record cannot
        be read or written."""
        file = record_of(self._folder, piece)
        recorded = list(exchanges_of(file)) if file.exists() else []
        file.parent.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        journal = Journal(file, lambda: time.monotonic() - began)
        heard = 0

        def keep(exchange: Exchange) -> None:
            nonlocal heard
            heard += 1
            if heard > len(recorded):
                journal(Exchanged(exchange))
            if self._stopped.is_set():
                raise LLMError("the comparison was stopped; start it again, it goes on")

        try:
            llm = Resumed("proposal", recorded, self._model(piece))
            return run_piece(piece, self._path, llm, keep)
        except UnseenRequest as error:
            if not recorded:
                raise
            raise OutputError(
                f"{file} records another talk than this search has ({error}); go on with the settings and the version "
                "that it was recorded with, or remove that file to ask anew"
            ) from None
        finally:
            journal.close()

    def pieces(self, pieces: Sequence[Piece], at_once: int) -> Iterator[tuple[Piece, pa.Table | LLMError]]:
        """What each of `pieces` brings as it comes, so many `at_once`: its rows, or why its model did not answer.
        Raises what ends the run (`EndsTheRun`), and the last `LLMError` when too many in a row bring one."""
        failed = 0
        with ThreadPoolExecutor(at_once) as threads:
            running = {threads.submit(self.run, piece): piece for piece in pieces}
            try:
                for done in as_completed(running):
                    try:
                        came: pa.Table | LLMError = done.result()
                        failed = 0
                    except EndsTheRun:
                        raise
                    except LLMError as error:
                        came, failed = error, failed + 1
                        if failed >= MOST_FAILED + at_once:
                            raise
                    yield running.pop(done), came
            finally:
                self._stopped.set()
                threads.shutdown(wait=False, cancel_futures=True)


def record_of(folder: Path, piece: Piece) -> Path:
    """Where the exchanges of `piece` are kept in the folder of its comparison."""
    return folder / "exchanges" / Path(piece.name).with_suffix(".jsonl")


def exchanges_in(folder: Path) -> Iterator[Exchange]:
    """All exchanges that a comparison has had so far. Raises `OutputError` when they cannot be read."""
    for file in sorted((folder / "exchanges").glob("*.jsonl")):
        yield from exchanges_of(file)
