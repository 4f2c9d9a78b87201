"""The journal: what is written comes back, torn tails are dropped, damage is told."""

from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automcu.board import Violation
from automcu.errors import OutputError
from automcu.journal import _KINDS, VERSION, Ended, Entry, Event, Header, Journal, exchanges_of, read_journal
from automcu.messages import CandidateNote, RecipeChoice, RoundPlan
from automcu.proposal import InvalidProposal, Notice, Proposal
from automcu.work import (
    Checked,
    DeployDone,
    EvaluationDone,
    Exchanged,
    Noticed,
    Planned,
    ProposalsEnded,
    Proposed,
    RecipeChosen,
    TestDone,
    Trained,
    WorkFailed,
)
from tests.builders import architecture, deployment, evaluation, exchange, report, test_result, trial

EVENTS: tuple[Event, ...] = (
    Header(VERSION, {"seed": 1, "task": {"name": "x"}}, 1, None, {"ray": "2"}),
    Proposed(Proposal(architecture(1), "test")),
    Proposed(InvalidProposal('{"stages": "ü"}', "not a list")),
    Exchanged(exchange(reply="reply\nwith lines ü 字", usd=0.0123)),
    Exchanged(exchange("supervisor", temperature=0.8, seed=7, error="refused; ask another")),
    Noticed(Notice("the LLM is down")),
    Planned(RoundPlan(4, "less_ram", False, "most broke the RAM limit")),
    RecipeChosen(1, RecipeChoice(50, 100, 0)),
    ProposalsEnded(0.25),
    ProposalsEnded(0.25, "budget.usd is spent"),
    Checked(1, report(), (Violation("ram", 10, 20, "stem"),), 0.001),
    Trained(1, trial()),
    EvaluationDone(1, evaluation()),
    EvaluationDone(2, evaluation(), CandidateNote(2, "capacity", "wider", "few channels")),
    TestDone(1, test_result()),
    DeployDone(1, deployment()),
    WorkFailed("train", 1, True, "killed"),
    WorkFailed("propose", None, False, "down"),
    Ended(0, ""),
)


def write(path: Path, events: tuple[Event, ...]) -> None:
    journal = Journal(path, lambda: 1.5)
    for event in events:
        journal(event)
    journal.close()


def test_every_kind_of_event_comes_back_equal(tmp_path: Path) -> None:
    assert {type(event) for event in EVENTS} == {*_KINDS.values()} == {*get_args(Event)}
    write(tmp_path / "journal.jsonl", EVENTS)
    assert list(read_journal(tmp_path / "journal.jsonl")) == [Entry(1.5, event) for event in EVENTS]


@given(st.data())
def test_a_journal_torn_at_any_byte_opens_with_all_whole_lines(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("torn") / "journal.jsonl"
    write(path, EVENTS)
    content = path.read_bytes()
    cut = data.draw(st.integers(0, len(content)))
    path.write_bytes(content[:cut])
    whole = content[:cut].count(b"\n")
    assert [entry.event for entry in read_journal(path)] == list(EVENTS[:whole])
    write(path, (Ended(2, "went on"),))
    assert [entry.event for entry in read_journal(path)] == [*EVENTS[:whole], Ended(2, "went on")]


@pytest.mark.parametrize(
    "line", [b"{", b"[]", b'{"seconds":1,"kind":"Nonsense","event":{}}', b'{"seconds":1,"kind":"Trained","event":{}}']
)
def test_damage_before_the_end_is_an_error_that_names_the_line(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, EVENTS[:2])
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(OutputError, match="line 3"):
        list(read_journal(path))


def test_each_role_has_a_stream_of_its_own(tmp_path: Path) -> None:
    asked = [exchange(role, reply=str(n)) for n, role in enumerate(("proposal", "training", "proposal"))]
    write(tmp_path / "journal.jsonl", (*EVENTS[:3], *map(Exchanged, asked), Ended(0, "")))
    path = tmp_path / "journal.jsonl"
    assert list(exchanges_of(path)) == asked
    assert list(exchanges_of(path, "proposal")) == [asked[0], asked[2]]
    assert list(exchanges_of(path, "intake")) == []


@pytest.mark.parametrize("version", [VERSION - 1, VERSION + 1])
def test_another_version_is_refused(tmp_path: Path, version: int) -> None:
    write(tmp_path / "journal.jsonl", (Header(version, {}, 0, None, {}),))
    with pytest.raises(OutputError, match="version"):
        list(read_journal(tmp_path / "journal.jsonl"))


def test_a_missing_or_unwritable_journal_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="name the folder of a run"):
        list(read_journal(tmp_path / "none" / "journal.jsonl"))
    with pytest.raises(OutputError, match="writable run folder"):
        Journal(tmp_path / "none" / "journal.jsonl", lambda: 0.0)


def test_a_full_disk_is_told_in_words() -> None:
    journal = Journal(Path("/dev/full"), lambda: 0.0)
    with pytest.raises(OutputError, match="free disk space"):
        journal(Ended(0, ""))
