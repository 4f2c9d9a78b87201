"""Nothing that a role says, hears or remembers reaches another role's prompts, unless all are given one context."""

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest

from automcu.agents.deploy import DeployAgent
from automcu.agents.evaluation import EvaluationAgent
from automcu.agents.supervisor import SupervisorAgent
from automcu.agents.training import TrainingAgent
from automcu.board import Budget
from automcu.exchange import Role
from automcu.llm.client import Message
from automcu.llm.conversation import Context, Transcript
from automcu.llm.scripted import ScriptedLLM
from automcu.messages import RecipeRequest
from tests import builders
from tests.agents.scripts import conversation
from tests.agents.test_deploy import FACTS, USE
from tests.agents.test_supervisor import STALLED
from tests.agents.test_training import WELL

# In the words of each role's model, in its context, and in the facts that it is given and may remember.
WORDS: dict[Role, str] = {
    "supervisor": "aardvark",
    "training": "bandicoot",
    "evaluation": "capybara",
    "deploy": "dormouse",
}
CONTEXTS: dict[Role, str] = {role: word.upper() for role, word in WORDS.items()}
FIGURES: dict[Role, int] = {"supervisor": 918_271, "training": 817_263, "evaluation": 716_253, "deploy": 615_243}
ROUNDS = 3


def replies() -> dict[Role, ScriptedLLM]:
    """Models that first answer wrongly in each round, so that a repair is asked for, too."""
    right: dict[Role, dict[str, object]] = {
        "supervisor": {"count": 2, "focus": "explore", "stop": False, "reason": WORDS["supervisor"]},
        "training": {"learning_rate_percent": 50, "weight_decay_percent": 50, "label_smoothing_percent": 50},
        "evaluation": {"limited_by": "training", "advice": "keep", "note": WORDS["evaluation"]},
        "deploy": {"intended_use": f"{USE} {WORDS['deploy']}", "limitations": USE},
    }
    return {
        role: ScriptedLLM([f"{WORDS[role]}, let me think", f"{WORDS[role]}: {json.dumps(reply)}"] * ROUNDS)
        for role, reply in right.items()
    }


def drive_all(contexts: Mapping[Role, Context]) -> dict[Role, str]:
    """All that each role's model was shown in `ROUNDS` rounds of work."""
    for role, context in contexts.items():
        context.add((Message("user", CONTEXTS[role]), Message("assistant", CONTEXTS[role])))
    llms = replies()
    talks = {role: conversation(role, llms[role], contexts[role]) for role in llms}
    supervisor, training = SupervisorAgent(talks["supervisor"]), TrainingAgent(talks["training"])
    evaluation, deploy = EvaluationAgent(talks["evaluation"]), DeployAgent(talks["deploy"])
    report = builders.report(macs=FIGURES["evaluation"])
    facts = replace(FACTS, test=replace(FACTS.test, images=FIGURES["deploy"]))
    note = replace(WELL, last_loss=float(FIGURES["training"]))
    for number in range(ROUNDS):
        supervisor.plan(replace(STALLED, round=number, proposed=FIGURES["supervisor"]))
        training.choose(RecipeRequest(1, 1_000, 1_000, (note,)))
        measured = builders.trial(), builders.evaluation(), Budget(64_000, 128_000, None)
        evaluation.note(builders.candidate(7), report, *measured)
        deploy.prose(facts)
    assert not any(role.notices() for role in (supervisor, training, evaluation, deploy))
    return {role: "\n".join(message.content for asked in llm.asked for message in asked) for role, llm in llms.items()}


@pytest.fixture(scope="module")
def isolated() -> dict[Role, str]:
    return drive_all({role: Transcript(100_000) for role in WORDS})


@pytest.fixture(scope="module")
def shared() -> dict[Role, str]:
    one = Transcript(1_000_000)
    return drive_all(dict.fromkeys(WORDS, one))


@pytest.mark.parametrize("role", WORDS)
def test_what_a_role_knows_stands_in_its_own_prompts(role: Role, isolated: dict[Role, str]) -> None:
    assert WORDS[role] in isolated[role] and CONTEXTS[role] in isolated[role]
    assert str(FIGURES[role]) in isolated[role].replace(",", "")


@pytest.mark.parametrize("role", WORDS)
def test_and_never_in_those_of_another(role: Role, isolated: dict[Role, str]) -> None:
    for other, prompts in isolated.items():
        if other != role:
            assert WORDS[role] not in prompts and CONTEXTS[role] not in prompts
            assert str(FIGURES[role]) not in prompts.replace(",", "")


@pytest.mark.parametrize("role", WORDS)
def test_with_one_context_all_others_see_it(role: Role, shared: dict[Role, str]) -> None:
    for prompts in shared.values():
        assert WORDS[role] in prompts and CONTEXTS[role] in prompts
        assert str(FIGURES[role]) in prompts.replace(",", "")


def test_without_memory_a_role_sees_no_earlier_turn_but_remembers_its_facts() -> None:
    prompts = drive_all({role: Transcript(0) for role in WORDS})
    assert not any(mark in prompts[role] for role, mark in CONTEXTS.items())
    assert "you planned 2, explore" in prompts["supervisor"]
    assert "Earlier: accuracy 0.5000, you said training, keep" in prompts["evaluation"]
