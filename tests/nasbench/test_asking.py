"""Searches that ask a model: what is said is kept, so that a comparison goes on, can be replayed and keeps its caps."""

import json
import random
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from automcu.errors import LLMError, OutputError
from automcu.exchange import TOO_LONG, Exchange
from automcu.llm.client import LLM, Message, PromptTooLong, SpendingCapReached, UnseenRequest
from automcu.llm.meter import Meter, Metered
from automcu.llm.replay import ReplayLLM
from automcu.llm.scripted import ScriptedLLM
from automcu.nasbench.asking import MOST_FAILED, Asking, exchanges_in, record_of
from automcu.nasbench.comparison import Comparison, Piece
from automcu.nasbench.setting import setting
from tests.nasbench.tables import DATA, REAL, needs_table
from tests.test_launch import run

__all__ = ["run"]
PIECES = list(Comparison(("genius",), ("cifar10",), 5, 6).pieces())
SPACE = setting("cifar10", 0, "true").space


class Drawing(ScriptedLLM):
    """Gives a cell for each question, the same for the same question; is down while `down` says so, and reads no more
    than `room` characters."""

    def __init__(self, down: Sequence[int] = (), room: int = 10**9) -> None:
        super().__init__(self._cell)
        self.down = set(down)
        self._room = room

    def _cell(self, messages: Sequence[Message]) -> str:
        if len(self.asked) in self.down:
            raise LLMError("connection refused; start the server")
        seed = "".join(message.content for message in messages)
        if len(seed) > self._room:
            raise PromptTooLong(f"{TOO_LONG} drawing; use another")
        return json.dumps({"reason": "r", "network": json.loads(SPACE.random(random.Random(seed)).text)})


def without_time(rows: pa.Table | LLMError) -> pa.Table:
    assert isinstance(rows, pa.Table)
    return rows.drop_columns(["seconds", "date"])


def asking(folder: Path, model: LLM) -> Asking:
    return Asking(folder, REAL, lambda piece: model)


@needs_table
def test_a_piece_whose_model_fails_goes_on_where_it_was(tmp_path: Path) -> None:
    piece = PIECES[0]
    whole = asking(tmp_path / "whole", Drawing()).run(piece)
    failing = Drawing(down=[4])
    with pytest.raises(LLMError, match="connection refused"):
        asking(tmp_path, failing).run(piece)
    assert len(list(exchanges_in(tmp_path))) == 3
    again = Drawing()
    rows = asking(tmp_path, again).run(piece)
    assert len(again.asked) == 3  # of six: what had been answered is not asked again
    assert without_time(rows).equals(without_time(whole))
    assert rows["date"].to_pylist() == [exchange.date for exchange in exchanges_in(tmp_path)]
    assert len(list(exchanges_in(tmp_path))) == 6


@needs_table
def test_a_failure_harms_no_other_piece_and_too_many_end_it(tmp_path: Path) -> None:
    flaky = Drawing(down=[2, 9])
    came = dict(asking(tmp_path, flaky).pieces(PIECES, 1))
    failed = [piece for piece, rows in came.items() if isinstance(rows, LLMError)]
    assert came.keys() == set(PIECES) and len(failed) == 2
    dead = asking(tmp_path / "dead", Drawing(down=range(100)))
    told = []
    with pytest.raises(LLMError, match="connection refused"):
        told += dead.pieces(PIECES * 2, 1)
    assert len(told) == MOST_FAILED


@needs_table
def test_several_are_asked_at_once_and_the_rows_are_the_same(tmp_path: Path) -> None:
    together = threading.Barrier(3, timeout=60)

    class Meeting(Drawing):
        def stream(
            self, messages: Sequence[Message], schema: Mapping[str, object], *, max_tokens: int
        ) -> Iterator[str]:  # type: ignore[override]
            if len(messages) == 2:  # the first question of a search
                together.wait()
            return super().stream(messages, schema, max_tokens=max_tokens)

    found = dict(Asking(tmp_path, REAL, lambda piece: Meeting()).pieces(PIECES[:3], 3))
    alone = dict(asking(tmp_path / "alone", Drawing()).pieces(PIECES[:3], 1))
    for piece in PIECES[:3]:
        assert without_time(found[piece]).equals(without_time(alone[piece]))


