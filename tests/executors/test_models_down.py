"""Whole searches with a model in all five roles: whatever the models do, code goes on, a network is shipped, the report
says so, no cap is passed, and what one role says stays with it."""

import itertools
import json
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from automcu.agents.deploy import CODE, DeployAgent
from automcu.agents.supervisor import SupervisorAgent
from automcu.agents.training import TrainingAgent
from automcu.architecture import Task
from automcu.board import Budget
from automcu.deploy.deployer import DeployedBundle
from automcu.deploy.evidence import Design
from automcu.errors import LLMError
from automcu.exchange import Role
from automcu.executors.blueprint import RunEnd, Shared
from automcu.executors.inline import run_inline
from automcu.executors.steps import DeploymentRole
from automcu.journal import Header
from automcu.llm import meter as metering
from automcu.llm.client import (
    LLM,
    Completion,
    EndpointDown,
    KeyRefused,
    Message,
    RateLimited,
    TruncatedReply,
)
from automcu.llm.conversation import Conversation, Transcript
from automcu.llm.meter import Amount, Meter, Metered
from automcu.llm.prices import Price
from automcu.llm.scripted import ScriptedLLM
from automcu.messages import CardFacts, CardProse
from automcu.proposal import Proposer
from automcu.proposers.evolution import RegularizedEvolution
from automcu.proposers.forms import Mode
from automcu.proposers.hybrid import HybridProposer
from automcu.proposers.llm import LLMProposer
from automcu.report.costs import costs_lines
from automcu.results import Deployment
from automcu.run_folder import RunFolder
from tests.contracts import executor as contract
from tests.executors.test_replay import cost

ROLES: tuple[Role, ...] = ("supervisor", "proposal", "training", "evaluation", "deploy")
PROSE = "It tells handwritten digits apart on a small board, and errs on others."
ANSWERS: dict[Role, dict[str, Any]] = {
    **contract.ANSWERS,  # type: ignore[dict-item]
    "proposal": {"choices": [1, 2, 3]},
    "deploy": {"intended_use": PROSE, "limitations": PROSE},
}
LIMITS = replace(contract.LIMITS, max_trained=5)
Models = Callable[[Role], LLM]


