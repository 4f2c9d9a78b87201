"""The ledger against sums by hand, and what it calls down."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automcu.exchange import CANCELLED, Role
from automcu.ledger import Costs, Ledger
from automcu.proposal import InvalidProposal, Proposal
from automcu.work import (
    Checked,
    DeployDone,
    EvaluationDone,
    Exchanged,
    Outcome,
    ProposalsEnded,
    Proposed,
    TestDone,
    Trained,
    WorkFailed,
)
from tests.builders import architecture, deployment, evaluation, exchange, report, test_result, trial


def costs_of(happened: Sequence[tuple[float, Outcome]], end: float) -> Costs:
    """What a ledger says at `end`, after outcomes at their times."""
    now = 0.0
    ledger = Ledger(lambda: now)
    for now, outcome in happened:  # noqa: B007 (the clock reads it)
        ledger(outcome)
    now = end
    return ledger.costs()


def proposal(origin: str, number: int = 1) -> Proposed:
    return Proposed(Proposal(architecture(number), origin))


calls = st.builds(
    exchange,
    st.sampled_from(("supervisor", "proposal", "training")),
    tokens_in=st.integers(0, 10**6),
    tokens_out=st.integers(0, 10**6),
    tokens_cached=st.integers(0, 10**6),
    usd=st.one_of(st.none(), st.integers(0, 100).map(lambda cents: cents / 64)),  # exact in binary
    seconds=st.integers(0, 100).map(float),
    error=st.sampled_from(("", "down; start it", CANCELLED)),
)


@given(st.lists(calls, max_size=20))
def test_sums_are_those_of_the_exchanges(made: list) -> None:
    costs = costs_of([(float(n), Exchanged(one)) for n, one in enumerate(made)], 100.0)
    assert [role.role for role in costs.roles] == sorted({one.role for one in made})
    for role in costs.roles:
        its = [one for one in made if one.role == role.role]
        calls = role.calls
        assert calls.calls == len(its) and calls.failed == sum(one.error == "down; start it" for one in its)
        assert calls.tokens == sum(one.tokens_in + one.tokens_out for one in its)
        assert calls.tokens_cached == sum(one.tokens_cached for one in its)
        assert calls.seconds == sum(one.seconds for one in its)
        assert calls.usd == (None if any(one.usd is None for one in its) else sum(one.usd for one in its))
    total = costs.total
    assert (total.usd is None) == any(one.usd is None for one in made)
    assert total.calls == len(made) and total.tokens == sum(one.tokens_in + one.tokens_out for one in made)


def test_dollars_are_unknown_after_one_call_that_may_have_cost_some() -> None:
    nothing = {"reply": "", "finish": "", "tokens_in": 0, "tokens_out": 0}
    priced, refused = exchange(usd=0.25), exchange(error="refused; start it", **nothing)
    given_up, cut = exchange(error=CANCELLED, **nothing), exchange(error="cut off; allow more", finish="length")

    def usd(*made: object) -> float | None:
        return costs_of([(1.0, Exchanged(one)) for one in made], 2.0).total.usd  # type: ignore[arg-type]

    assert usd() == 0.0 and usd(priced, refused, priced) == 0.5
    assert usd(priced, given_up) is None and usd(cut, priced) is None


def test_the_proposal_agents_model_is_down_until_it_gives_an_architecture() -> None:
    failed, useless = exchange(error="refused; start it", seconds=3.0), exchange(reply="rubbish")
    costs = costs_of(
        [
            (1, proposal("llm")),  # streamed: proposals come before the call that they are from
            (2, Exchanged(exchange())),
            (2, ProposalsEnded(1.0)),
            (10, Exchanged(failed)),  # down since 7
            (10, proposal("evolution:mutate(1)")),
            (11, ProposalsEnded(1.0)),
            (12, proposal("evolution:mutate(2)")),  # not asked, still down
            (12, ProposalsEnded(0.0)),
            (20, Exchanged(useless)),
            (20, Proposed(InvalidProposal("rubbish", "no JSON"))),
            (20, proposal("random")),
            (20, ProposalsEnded(0.0)),
            (22, proposal("llm")),  # an old one
            (22, ProposalsEnded(0.0)),
            (31, proposal("llm:repair", 2)),  # up
            (32, Exchanged(exchange())),
            (32, proposal("evolution:mutate(3)")),
            (33, ProposalsEnded(2.0)),
            (40, proposal("evolution:mutate(4)")),  # a hybrid that does not ask
            (40, ProposalsEnded(0.0)),
            (52, Exchanged(failed)),  # down since 49, to the end
            (52, WorkFailed("propose", None, True, "the actor died")),
        ],
        60.0,
    )
    (role,) = costs.roles
    assert role.down_seconds == (31 - 7) + (60 - 49)
    assert costs.substitutes == 3
    assert dict(costs.stage_seconds) == {"propose": 4.0}


def test_which_models_answered_when_and_how_many_replies_could_not_be_read() -> None:
    down = exchange(error="refused; start it", reply="", finish="", model="first", date="2026-02-01T00:00:00+00:00")
    answers = exchange(model="second", date="2026-02-02T00:00:00+00:00"), exchange(date="2026-02-03T00:00:00+00:00")
    told = [Exchanged(down), *map(Exchanged, answers)]
    told += [Proposed(InvalidProposal("{", "cut off", readable=False)), Proposed(InvalidProposal("{}", "no stages"))]
    costs = costs_of([(1.0, outcome) for outcome in told], 2.0)
    (role,) = costs.roles
    assert role.models == ("second", "m") and (role.first[:10], role.last[:10]) == ("2026-02-01", "2026-02-03")
    assert (costs.replies, costs.unreadable) == (2, 1)


@pytest.mark.parametrize("role", ["supervisor", "training", "evaluation", "deploy"])
def test_another_roles_model_is_down_from_a_failed_call_to_a_good_one(role: Role) -> None:
    failed, good = exchange(role, error="refused; start it"), exchange(role)
    happened = [(10.0, failed), (15.0, failed), (20.0, exchange("intake")), (30.0, good), (40.0, good)]
    costs = {one.role: one for one in costs_of([(at, Exchanged(one)) for at, one in happened], 50.0).roles}
    assert costs[role].down_seconds == 30.0 - 8.0 and costs["intake"].down_seconds == 0.0
    assert costs_of([(10.0, Exchanged(failed))], 50.0).roles[0].down_seconds == 42.0


def test_stages_are_added_up() -> None:
    outcomes: list[Outcome] = [
        Checked(1, report(), (), 0.25),
        Checked(2, report(), (), 0.25),
        Trained(1, trial(seconds=3.0)),
        EvaluationDone(1, evaluation()),
        TestDone(1, test_result()),
        DeployDone(1, deployment()),
        WorkFailed("train", 2, False, "diverged"),
    ]
    seconds = dict(costs_of([(1.0, outcome) for outcome in outcomes], 2.0).stage_seconds)
    assert seconds == {"check": 0.5, "train": 3.0, "evaluate": 1.0, "test": 1.0, "deploy": 1.0}
