"""What the user reads about costs: the estimate before a run, the lines, section and table after it."""

import io
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from automcu.ledger import Calls, Costs, RoleCosts
from automcu.llm.prices import Price
from automcu.report.costs import (
    SCHEMA_VERSION,
    Expected,
    costs_lines,
    costs_section,
    costs_table,
    estimate,
    expected_calls,
)
from automcu.search import Funnel, Limits

LIMITS = Limits(600, max_proposals=2_000, max_trained=12, batch=8, lookahead=8, finish_share=0.15, attempts=2)
FUNNEL = Funnel(proposed=40, invalid=3, duplicate=5, feasible=20, rejected=20, trained=12, stopped=4, evaluated=8,
                failed=0, skipped=0, deployed=1)  # fmt: skip
PROPOSAL = RoleCosts("proposal", Calls(6, 2, 9_000, 3_000, 4_000, 0.0125, 31.5), 75.0)
SUPERVISOR = RoleCosts("supervisor", Calls(4, 0, 2_000, 400, 0, None, 4.0), 0.0)
COSTS = Costs((PROPOSAL, SUPERVISOR), 17, (("check", 1.25), ("train", 300.0), ("propose", 36.0)))
NONE = Costs((), 0, (("check", 1.0),))


def test_a_run_is_told_in_a_line_with_tokens_per_design_and_a_line_about_the_time_without_a_model() -> None:
    assert costs_lines(COSTS, FUNNEL, 600.0) == [
        "Language models: 10 calls, 2 of them failed; 11,000 tokens in (4,000 cached) and 3,400 out: 720 a fitting "
        "design, 1,200 a trained one, 14,400 a deployed one; price unknown.",
        "The proposal agent's model gave nothing usable for 1.2 of 10.0 minutes; code made 17 proposals in its place.",
    ]
    (line,) = costs_lines(
        replace(COSTS, roles=(replace(PROPOSAL, down_seconds=0.0),)),
        replace(FUNNEL, feasible=0, trained=0, deployed=0),
        1,
    )
    assert "no design fits; USD 0.013." in line


def test_without_a_model_there_is_no_line_and_the_section_says_so() -> None:
    assert costs_lines(NONE, FUNNEL, 600.0) == []
    section = costs_section(NONE, FUNNEL, 600.0)
    assert "No language model was asked." in section
    assert section[-2] == "Seconds of work, added up over all processes: checking 1.0."


def test_the_section_has_a_row_a_role_and_their_sum() -> None:
    section = costs_section(COSTS, FUNNEL, 600.0)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section if line.startswith("|")]
    assert {len(row) for row in rows} == {9}
    assert rows[2] == ["proposal", "6", "2", "9,000", "4,000", "3,000", "0.013", "31.5", "75.0"]
    assert rows[3] == ["supervisor", "4", "0", "2,000", "0", "400", "unknown", "4.0", "0.0"]
    assert rows[4] == ["all", "10", "2", "11,000", "4,000", "3,400", "unknown", "35.5", ""]
    assert section[-2] == "Seconds of work, added up over all processes: proposing 36.0, checking 1.2, training 300.0."


def test_the_table_has_what_a_leaderboard_adds_up() -> None:
    table = pq.read_table(io.BytesIO(costs_table(COSTS, FUNNEL, 600.0)))
    assert table.schema.metadata[b"automcu_schema_version"] == str(SCHEMA_VERSION).encode()
    proposal, supervisor, run = table.to_pylist()
    assert (proposal["role"], proposal["calls"], proposal["failed_calls"], proposal["usd"]) == (
        "proposal",
        6,
        2,
        0.0125,
    )
    assert proposal["down_seconds"] == 75.0 and proposal["invalid"] is None and proposal["seconds"] is None
    assert supervisor["usd"] is None and supervisor["llm_seconds"] == 4.0
    assert (run["role"], run["calls"], run["tokens_in"], run["tokens_out"]) == ("all", 10, 11_000, 3_400)
    assert (run["proposed"], run["invalid"], run["duplicate"], run["deployed"]) == (40, 3, 5, 1)
    assert (run["seconds"], run["train_seconds"], run["test_seconds"], run["substitutes"]) == (600.0, 300.0, 0.0, 17)
    (alone,) = pq.read_table(io.BytesIO(costs_table(NONE, FUNNEL, 600.0))).to_pylist()
    assert (alone["role"], alone["calls"], alone["usd"]) == ("all", 0, 0.0)


@pytest.mark.parametrize(
    ("role", "calls"),
    [
        ("proposal", (2, 30)),
        ("supervisor", (2, 30)),
        ("training", (1, 40)),
        ("evaluation", (1, 24)),
        ("deploy", (1, 2)),
    ],
)
def test_calls_are_between_all_proposals_fit_and_one_in_ten_does(role: str, calls: tuple[int, int]) -> None:
    assert expected_calls(role, LIMITS) == calls  # type: ignore[arg-type]


def test_a_hybrid_asks_for_its_start_and_after_each_stagnation() -> None:
    assert expected_calls("proposal", LIMITS, warm_start=16, patience=5) == (2, 8)
    assert expected_calls("proposal", replace(LIMITS, max_trained=4), warm_start=0, patience=5) == (0, 0)


def test_the_estimate_is_one_line_with_a_range_and_the_caps() -> None:
    price = Price(2.8e-07, 4.2e-07)
    proposal = Expected("proposal", "deepseek/deepseek-chat", 2, 30, 6_000, 0, 4_096, price)
    plan = Expected("supervisor", "deepseek/deepseek-chat", 2, 15, 1_200, 3_000, 200, price)
    assert estimate([proposal, plan], None, 1.0) == (
        "Language models: 4 to 45 calls of deepseek/deepseek-chat, about 3,800 to 270,000 tokens, USD 0.0011 to 0.094, "
        "while one proposal in 10 fits; never more than USD 1 (budget.usd)"
    )
    local = replace(plan, model="smollm2", price=None)
    told = estimate([proposal, local], 50_000, 0.5)
    assert "deepseek/deepseek-chat, smollm2" in told and "price unknown" in told
    assert told.endswith("never more than 50,000 tokens (budget.tokens) or USD 0.5 (budget.usd)")
    assert estimate([local], None, None).endswith("no cap, which budget.tokens or budget.usd would set")


@given(st.integers(1, 200), st.integers(1, 64), st.integers(1, 10**4), st.integers(0, 64), st.integers(0, 20))
def test_ranges_begin_below_their_ends(trained: int, batch: int, proposals: int, warm: int, patience: int) -> None:
    limits = replace(LIMITS, max_trained=trained, batch=batch, max_proposals=max(trained, proposals))
    for role in ("proposal", "supervisor", "training", "evaluation", "deploy"):
        least, most = expected_calls(role, limits, warm, patience)  # type: ignore[arg-type]
        assert 0 <= least <= most
