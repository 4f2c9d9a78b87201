import json
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automcu.agents.supervisor import (
    LEAST_ROUNDS_WITHOUT_GAIN,
    LEAST_TRAINED,
    PLANS_KEPT,
    SupervisorAgent,
    plan_by_code,
    refusal,
)
from automcu.llm.scripted import ScriptedLLM
from automcu.messages import Focus, RoundPlan, RoundRequest
from tests.agents.scripts import conversation, replies

FRESH = RoundRequest(1, 0, 0, 0, 0, None, 0, 0, 0, 0, 20, 8)
STALLED = RoundRequest(9, 60, 30, 12, 4, 0.8, LEAST_ROUNDS_WITHOUT_GAIN, 0, 0, 0, 8, 8)
COUNTS = st.integers(0, 20)
REQUESTS = st.builds(
    RoundRequest,
    round=st.integers(1, 50),
    proposed=COUNTS,
    feasible=COUNTS,
    trained=COUNTS,
    duplicate=COUNTS,
    best_accuracy=st.none() | st.floats(0, 1),
    rounds_without_gain=st.integers(0, 6),
    over_ram=COUNTS,
    over_flash=COUNTS,
    over_other=COUNTS,
    trainings_left=COUNTS,
    most_proposals=st.integers(1, 20),
)
REPLIES = replies(
    {
        "count": st.integers(-2, 25),
        "focus": st.sampled_from(get_args(Focus)),
        "stop": st.booleans(),
        "reason": st.text(max_size=220),
    }
)


def reply(count: int = 4, focus: str = "explore", stop: bool = False, reason: str = "why not") -> str:
    return json.dumps({"count": count, "focus": focus, "stop": stop, "reason": reason})


def keeps_the_rules(plan: RoundPlan, request: RoundRequest) -> bool:
    """The rules, said a second time and apart from the code under test."""
    supported = {
        "explore": True,
        "more_accuracy": request.best_accuracy is not None,
        "fill_niche": request.best_accuracy is not None,
        "less_ram": request.over_ram,
        "less_flash": request.over_flash,
        "fewer_macs": request.over_other,
    }
    may_stop = request.trained >= 3 and request.rounds_without_gain >= 3 and request.best_accuracy is not None
    return (
        1 <= plan.count <= request.most_proposals
        and bool(supported[plan.focus])
        and (may_stop or not plan.stop)
        and plan.reason.isprintable()
        and len(plan.reason) <= 200
    )


@given(requests=st.lists(REQUESTS, min_size=1, max_size=4), said=REPLIES)
def test_whatever_the_model_says_the_plan_keeps_the_rules(requests: list[RoundRequest], said: list[str]) -> None:
    agent = SupervisorAgent(conversation("supervisor", said))
    for request in requests:
        assert keeps_the_rules(agent.plan(request), request)


@given(REQUESTS)
def test_code_keeps_the_rules_and_never_stops(request: RoundRequest) -> None:
    plan = plan_by_code(request)
    assert keeps_the_rules(plan, request) and refusal(plan, request) == ""
    assert not plan.stop and plan.count == request.most_proposals


def test_a_valid_plan_is_taken() -> None:
    agent = SupervisorAgent(conversation("supervisor", [reply(3, "fill_niche", True, "enough")]))
    assert agent.plan(STALLED) == RoundPlan(3, "fill_niche", True, "enough")


@pytest.mark.parametrize(
    ("request_", "said", "told"),
    [
        (FRESH, reply(count=9), "count must be 1 to 8"),
        (FRESH, reply(count=0), "count must be 1 to 8"),
        (FRESH, reply(focus="less_ram"), "do not support focus less_ram"),
        (FRESH, reply(focus="less_flash"), "do not support focus less_flash"),
        (FRESH, reply(focus="fewer_macs"), "do not support focus fewer_macs"),
        (FRESH, reply(focus="more_accuracy"), "do not support focus more_accuracy"),
        (FRESH, reply(focus="fill_niche"), "do not support focus fill_niche"),
        (FRESH, reply(stop=True), "stop must be false"),
        (replace(STALLED, trained=LEAST_TRAINED - 1), reply(stop=True), "stop must be false"),
        (replace(STALLED, rounds_without_gain=LEAST_ROUNDS_WITHOUT_GAIN - 1), reply(stop=True), "stop must be false"),
        (replace(STALLED, best_accuracy=None), reply(stop=True), "stop must be false"),
    ],
)
def test_a_plan_that_breaks_a_rule_is_refused_and_then_left_to_code(
    request_: RoundRequest, said: str, told: str
) -> None:
    llm = ScriptedLLM([said, said])
    agent = SupervisorAgent(conversation("supervisor", llm))
    assert agent.plan(request_) == plan_by_code(request_)
    assert told in llm.asked[1][-1].content
    assert len(agent.notices()) == 1


@pytest.mark.parametrize(
    ("request_", "focus"),
    [
        (FRESH, "explore"),
        (replace(FRESH, over_ram=4, over_flash=1), "less_ram"),
        (replace(FRESH, over_flash=8, over_ram=4), "less_flash"),
        (replace(STALLED, over_other=5), "fewer_macs"),
        (replace(STALLED, over_ram=1, rounds_without_gain=0), "more_accuracy"),
        (STALLED, "fill_niche"),
        (replace(STALLED, round=10), "explore"),
    ],
)
def test_code_aims_at_what_the_counts_say(request_: RoundRequest, focus: str) -> None:
    assert plan_by_code(request_).focus == focus


def test_earlier_plans_are_remembered_and_the_oldest_forgotten() -> None:
    llm = ScriptedLLM([reply(count) for count in (2, 3, 4, 5, 6, 7, 8, 1)])
    agent = SupervisorAgent(conversation("supervisor", llm))
    for number in range(1, 9):
        agent.plan(replace(FRESH, round=number))
    last = llm.asked[-1][-1].content
    assert last.count("you planned") == PLANS_KEPT
    assert "Before round 7" in last and "Before round 1 " not in last


def test_a_prompt_is_short() -> None:
    llm = ScriptedLLM([reply()] * 20)
    agent = SupervisorAgent(conversation("supervisor", llm))
    for _ in range(20):
        agent.plan(STALLED)
    assert sum(len(message.content) for message in llm.asked[-1]) < 1_500
