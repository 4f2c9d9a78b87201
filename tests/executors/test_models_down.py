"""A model that is down, slow, limited, or of no use never stops a run: code goes on, and the report says so."""

import itertools
import json
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from automcu.agents.supervisor import SupervisorAgent
from automcu.agents.training import TrainingAgent
from automcu.errors import LLMError
from automcu.exchange import Role
from automcu.executors.blueprint import RunEnd, Shared
from automcu.executors.inline import run_inline
from automcu.llm.client import LLM, Completion, EndpointDown, KeyRefused, Message, RateLimited, UnusableReply
from automcu.llm.conversation import Conversation, Transcript
from automcu.llm.meter import Meter, Metered
from automcu.llm.scripted import ScriptedLLM
from automcu.proposers.evolution import RegularizedEvolution
from automcu.proposers.hybrid import HybridProposer
from automcu.report.costs import costs_lines
from automcu.run_folder import RunFolder
from tests.contracts import executor as contract
from tests.executors.test_replay import ANSWERS, cost

LIMITS = replace(contract.LIMITS, max_trained=6)


class Failing:
    """Gives `pieces` and then raises `error`."""

    model, temperature, seed = "failing", None, None

    def __init__(self, error: LLMError, *pieces: str) -> None:
        self._error = error
        self._pieces = pieces

    def stream(
        self, messages: Sequence[Message], schema: Mapping[str, object], *, max_tokens: int
    ) -> Generator[str, None, Completion]:
        yield from self._pieces
        raise self._error


EMPTY = UnusableReply("m sent no text; ask again", Completion("", "stop", "schema", "m", 50, 1, 0, None, 1.0))
BAD: dict[str, Callable[[], LLM]] = {
    "down": lambda: Failing(EndpointDown("m cannot be used (refused); check that the endpoint is running")),
    "slow": lambda: Failing(EndpointDown("m cannot be used (nothing came for 60 s); raise llm.timeout_s")),
    "limited": lambda: Failing(RateLimited("m cannot be used (429); wait")),
    "over quota": lambda: Failing(KeyRefused("m cannot be used (402); top up the account")),
    "empty": lambda: Failing(EMPTY),
    "broken off": lambda: Failing(EndpointDown("m cannot be used (reset); look at the network"), '{"choices": [', "1"),
    "rubbish": lambda: ScriptedLLM(lambda messages: "As a language model I would love to. " * 20),
    "wrong": lambda: ScriptedLLM(lambda messages: '{"choices": [0, -1, "1; rm -rf /", 99999999999], "stop": true}'),
}


def search(
    llm: Callable[[Role], LLM], folder: Path, meter: Meter | None = None, shared: Transcript | None = None
) -> tuple[RunEnd, list[str]]:
    """A whole run with a hybrid and all roles. Every look at the clock is a tenth of a second later."""

    def ask(role: Role, given: Shared) -> Conversation:
        model = llm(role) if given.meter is None else Metered(llm(role), given.meter, lambda seconds: None)
        return Conversation(role, model, given.context or Transcript(3_000), max_tokens=200)

    def proposer(given: Shared) -> HybridProposer:
        return HybridProposer(
            contract.SPACE, ask("proposal", given), contract.TASK, contract.BUDGET, "nucleo_f446re", 0,
            RegularizedEvolution(contract.SPACE, 0), mode="edit", cost=cost, warm_start=30, patience=2,
        )  # fmt: skip

    blueprint = replace(
        contract.blueprint(),
        make_meter=None if meter is None else lambda: meter,
        make_context=None if shared is None else lambda: shared,
        make_supervisor=lambda given: SupervisorAgent(ask("supervisor", given)),
        make_proposer=proposer,
        make_training_agent=lambda given: TrainingAgent(ask("training", given)),
        make_evaluation=partial(contract._evaluation, ask),
    )
    said: list[str] = []
    ticks = itertools.count()
    clock = lambda: 0.01 * next(ticks)  # noqa: E731
    end = run_inline(blueprint, LIMITS, contract.HEADER, RunFolder(folder), contract.data(), clock, said.append)
    return end, said


@pytest.mark.parametrize("kind", BAD)
def test_a_model_of_no_use_leaves_the_run_to_code(kind: str, tmp_path: Path) -> None:
    end, said = search(lambda role: BAD[kind](), tmp_path)
    assert end.trouble is None and end.stopped_by is None
    assert end.funnel.deployed == 1 and end.funnel.trained == LIMITS.max_trained
    down = {role.role: role.down_seconds for role in end.costs.roles}
    assert set(down) == {"supervisor", "proposal", "training", "evaluation"}
    assert down["proposal"] > 0 and end.costs.substitutes > 0
    told = "\n".join(costs_lines(end.costs, end.funnel, 60.0))
    assert "The proposal agent's model gave nothing usable for" in told and "in its place" in told
    for role in ("proposal", "supervisor", "training", "evaluation"):
        assert any(f"the {role} agent" in line or role == "proposal" for line in said)
    assert any("Proposals come from evolution" in line for line in said)


def test_a_model_that_comes_back_is_asked_again(tmp_path: Path) -> None:
    calls = itertools.count()

    def reply(messages: Sequence[Message]) -> str:
        if next(calls) < 1:
            raise LLMError("m cannot be used (503); check that it is running")
        return json.dumps(ANSWERS["proposal"])

    def llm(role: Role) -> LLM:
        return ScriptedLLM(reply if role == "proposal" else lambda messages: json.dumps(ANSWERS[role]))

    end, said = search(llm, tmp_path)
    assert end.trouble is None and end.funnel.deployed == 1
    assert any("proposes again" in line for line in said)
    origins = {candidate.candidate.origin.split(":")[0] for candidate in end.finished.values()}
    assert origins == {"llm", "evolution"}


@pytest.mark.parametrize("cap", [500, 3_000, 8_000])
def test_a_cap_is_never_passed_and_ends_the_run_in_good_order(cap: int, tmp_path: Path) -> None:
    meter = Meter(tokens=cap)
    end, _ = search(lambda role: ScriptedLLM(lambda messages: json.dumps(ANSWERS[role])), tmp_path, meter)
    assert end.trouble is None
    assert end.stopped_by is not None and f"budget.tokens of {cap:,}" in end.stopped_by
    assert meter._tokens <= cap
    assert end.funnel.deployed == (end.funnel.evaluated > 0)


def test_what_one_role_says_reaches_another_only_where_the_context_is_shared(tmp_path: Path) -> None:
    mark = "QUINCE"
    for shared in (None, Transcript(20_000)):
        models: dict[Role, ScriptedLLM] = {}

        def llm(role: Role, models: dict[Role, ScriptedLLM] = models) -> LLM:
            answer = {"why": mark, **ANSWERS[role]} if role == "training" else ANSWERS[role]  # type: ignore[dict-item]
            return models.setdefault(role, ScriptedLLM(lambda messages: json.dumps(answer)))

        end, _ = search(llm, tmp_path / str(shared is None), shared=shared)
        assert end.funnel.deployed == 1
        reached = {
            role for role, model in models.items() for asked in model.asked if mark in "".join(m.content for m in asked)
        }
        others = reached - {"training"}
        assert "training" in reached and bool(others) == (shared is not None)
