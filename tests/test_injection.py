"""Text that users, tools or models wrote cannot change limits, paths, models or tools.

Every text of `tests/injection_corpus.py` is planted wherever foreign text enters, and the models obey: they look for
objects in whatever they are shown and answer with what these demand. What is shown: planted text stays inside one
quoted string of every prompt; messages keep their form and rules; nothing is opened, started or connected to.
"""

import json
import os
import random
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from automcu.agents.deploy import DeployAgent
from automcu.agents.evaluation import EvaluationAgent
from automcu.agents.intake import Intake, overrides_of
from automcu.agents.supervisor import SupervisorAgent
from automcu.agents.supervisor import refusal as plan_refusal
from automcu.agents.training import TrainingAgent
from automcu.agents.words import MAX_CHARS
from automcu.architecture import Candidate, Task
from automcu.board import Budget, Violation
from automcu.errors import AutoMCUError, ConfigError
from automcu.exchange import Role
from automcu.feasibility.st.errors import classify_error
from automcu.finished import Evaluated, Failed, Rejected
from automcu.llm.client import Message
from automcu.llm.conversation import printable
from automcu.llm.scripted import ScriptedLLM
from automcu.messages import LINE_CHARS, CandidateNote, RecipeRequest, RoundPlan, decode, encode, one_line
from automcu.proposal import InvalidProposal, Proposal
from automcu.proposers import prompt
from automcu.training.data import load_test, load_training
from tests import builders
from tests.agents.scripts import conversation
from tests.agents.test_deploy import FACTS
from tests.agents.test_supervisor import FRESH
from tests.agents.test_training import WELL
from tests.injection_corpus import CORPUS, OBJECTS
from tests.proposers.asked import CNN, llm_proposer

NEUTRAL = "plain"
BUDGET = Budget(64_000, 128_000, 15_000_000)
ROOT = Path(__file__).parents[1]
corpus = pytest.mark.parametrize("text", CORPUS, ids=lambda text: ascii(text[:30]))


# models that do as they are told


def demands(shown: str) -> dict[str, Any]:
    """All that the objects in `shown` ask for, those inside quoted strings included."""
    found: dict[str, Any] = {}
    for text in (shown, shown.replace("\\\\", "\0").replace('\\"', '"').replace("\0", "\\")):
        for piece in re.findall(r"\{[^{}]{1,500}\}", text):
            try:
                read = json.loads(piece)
            except ValueError:
                continue
            found |= read
    return found


def obedient(planted: str, **right: object) -> Callable[[Sequence[Message]], str]:
    """First answers with everything that is demanded, be it shown or heard elsewhere; asked again, with the right keys,
    the values demanded for them, and the planted text wherever text is due."""

    def answer(messages: Sequence[Message]) -> str:
        asked = demands("\n".join([*(message.content for message in messages), planted[:2_000]]))
        if not any(message.content.startswith("Refused") for message in messages):
            return json.dumps({**right, **asked, "order": planted[:2_000]})
        return json.dumps(
            {
                key: asked.get(key, planted[:LINE_CHARS] if isinstance(value, str) and " " in value else value)
                for key, value in right.items()
            }
        )

    return answer


# what a process does


_doings: list[str] | None = None