@needs_table
def test_what_was_recorded_is_replayed_to_the_letter_or_refused(tmp_path: Path) -> None:
    piece = Piece("genius", "cifar10", 0, 1, 40, 200, False)  # more than a small context has room for
    first = asking(tmp_path, Drawing(room=6_000)).run(piece)
    assert set(first["status"].to_pylist()) <= {"new", "isomorphic", "duplicate"} and len(first) == 40
    recorded = [
        replace(exchange, date=f"2020-01-01T00:00:{number:02}")
        for number, exchange in enumerate(exchanges_in(tmp_path))
    ]
    replay = ReplayLLM("proposal", recorded, strict=True)
    replayed = asking(tmp_path / "replay", replay).run(piece)
    assert without_time(replayed).equals(without_time(first))
    assert {date[:4] for date in replayed["date"].to_pylist()} == {"2020"}
    assert any(exchange.error for exchange in recorded), "something was too long"
    other = Piece("genius_hidden", "cifar10", 0, 1, 6, 200, False)
    with pytest.raises(UnseenRequest):
        asking(tmp_path / "other", ReplayLLM("proposal", recorded, strict=True)).run(other)


@needs_table
def test_a_cap_ends_all_that_ask(tmp_path: Path) -> None:
    metered = Metered(Drawing(), Meter(tokens=10_000))
    with pytest.raises(SpendingCapReached):
        list(asking(tmp_path, metered).pieces(PIECES, 1))
    assert list(exchanges_in(tmp_path))


@needs_table
def test_a_record_of_another_talk_is_told_with_its_file(tmp_path: Path) -> None:
    one, other = PIECES[0], replace(PIECES[0], method="genius_hidden")
    asking(tmp_path, Drawing()).run(one)
    record_of(tmp_path, one).rename(record_of(tmp_path, other))
    with pytest.raises(OutputError, match=r"genius_hidden-cifar10-0+\.jsonl records another talk.*remove that file"):
        asking(tmp_path, Drawing()).run(other)


@needs_table
def test_a_comparison_is_replayed_from_the_command_line(run, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("AUTOMCU_DATA", str(DATA))
    script = tmp_path / "replies.json"
    cells = [json.loads(SPACE.random(random.Random(seed)).text) for seed in range(3)]
    script.write_text(json.dumps([json.dumps({"reason": "r", "network": cell}) for cell in cells]))
    asked = ("+experiment=nasbench201", "benchmark.methods=[genius]", "benchmark.data_sets=[cifar10]",
             "benchmark.seeds=1", "benchmark.queries=3")  # fmt: skip
    first = run(*asked, "llm=scripted", f"llm.replies={script}", folder=tmp_path / "first")
    assert first.code == 0, first.err
    again = run(*asked, "llm=replay", f"llm.run={first.folder}", "llm.strict=true", folder=tmp_path / "again")
    assert again.code == 0, again.err
    rows = [pq.read_table(one.folder / "queries.parquet") for one in (first, again)]
    assert rows[0]["place"].equals(rows[1]["place"]) and rows[1]["model"].to_pylist() == ["scripted"] * 3


@needs_table
@pytest.mark.parametrize("method", ["genius", "llm"])
def test_a_model_that_cannot_read_the_question_ends_its_piece(tmp_path: Path, method: str) -> None:
    with pytest.raises(LLMError, match=TOO_LONG):
        asking(tmp_path, Drawing(room=500)).run(Piece(method, "cifar10", 0, 1, 3, 200, False))


def test_each_piece_has_a_record_of_its_own(tmp_path: Path) -> None:
    names = {record_of(tmp_path, piece) for piece in Comparison(("genius", "llm"), ("cifar10",), 2, 1).pieces()}
    assert len(names) == 4 and all(name.suffix == ".jsonl" for name in names)
    assert list(exchanges_in(tmp_path)) == list[Exchange]()
