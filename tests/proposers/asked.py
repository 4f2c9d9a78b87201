"""A proposer's language model in tests: its conversation, the task, the limits, and what networks cost."""

import json
import random
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from automcu.architecture import Architecture, Task
from automcu.board import Budget
from automcu.feasibility.planner_tier import PlannerTier
from automcu.graph.lowering import lower
from automcu.llm.client import LLM, Message
from automcu.llm.conversation import Conversation, Transcript
from automcu.proposal import Exchange, Proposal, ProposalItem
from automcu.proposers.evolution import RegularizedEvolution
from automcu.proposers.forms import Mode
from automcu.proposers.hybrid import HybridProposer
from automcu.proposers.llm import LLMProposer
from automcu.proposers.random_search import RandomSearch
from automcu.results import FeasibilityReport
from automcu.spaces.mcu_cnn import McuCnnSpace
from automcu.spaces.space import Space
from tests import builders
from tests.proposers.grid_space import GridSpace, digits_of

TASK = Task("birds", "birds_v2", (32, 32, 3), 10, "Tell ten garden birds apart.")
BUDGET = Budget(64_000, 200_000, None)
GRID = GridSpace()
CNN = McuCnnSpace((32, 32, 3), 10)


@cache
def cost(architecture: Architecture) -> FeasibilityReport:
    """What the planner tier says of a network; of a point of the grid, a size that doubles with each digit."""
    if architecture.space == GRID.name:
        size = sum(2**digit for digit in digits_of(architecture))
        return builders.report(activations=100 * size, weights=10 * size, macs=1_000 * size)

    def no_file() -> Path:
        raise AssertionError("the planner needs no file")

    return PlannerTier().report(lower(CNN.build(architecture)), no_file)


def conversation(llm: LLM, **given: Any) -> Conversation:
    return Conversation("proposal", llm, Transcript(0), **{"max_tokens": 4096, **given})


def llm_proposer(llm: LLM, space: Space = GRID, mode: Mode = "architecture", **given: Any) -> LLMProposer:
    facts: dict[str, Any] = {"seed": 0, "fallback": RandomSearch(space, 1), "budget": BUDGET, "task": TASK, **given}
    order = ("task", "budget", "board_name", "seed", "fallback")
    facts = {"board_name": "nucleo_f446re", **facts}
    return LLMProposer(space, conversation(llm), *(facts[name] for name in order), mode=mode, cost=cost)


def hybrid(llm: LLM, space: Space = GRID, mode: Mode = "edit", seed: int = 0, **given: Any) -> HybridProposer:
    facts: dict[str, Any] = {"budget": BUDGET, "warm_start": 8, "patience": 6, **given}
    return HybridProposer(
        space,
        conversation(llm),
        TASK,
        facts["budget"],
        "nucleo_f446re",
        seed,
        RegularizedEvolution(space, seed),
        mode=mode,
        cost=cost,
        warm_start=facts["warm_start"],
        patience=facts["patience"],
    )


def reply(*architectures: Architecture | object) -> str:
    entries = [json.loads(a.text) if isinstance(a, Architecture) else a for a in architectures]
    return json.dumps({"proposals": entries})


def picks(*numbers: object) -> str:
    return json.dumps({"choices": numbers})


def grid(*digits: int) -> Architecture:
    return GRID.of([*digits, *[0] * (8 - len(digits))])


def fresh_replies(space: Space) -> Callable[[Sequence[Message]], str]:
    """A policy that always answers with new valid architectures."""
    rng = random.Random(0)
    return lambda messages: reply(*(space.random(rng) for _ in range(5)))


def of_type(items: Sequence[ProposalItem], kind: type) -> list[ProposalItem]:
    return [item for item in items if isinstance(item, kind)]


def origins(items: Sequence[ProposalItem]) -> list[str]:
    return [item.origin for item in items if isinstance(item, Proposal)]


def exchanges(items: Sequence[ProposalItem]) -> list[Exchange]:
    return [item for item in items if isinstance(item, Exchange)]