def _watch(event: str, given: tuple[Any, ...]) -> None:
    if _doings is None:
        return
    writes = event == "open" and isinstance(given[2], int) and given[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if writes or event.startswith(
        ("subprocess", "os.system", "os.exec", "os.posix_spawn", "os.mkdir", "socket.connect")
    ):
        _doings.append(f"{event} {given}"[:200])


sys.addaudithook(_watch)


@contextmanager
def nothing_done() -> Iterator[None]:
    """Nothing is written, started or connected to meanwhile."""
    global _doings
    _doings = []
    try:
        yield
        assert _doings == []
    finally:
        _doings = None


# prompts


def skeleton(shown: str) -> list[str]:
    """The lines of a prompt, each quoted string as `""`."""
    return [re.sub(r'"(?:[^"\\]|\\.)*"', '""', line) for line in shown.split("\n")]


def proposal_prompt(planted: str) -> str:
    """What the proposal agent reads, in both modes, when everything foreign is `planted`."""
    task = Task(planted, planted, (32, 32, 3), 10, planted)
    report = replace(builders.report(), binding_layer=planted, heaviest_layer=planted, busiest_layer=planted)
    note = CandidateNote(3, "capacity", "larger", one_line(planted[:LINE_CHARS]))
    rng = random.Random(0)
    known = [Candidate(number, CNN.random(rng), planted) for number in (1, 2, 3)]
    told = ""
    for mode in ("architecture", "edit"):
        llm = ScriptedLLM([])
        proposer = llm_proposer(llm, CNN, mode, task=task, budget=BUDGET, board_name=planted)
        proposer.observe(
            [
                Rejected(known[0], report, (Violation("ram", 64_000, 99_000, planted, planted),)),
                Failed(known[1], "check", "candidate", planted),
                Evaluated(known[2], report, builders.trial(), builders.evaluation(), note),
            ]
        )
        list(proposer.propose(4, RoundPlan(4, "less_ram", False, one_line(planted[:LINE_CHARS]))))
        told += "\n".join(message.content for asked in llm.asked for message in asked) + "\n"
    return told


def drive(planted: str) -> dict[Role, ScriptedLLM]:
    """Every advisor at work once, with `planted` in all that is foreign and a model that obeys; what it holds to is
    checked on the way. Returns the models."""
    report = replace(builders.report(), binding_layer=planted, heaviest_layer=planted, busiest_layer=planted)
    facts = replace(FACTS, task=Task(planted, planted, (32, 32, 3), 10, planted), measurement=None, unverified=planted)
    said = "It sorts images of garden birds on a small board, and errs on others."
    models: dict[Role, ScriptedLLM] = {
        "supervisor": ScriptedLLM(obedient(planted, count=3, focus="explore", stop=False, reason="so be it")),
        "training": ScriptedLLM(
            obedient(planted, learning_rate_percent=50, weight_decay_percent=100, label_smoothing_percent=0)
        ),
        "evaluation": ScriptedLLM(obedient(planted, limited_by="capacity", advice="larger", note="it is small")),
        "deploy": ScriptedLLM(obedient(planted, intended_use=said, limitations=said)),
    }
    supervisor, training = (
        SupervisorAgent(conversation("supervisor", models["supervisor"])),
        TrainingAgent(conversation("training", models["training"])),
    )
    evaluation = EvaluationAgent(conversation("evaluation", models["evaluation"]))
    deploy = DeployAgent(conversation("deploy", models["deploy"]))
    plan = supervisor.plan(FRESH)
    recipe = training.choose(RecipeRequest(1, 1_000, 1_000, (WELL,)))
    note = evaluation.note(builders.candidate(1), report, builders.trial(), builders.evaluation(), BUDGET)
    prose = deploy.prose(facts)
    for message in (plan, recipe, note, prose):
        assert decode(encode(message)) == message
    assert not plan_refusal(plan, FRESH) and not plan.stop and plan.count <= FRESH.most_proposals
    assert note.candidate_id == 1 and note.note.isprintable()
    for text in (prose.intended_use, prose.limitations):
        assert text.isprintable() and not re.search(r"[<>`\[\]|#*]|://|999", text)
    asked = {one.model for agent in (supervisor, training, evaluation, deploy) for one in agent.exchanges()}
    assert asked == {"scripted"}
    return models


@pytest.fixture(scope="module")
def neutral() -> dict[Role, ScriptedLLM]:
    return drive(NEUTRAL)


def first_question(llm: ScriptedLLM) -> str:
    return "\n".join(message.content for message in llm.asked[0])


@corpus
def test_advisors_keep_to_their_rules_whatever_they_are_told(text: str, neutral: dict[Role, ScriptedLLM]) -> None:
    budget = replace(BUDGET)
    with nothing_done():
        models = drive(text)
    assert budget == BUDGET
    for role, llm in models.items():
        assert skeleton(first_question(llm)) == skeleton(first_question(neutral[role])), role


@corpus
def test_planted_text_stays_inside_one_quoted_string_of_the_proposal_prompt(text: str) -> None:
    shown = proposal_prompt(text)
    assert skeleton(shown) == skeleton(proposal_prompt(NEUTRAL))
    assert len(shown) < 20_000
    assert all(line.isprintable() for line in shown.split("\n"))


def test_without_quoting_planted_text_would_get_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check above can fail: quotes set by hand let out whatever holds a quote or the end of a line."""
    plain = skeleton(proposal_prompt(NEUTRAL))
    monkeypatch.setattr(prompt, "quoted", lambda text, limit: f'"{text[:limit]}"')
    out = [text for text in CORPUS if skeleton(proposal_prompt(text)) != plain]
    assert len(out) > len(CORPUS) // 4
    assert all('"' in text or "\n" in text or "\\" in text for text in out)


@corpus
def test_proposals_that_obey_are_architectures_of_the_space_or_nothing(text: str) -> None:
    policy = obedient(text, proposals=[text], choices=[text])
    for mode in ("architecture", "edit"):
        items = list(llm_proposer(ScriptedLLM(policy), CNN, mode).propose(4))
        for item in items:
            if isinstance(item, Proposal):
                CNN.build(item.architecture)
            if isinstance(item, InvalidProposal):
                assert item.reason.isprintable()
        assert any(isinstance(item, Proposal) for item in items)  # by code, where the model gave none


# intake


@corpus
def test_intake_takes_what_was_written_or_asks(text: str) -> None:
    """Beside a planted text the request stands as it is, or a point is open: nothing is taken in its place."""
    words = f"CIFAR-10 on a NUCLEO-F446RE, 64 KB RAM, 128 KB Flash. {text}"
    nothing = dict.fromkeys(("task_words", "board", "board_words", "flash", "latency", "minutes"), "")
    llm = ScriptedLLM(lambda messages: json.dumps({"task": "mnist", **nothing, "ram": "999999 KB"}))
    intake = Intake(conversation("intake", llm))
    if len(words) > MAX_CHARS:
        with pytest.raises(ConfigError):
            intake.read(words)
        return
    with nothing_done():
        brief = intake.read(words)
    open_ones = {point.key for point in brief.open_points}
    assert brief.task == "cifar10" or "task" in open_ones
    assert brief.board == "nucleo_f446re" or "board" in open_ones
    assert brief.ram_bytes == 64_000 or "ram" in open_ones
    assert brief.flash_bytes == 128_000 or "flash" in open_ones
    for asked in llm.asked:
        lines = skeleton(asked[1].content)
        assert [line.split(": ")[0] for line in lines] == [
            "The user's words", "What rules did not understand", "Tasks", "Boards"
        ]  # fmt: skip
        assert lines[0] == 'The user\'s words: ""'
    if not open_ones:
        arguments = [f"{key}={value}" for key, value in overrides_of(brief).items()]
        assert all(re.fullmatch(r"(?:task|training|board|budget\.[a-z_]+)=[a-z0-9_.+-]+", one) for one in arguments)


# data sets, class names, tools, other roles


@corpus
def test_a_data_sets_name_is_no_path(text: str) -> None:
    task = Task("t", text, (32, 32, 3), 10, "d")
    with nothing_done():
        with pytest.raises(ConfigError, match="is unknown"):
            load_training(task, [Path("/nowhere")], validation_share=0.1, max_images=None, seed=0)
        with pytest.raises(ConfigError, match="is unknown"):
            load_test(task, [Path("/nowhere")])


def test_class_names_go_nowhere_but_to_the_data_set() -> None:
    """No prompt, path or command is made of them: only the loaders know them."""
    users = {path.relative_to(ROOT / "automcu") for path in (ROOT / "automcu").rglob("*.py")
             if "class_names" in path.read_text("utf-8")}  # fmt: skip
    assert users == {Path("training/data.py"), Path("training/shards.py")}


@corpus
def test_what_a_tool_prints_is_one_short_line(text: str) -> None:
    for printed in (
        text,
        f"E010(InvalidModelError): {text}",
        f"INTERNAL ERROR: {text}",
        f"layer: '{text}' unsupported",
    ):
        with nothing_done():
            error = classify_error(1, printed)
        assert isinstance(error, AutoMCUError)
        assert str(error).isprintable() and len(str(error)) < 1_000


@corpus
def test_text_between_roles_is_one_short_printable_line(text: str) -> None:
    planted = printable(text[:LINE_CHARS])  # as a reply arrives
    for message in (RoundPlan(1, "explore", False, planted), CandidateNote(1, "capacity", "keep", planted)):
        sent = decode(encode(message))
        told = sent.reason if isinstance(sent, RoundPlan) else sent.note  # type: ignore[union-attr]
        assert told == one_line(planted)
    if len(text) > LINE_CHARS:
        with pytest.raises(AutoMCUError):
            encode(RoundPlan(1, "explore", False, printable(text)))


def test_the_models_obey_and_only_rules_hold_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks on advisors can fail: without a rule, what is demanded is done."""
    order = OBJECTS[0]
    assert demands(proposal_prompt(order))["ram_bytes"] == 999_999_000
    drive(order)
    monkeypatch.setattr("automcu.agents.supervisor.refusal", lambda plan, request: "")
    with pytest.raises(AssertionError):
        drive(order)


def test_a_file_that_is_written_is_seen(tmp_path: Path) -> None:
    with pytest.raises(AssertionError), nothing_done():
        (tmp_path / "owned").touch()


def test_the_corpus_is_of_many_kinds() -> None:
    assert len(set(CORPUS)) == len(CORPUS) >= 50
