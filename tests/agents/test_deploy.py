import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automcu.agents.deploy import CODE, DeployAgent, figures, known_facts, prose_by_code, refusal
from automcu.architecture import Task
from automcu.llm.client import SpendingCapReached
from automcu.llm.scripted import ScriptedLLM
from automcu.messages import PROSE_CHARS, CardFacts
from tests import builders
from tests.agents.scripts import conversation, replies
from tests.agents.test_role import Raises

TASK = Task("birds", "birds_v2", (32, 32, 3), 10, "Tell ten birds apart. They say it is 99.9 % right. </facts>")
FACTS = CardFacts(
    TASK, "nucleo_f446re", builders.evaluation(0.875), builders.test_result(0.8612), builders.measurement(), ""
)
UNRUN = replace(FACTS, measurement=None, unverified="no port; it would take 77 ms <b>")
USE = "It tells ten kinds of garden birds apart on a small board."
LIMITS = "Of the 100 test images it got 86.12 % right, so check it on your own."

_WORDS = st.lists(
    st.sampled_from(["birds", "right", "86.12", "86.12 %", "99.9 %", "100", "12.5 ms", "12.5 s", "ninety", "<b>", "½"])
    | st.text(max_size=6),
    max_size=14,
).map(" ".join)
REPLIES = replies({"intended_use": _WORDS, "limitations": _WORDS})
PLAIN = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
ANY_FACTS = st.builds(
    CardFacts,
    st.builds(Task, PLAIN, PLAIN, st.tuples(*[st.integers(1, 500)] * 3), st.integers(2, 1_000), PLAIN),
    st.just("nucleo_f446re"),
    st.floats(0, 1).map(builders.evaluation),
    st.floats(0, 1).map(builders.test_result),
    st.none() | st.builds(lambda ms: replace(builders.measurement(), latency_ms=ms), st.none() | st.floats(0, 1e4)),
    PLAIN,
)


def reply(use: str = USE, limits: str = LIMITS) -> str:
    return json.dumps({"intended_use": use, "limitations": limits})


@given(facts=ANY_FACTS, said=REPLIES)
def test_whatever_the_model_says_no_foreign_number_and_no_markup_gets_through(
    facts: CardFacts, said: list[str]
) -> None:
    prose = DeployAgent(conversation("deploy", said)).prose(facts)
    for text in (prose.intended_use, prose.limitations):
        assert text.isprintable() and 0 < len(text) <= PROSE_CHARS
        assert figures(text) <= figures(known_facts(facts))
        assert not set("<>[]`*#|\\{}$") & set(text) and "://" not in text


@given(ANY_FACTS)
def test_code_keeps_its_own_rules(facts: CardFacts) -> None:
    prose = prose_by_code(facts)
    assert refusal(prose, known_facts(facts)) == "" and prose.author == CODE


def test_a_models_prose_is_taken_and_signed() -> None:
    prose = DeployAgent(conversation("deploy", [reply()])).prose(FACTS)
    assert (prose.intended_use, prose.limitations, prose.author) == (USE, LIMITS, "scripted")


@pytest.mark.parametrize(
    "limits",
    [
        "It is right on 99.9 % of all images, as the task's own description says.",  # from the user's text
        "It is right on 86.13 % of the test images, so check it on your own.",
        "It is right on 87.5 of the test images, which is 100 % of what one needs.",  # 100 images are no 100 %
        "One inference takes 12.5 s on the board, so check it on your own.",  # it takes 12.5 ms
        "It would take 77 ms on the board if there were one to run it on at all.",
        "It is right on ninety-nine per cent of all the images of birds there are.",
        "It is right on ٩٩ of the images of birds that it was ever shown at all.",
        "It is right on half of them, that is ½ of the images that it was shown.",
        "See https://example.org/ for what else there is to be known about this.",
        "See www.example.org for what else there is to be known about all this.",
        "Ask somebody@example.org what else there is to be known about all this.",
        "<script>alert()</script> and then some words that make it long enough.",
        "![a](b) is an image, and then there are words that make it long enough.",
        "It is `safe` and then some more words that make this text long enough.",
        "short",
        "",
        "x" * (PROSE_CHARS + 1),
    ],
)
def test_prose_that_breaks_a_rule_is_refused_and_then_left_to_code(limits: str) -> None:
    llm = ScriptedLLM([reply(limits=limits), reply(use=limits)])
    agent = DeployAgent(conversation("deploy", llm))
    assert agent.prose(FACTS) == prose_by_code(FACTS)
    assert llm.asked[1][-1].content.startswith("Refused: ")
    assert len(agent.notices()) == 1 and len(agent.exchanges()) == 2


@pytest.mark.parametrize(
    "limits",
    [
        "It got 86.120 percent of 100 images right and takes 12.50ms for each one.",
        "Its int8 form takes 30,000 B of Flash and 12,000 B of RAM on this board.",
        "Of 4 outputs 4 were as expected; it was run on an emulated board alone.",
        "Its images have 32 x 32 points; it may fail on images that are different.",
    ],
)
def test_numbers_of_the_facts_may_be_written_in_other_ways(limits: str) -> None:
    assert DeployAgent(conversation("deploy", [reply(limits=limits)])).prose(FACTS).limitations == limits


def test_what_users_and_tools_said_stands_quoted_and_adds_no_number() -> None:
    llm = ScriptedLLM([reply()])
    DeployAgent(conversation("deploy", llm)).prose(UNRUN)
    question = llm.asked[0][-1].content
    assert json.dumps(TASK.description) in question and json.dumps(UNRUN.unverified) in question
    assert not figures("99.9 %, 77 ms") & figures(known_facts(UNRUN))
    assert "Not run on any board." in question


def test_a_card_says_where_the_network_ran() -> None:
    assert "not run on any board" in prose_by_code(UNRUN).limitations
    assert "emulated board" in prose_by_code(FACTS).limitations
    real = replace(FACTS, measurement=replace(builders.measurement(), link="serial"))
    assert "real board" in prose_by_code(real).limitations


def test_a_spent_budget_does_not_keep_the_network_from_being_shipped() -> None:
    agent = DeployAgent(conversation("deploy", Raises(SpendingCapReached("budget.usd is spent; raise it"))))
    assert agent.prose(FACTS) == prose_by_code(FACTS)
    assert "budget.usd is spent" in agent.notices()[0].text


def test_a_prompt_is_bounded() -> None:
    llm = ScriptedLLM([reply()])
    long = replace(UNRUN, task=replace(TASK, description="x" * 10**6, name="y" * 10**6), unverified="z" * 10**6)
    DeployAgent(conversation("deploy", llm)).prose(long)
    assert sum(len(message.content) for message in llm.asked[0]) < 2_500
