"""A whole search with a model in every role that fails now and then: replayed strictly it is the same search, and no
key that a model's errors or replies hold is in any file of it."""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from automcu.agents.supervisor import SupervisorAgent
from automcu.agents.training import TrainingAgent
from automcu.architecture import Architecture
from automcu.errors import CandidateFailure, LLMError
from automcu.exchange import Role
from automcu.executors.blueprint import Blueprint, RunEnd, Shared
from automcu.executors.inline import run_inline
from automcu.feasibility.planner_tier import PlannerTier
from automcu.graph.lowering import lower
from automcu.journal import exchanges_of, read_journal
from automcu.llm.client import LLM, Message
from automcu.llm.conversation import Conversation, Transcript
from automcu.llm.replay import ReplayLLM
from automcu.llm.scripted import ScriptedLLM
from automcu.proposers.evolution import RegularizedEvolution
from automcu.proposers.hybrid import HybridProposer
from automcu.report.results import write_results
from automcu.results import FeasibilityReport
from automcu.run_folder import RunFolder
from automcu.work import Exchanged, Noticed, Planned, RecipeChosen
from tests import builders
from tests.contracts import executor as contract

ANSWERS: dict[Role, object] = {**contract.ANSWERS, "proposal": {"choices": [1, 2, 3]}}  # type: ignore[dict-item]
LIMITS = replace(contract.LIMITS, max_trained=6)


class Moody:
    """Makes a model for each role: of five calls one fails, one brings rubbish; `secret` is in both."""

    def __init__(self, secret: str = "") -> None:
        self._secret = secret

    def __call__(self, role: Role) -> LLM:
        calls = 0

        def reply(messages: Sequence[Message]) -> str:
            nonlocal calls
            calls += 1
            if calls % 5 == 3:
                raise LLMError(f"refused {self._secret}; start it")
            return f"no idea {self._secret}" if calls % 5 == 4 else json.dumps(ANSWERS[role])

        return ScriptedLLM(reply, f"model of {role}")


class Replayed:
    """Makes the models of a recorded run."""

    def __init__(self, run: Path, *, strict: bool) -> None:
        self._run = run
        self._strict = strict

    def __call__(self, role: Role) -> LLM:
        return ReplayLLM(role, exchanges_of(self._run / "journal.jsonl", role), strict=self._strict)


def cost(architecture: Architecture) -> FeasibilityReport:
    return PlannerTier().report(lower(contract.SPACE.build(architecture)), Path)


def search(make_llm: Moody | Replayed, folder: Path, *, seed: int = 0, trainer: object | None = None) -> RunEnd:
    def ask(role: Role, shared: Shared) -> Conversation:
        return Conversation(role, make_llm(role), Transcript(3_000), max_tokens=200)

    def proposer(shared: Shared) -> HybridProposer:
        space = contract.SPACE
        return HybridProposer(
            space, ask("proposal", shared), contract.TASK, contract.BUDGET, "nucleo_f446re", seed,
            RegularizedEvolution(space, seed), mode="edit", cost=cost, warm_start=30, patience=2,
        )  # fmt: skip

    blueprint: Blueprint = replace(
        contract.blueprint(trainer),
        make_supervisor=lambda shared: SupervisorAgent(ask("supervisor", shared)),
        make_proposer=proposer,
        make_training_agent=lambda shared: TrainingAgent(ask("training", shared)),
        make_evaluation=partial(contract._evaluation, ask),
    )
    said: list[str] = []
    end = run_inline(blueprint, LIMITS, contract.HEADER, RunFolder(folder), contract.data(), lambda: 0.0, said.append)
    (folder / "screen.txt").write_text("\n".join(said))
    return end


def story(folder: Path) -> list[Any]:
    """The outcomes of a run in order, without what clocks said."""

    def timeless(value: Any) -> Any:
        match value:
            case dict():
                return {key: timeless(item) for key, item in value.items() if key not in ("seconds", "date")}
            case list():
                return [timeless(item) for item in value]
            case _:
                return value

    return [timeless(json.loads(line)) for line in (folder / "journal.jsonl").read_bytes().splitlines()]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded")
    end = search(Moody(), folder)
    assert end.trouble is None and end.funnel.deployed == 1
    # Worth a replay: every role was asked, and every one that is asked often both failed and answered.
    events = [entry.event for entry in read_journal(folder / "journal.jsonl")]
    exchanges = [event.exchange for event in events if isinstance(event, Exchanged)]
    assert {exchange.role for exchange in exchanges} == set(ANSWERS)
    for role in ANSWERS:
        errors = [exchange.error for exchange in exchanges if exchange.role == role]
        assert "" in errors and any(errors), role
    assert {type(event) for event in events} >= {Planned, RecipeChosen, Noticed}
    return folder


def test_a_strict_replay_is_the_same_search_and_so_is_a_replay_of_that(recorded: Path, tmp_path: Path) -> None:
    first = search(Replayed(recorded, strict=True), tmp_path / "first")
    second = search(Replayed(tmp_path / "first", strict=True), tmp_path / "second")
    assert first.trouble is None and second.trouble is None
    assert story(tmp_path / "first") == story(recorded) == story(tmp_path / "second")


def test_a_strict_replay_of_another_search_ends_with_what_differs(recorded: Path, tmp_path: Path) -> None:
    end = search(Replayed(recorded, strict=True), tmp_path, seed=1)
    assert end.trouble is not None and "agent is not in the recorded run: its message" in end.trouble


def test_another_search_goes_on_with_the_replies_in_their_order(recorded: Path, tmp_path: Path) -> None:
    end = search(Replayed(recorded, strict=False), tmp_path, seed=1)
    assert end.trouble is None and end.funnel.deployed == 1
    assert story(tmp_path) != story(recorded)
    given = [exchange.reply for exchange in exchanges_of(tmp_path / "journal.jsonl", "supervisor")]
    replies = [exchange.reply for exchange in exchanges_of(recorded / "journal.jsonl", "supervisor")]
    common = min(len(given), len(replies))
    assert common > 2 and given[:common] == replies[:common]


def test_a_key_in_errors_and_replies_is_in_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = 'canary-4711-"quoted"-ü-0815'  # a provider's keys are plainer; escapes must not let one through
    monkeypatch.setenv("PROVIDER_API_KEY", key)

    def fail() -> None:
        raise CandidateFailure(f"the data server refused {key}; log in again")

    end = search(Moody(key), tmp_path, trainer=contract.Misbehaving(fail, tmp_path / "marker"))
    files = RunFolder(tmp_path)
    files.write("run.json", json.dumps({"message": f"ended by {key}"}).encode())
    files.write("error.txt", f"Traceback: {key}".encode())
    shown = write_results(
        files, contract.TASK, builders.board(), contract.BUDGET, "planner", end.finished, end.funnel, end.costs,
        end.stopped_by, 1.0, "next",
    )  # fmt: skip
    assert end.funnel.failed == 1 and end.costs.total.failed > 0 and key not in shown
    forms = {key.encode(), json.dumps(key)[1:-1].encode(), json.dumps(key, ensure_ascii=False)[1:-1].encode()}
    paths = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"journal.jsonl", "summary.md", "run.json", "candidates.parquet"} <= {path.name for path in paths}
    for path in paths:
        assert not any(form in path.read_bytes() for form in forms), path
    cells = pq.read_table(tmp_path / "candidates.parquet").to_pylist()
    assert not any(key in str(value) for row in cells for value in row.values())
    for name in ("journal.jsonl", "summary.md", "screen.txt", "run.json", "error.txt"):  # the story itself is kept
        assert "[redacted]" in (tmp_path / name).read_text(), name