class Clock:
    """Goes on a hundredth of a second at every look, and by what a slow model takes."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 0.01
        return self.now


@dataclass(frozen=True)
class DescribingDeployer(contract.QuickDeployer):
    """Bundles the model with the prose of its card."""

    def deploy(
        self, design: Design, tflite: bytes, images: np.ndarray, labels: np.ndarray, budget: Budget,
        provenance: object, journal: bytes, describe: Callable[[CardFacts], CardProse],
    ) -> DeployedBundle:  # fmt: skip
        deployment = Deployment("nucleo_f446re", "best", len(images), None, self.unverified, "0" * 64, 0.0)
        facts = CardFacts(design.task, "nucleo_f446re", design.evaluation, design.test, None, self.unverified)
        prose = describe(facts)
        card = "\n".join((prose.author, prose.intended_use, prose.limitations)).encode()
        return DeployedBundle(deployment, {"model_int8.tflite": tflite, "model_card.md": card})


def search(
    models: Models,
    folder: Path,
    *,
    clock: Callable[[], float] | None = None,
    meter: Meter | None = None,
    shared: Transcript | None = None,
    mode: Mode = "edit",
    hybrid: bool = True,
    task: Task = contract.TASK,
    seed: int = 0,
    header: Header = contract.HEADER,
) -> tuple[RunEnd, list[str]]:
    """A whole run with a model in every role; also what it said on the screen."""

    def ask(role: Role, given: Shared) -> Conversation:
        llm = models(role)
        model = llm if given.meter is None else Metered(llm, given.meter, lambda seconds: None)
        return Conversation(role, model, given.context or Transcript(3_000), max_tokens=200)

    def proposer(given: Shared) -> Proposer:
        common = (contract.SPACE, ask("proposal", given), task, contract.BUDGET, "nucleo_f446re", seed)
        code = RegularizedEvolution(contract.SPACE, seed)
        if hybrid:
            return HybridProposer(*common, code, mode=mode, cost=cost, warm_start=30, patience=2)
        return LLMProposer(*common, code, mode=mode, cost=cost)

    blueprint = replace(
        contract.blueprint(),
        make_meter=None if meter is None else lambda: meter,
        make_context=None if shared is None else lambda: shared,
        make_supervisor=lambda given: SupervisorAgent(ask("supervisor", given)),
        make_proposer=proposer,
        make_training_agent=lambda given: TrainingAgent(ask("training", given)),
        make_evaluation=partial(contract._evaluation, ask),
        make_deployment=lambda data, given: DeploymentRole(
            DescribingDeployer(), DeployAgent(ask("deploy", given)), data, task, contract.BUDGET, {}, 2  # type: ignore[arg-type]
        ),
    )  # fmt: skip
    said: list[str] = []
    end = run_inline(blueprint, LIMITS, header, RunFolder(folder), contract.data(), clock or Clock(), said.append)
    return end, said


def right(role: Role) -> ScriptedLLM:
    """A model that answers as its role should."""
    return ScriptedLLM(lambda messages: json.dumps(ANSWERS[role]), f"model of {role}")


# models of no use


class Failing:
    """Takes `seconds` by `clock`, gives `pieces`, and then raises `error`."""

    model, temperature, seed = "failing", None, None

    def __init__(self, error: LLMError, *pieces: str, clock: Clock | None = None, seconds: float = 0.0) -> None:
        self._error, self._pieces, self._clock, self._seconds = error, pieces, clock, seconds

    def stream(
        self, messages: Sequence[Message], schema: Mapping[str, object], *, max_tokens: int
    ) -> Generator[str, None, Completion]:
        if self._clock is not None:
            self._clock.now += self._seconds
        yield from self._pieces
        raise self._error


DUPLICATE = json.dumps({"proposals": [json.loads(contract.SPACE.smallest().text)]})
CUT = TruncatedReply("m ran into max_tokens; raise it", Completion("{", "length", "json", "m", 50, 200, 0, None, 1.0))
DOWN = EndpointDown("m cannot be used (refused); check that it is running")
NO_USE: dict[str, Callable[[Clock], LLM]] = {
    "down": lambda clock: Failing(DOWN),
    # a tenth of the run's time each call, which is the most that a run allows
    "slow": lambda clock: Failing(EndpointDown("m cannot be used (nothing came)"), clock=clock, seconds=12.0),
    "limited": lambda clock: Failing(RateLimited("m cannot be used (429); wait")),
    "over quota": lambda clock: Failing(RateLimited("m cannot be used (insufficient_quota); raise the quota")),
    "key refused": lambda clock: Failing(KeyRefused("m cannot be used (402); top up the account")),
    "empty": lambda clock: ScriptedLLM(lambda messages: ""),
    "prose": lambda clock: ScriptedLLM(lambda messages: "As a language model I would love to. " * 20),
    "rubbish": lambda clock: ScriptedLLM(lambda messages: '{"choices": [NaN, -1, "1; rm"], "proposals": [[[[1e308'),
    "cut off": lambda clock: Failing(CUT, "{"),
    "breaks off": lambda clock: Failing(DOWN, '{"choices": [', '{"proposals": [{"st'),
    "duplicates": lambda clock: ScriptedLLM(lambda messages: DUPLICATE),
}


@pytest.mark.parametrize(("hybrid", "mode"), [(True, "edit"), (False, "architecture")])
@pytest.mark.parametrize("kind", NO_USE)
def test_models_of_no_use_in_every_role_leave_the_run_to_code(
    kind: str, hybrid: bool, mode: Mode, tmp_path: Path
) -> None:
    clock = Clock()
    end, said = search(lambda role: NO_USE[kind](clock), tmp_path, clock=clock, mode=mode, hybrid=hybrid)
    assert end.trouble is None and end.stopped_by is None and end.funnel.deployed == 1
    assert (tmp_path / "best" / "model_card.md").read_text().startswith(f"{CODE}\n")
    assert clock.now < LIMITS.seconds
    assert end.costs.substitutes > 0
    told = "\n".join(costs_lines(end.costs, end.funnel, clock.now))
    screen = "\n".join(said)
    assert "Proposals come from evolution instead" in screen and f"code made {end.costs.substitutes} proposals" in told
    assert {one.role for one in end.costs.roles} == set(ROLES)
    for costs in end.costs.roles:
        if costs.role == "proposal":
            assert costs.down_seconds > 0
        else:  # replies that hold text are no failed calls, and still none of them is an answer
            assert f"of the {costs.role} agent gave no usable answer" in screen
            assert (costs.down_seconds > 0) == (costs.calls.failed > 0)
        assert (f"The {costs.role} agent's model gave nothing usable for" in told) == (costs.down_seconds > 0)


def test_a_reply_that_breaks_off_keeps_the_proposals_that_stood_in_it(tmp_path: Path) -> None:
    whole = json.loads(contract.SPACE.smallest().text)
    start = f'{{"proposals": [{json.dumps(whole)}, {{"stem'
    end, _ = search(
        lambda role: Failing(DOWN, start) if role == "proposal" else right(role),
        tmp_path, hybrid=False, mode="architecture",
    )  # fmt: skip
    assert end.trouble is None and end.funnel.deployed == 1
    (told,) = [one.candidate for one in end.finished.values() if one.candidate.origin.startswith("llm")]
    assert json.loads(told.architecture.text) == whole


def test_a_model_that_comes_back_is_asked_again(tmp_path: Path) -> None:
    calls = itertools.count()

    def reply(messages: Sequence[Message]) -> str:
        if next(calls) < 1:
            raise LLMError("m cannot be used (503); check that it is running")
        return json.dumps(ANSWERS["proposal"])

    def llm(role: Role) -> LLM:
        return ScriptedLLM(reply) if role == "proposal" else right(role)

    end, said = search(llm, tmp_path)
    assert end.trouble is None and end.funnel.deployed == 1
    assert any("proposes again" in line for line in said)
    origins = {candidate.candidate.origin.split(":")[0] for candidate in end.finished.values()}
    assert origins == {"llm", "evolution"}


# caps


class Priced(ScriptedLLM):
    """Counts a token a character, at a dollar for a thousand."""

    def __init__(self, role: Role) -> None:
        super().__init__(lambda messages: json.dumps(ANSWERS[role]), f"model of {role}")

    def stream(
        self, messages: Sequence[Message], schema: Mapping[str, object], *, max_tokens: int
    ) -> Generator[str, None, Completion]:
        whole = yield from super().stream(messages, schema, max_tokens=max_tokens)
        # Within what a meter reserves: 2.5 characters a token, and no longer a reply than allowed.
        tokens_in = sum(len(message.content) for message in messages) // 3
        tokens_out = min(len(whole.text) // 3, max_tokens)
        return replace(whole, tokens_in=tokens_in, tokens_out=tokens_out, usd=(tokens_in + tokens_out) / 1_000)


class Watched(Meter):
    """Keeps what was settled for."""

    def __init__(self, **caps: Any) -> None:
        super().__init__(**caps)
        self.used: list[Amount] = []

    def settle(self, reserved: Amount, used: Amount) -> None:
        super().settle(reserved, used)
        self.used.append(used)


@pytest.mark.parametrize("tokens", [100, 1_500, 4_000, 8_000])
def test_a_cap_on_tokens_is_never_passed_and_a_network_is_shipped(tokens: int, tmp_path: Path) -> None:
    meter = Watched(tokens=tokens)
    end, _ = search(Priced, tmp_path, meter=meter)
    assert end.trouble is None
    assert sum(one.tokens for one in meter.used) == end.costs.total.tokens <= tokens
    assert end.stopped_by is not None and f"budget.tokens of {tokens:,}" in end.stopped_by
    assert end.funnel.deployed == (end.funnel.evaluated > 0)


@pytest.mark.parametrize("usd", [0.1, 2.0, 6.0])
def test_a_cap_on_money_is_never_passed_and_a_network_is_shipped(
    usd: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metering, "price_of", lambda model: Price(0.001, 0.001))
    meter = Watched(usd=usd)
    end, _ = search(Priced, tmp_path, meter=meter)
    assert end.trouble is None
    spent = sum(one.usd or 0.0 for one in meter.used)
    assert end.costs.total.usd == pytest.approx(spent) and spent <= usd
    assert end.stopped_by is not None and f"budget.usd of {usd:g}" in end.stopped_by
    assert end.funnel.deployed == (end.funnel.evaluated > 0)


# isolation


def test_what_one_role_says_reaches_another_only_where_the_context_is_shared(tmp_path: Path) -> None:
    mark = "QUINCE"
    for shared in (None, Transcript(20_000)):
        models: dict[Role, ScriptedLLM] = {}

        def llm(role: Role, models: dict[Role, ScriptedLLM] = models) -> LLM:
            answer = {"why": mark, **ANSWERS[role]} if role == "training" else ANSWERS[role]
            return models.setdefault(role, ScriptedLLM(lambda messages: json.dumps(answer)))

        end, _ = search(llm, tmp_path / str(shared is None), shared=shared)
        assert end.funnel.deployed == 1
        reached = {
            role for role, model in models.items() for asked in model.asked if mark in "".join(m.content for m in asked)
        }
        others = reached - {"training"}
        assert "training" in reached and bool(others) == (shared is not None)
