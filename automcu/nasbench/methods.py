"""The methods that are compared, by name: those of code alone, and those that ask a language model."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from automcu.architecture import Architecture
from automcu.board import Budget
from automcu.feasibility.planner_tier import PlannerTier
from automcu.finished import Finished
from automcu.graph.lowering import lower
from automcu.llm.client import LLM
from automcu.llm.conversation import Conversation, Transcript
from automcu.messages import RoundPlan
from automcu.nasbench.setting import Setting, View
from automcu.proposal import Proposal, ProposalItem, Proposer
from automcu.proposers.evolution import RegularizedEvolution
from automcu.proposers.genius import MEMORY_CHARS, GeniusProposer
from automcu.proposers.hybrid import HybridProposer
from automcu.proposers.llm import LLMProposer
from automcu.proposers.local_search import LocalSearch
from automcu.proposers.random_search import RandomSearch
from automcu.proposers.surrogate import SurrogateSearch
from automcu.proposers.tpe import TPESearch
from automcu.results import FeasibilityReport
from automcu.spaces.nasbench201 import EDGES, OPERATIONS, NasBench201Space, computes

WARM_START = 10
REPLY_TOKENS = 1_024
_DRAWS = 1_000
_NO_BOARD = "any"
_NO_LIMIT = Budget(512 * 1024, 2 * 1024 * 1024, None)
"""Every cell of NAS-Bench-201 fits: only accuracy is searched."""
PRIOR: Mapping[str, float] = {"nor_conv_3x3": 0.48, "nor_conv_1x1": 0.25, "skip_connect": 0.20}
"""Shares of operations that someone who knows such tables would draw; the others have the rest."""


class OperationPrior:
    """Random cells whose operations are drawn by `PRIOR`: how far a prior alone leads, without any search. It was
    chosen by people who had seen the table, as a language model may have: a control, no fair method."""

    name = "operation_prior"

    def __init__(self, space: NasBench201Space, seed: int) -> None:
        self._space = space
        self._rng = random.Random(seed)
        rest = (1 - sum(PRIOR.values())) / (len(OPERATIONS) - len(PRIOR))
        self._weights = [PRIOR.get(operation, rest) for operation in OPERATIONS]
        self._seen: set[tuple[str, ...]] = set()

    def propose(self, count: int, plan: RoundPlan | None = None) -> Iterator[ProposalItem]:
        """Up to `count` cells that it has not proposed before, none once they have become too rare."""
        for _ in range(count):
            drawn = (tuple(self._rng.choices(OPERATIONS, self._weights, k=len(EDGES))) for _ in range(_DRAWS))
            cell = next((cell for cell in drawn if cell not in self._seen and computes(cell)), None)
            if cell is None:
                return
            self._seen.add(cell)
            yield Proposal(self._space.architecture(cell), self.name)

    def observe(self, finished: Sequence[Finished]) -> None:
        """Nothing: it does not learn."""


FREE: Mapping[str, Callable[[NasBench201Space, int], Proposer]] = {
    "random": RandomSearch,
    "local_search": LocalSearch,
    # As in the benchmark's paper and its successors: ten random cells, tournaments of 3.
    "evolution": lambda space, seed: RegularizedEvolution(space, seed, 10, 3, begin=10, drawn=1),
    "surrogate": SurrogateSearch,
    "tpe": TPESearch,
    "operation_prior": OperationPrior,
}
"""Of code alone: a thousand searches take minutes."""


_Method = Callable[[Setting, int, LLM], Proposer]


def _genius(setting: Setting, seed: int, llm: LLM) -> Proposer:
    return GeniusProposer(setting.space, _conversation(llm, MEMORY_CHARS), setting.task)


def _llm(setting: Setting, seed: int, llm: LLM) -> Proposer:
    """AutoMCU's own prompt and memory, whole cells. It may fail as often as it likes: that costs it queries."""
    given = setting.space, _conversation(llm, 0), setting.task, _NO_LIMIT, _NO_BOARD, seed
    return LLMProposer(*given, None, mode="architecture", cost=partial(footprint, setting), patience=10**9)


def _hybrid(setting: Setting, seed: int, llm: LLM) -> Proposer:
    """The model gives the first cells, local search goes on from the best of them."""
    given = setting.space, _conversation(llm, 0), setting.task, _NO_LIMIT, _NO_BOARD, seed
    code = LocalSearch(setting.space, seed)
    cost = partial(footprint, setting)
    return HybridProposer(*given, code, mode="architecture", cost=cost, warm_start=WARM_START, patience=10**9)


_ASKING: Mapping[str, _Method] = {"genius": _genius, "llm": _llm, "hybrid": _hybrid}
_VIEWS: Mapping[str, View] = {"": "true", "_renamed": "renamed", "_hidden": "hidden"}
ASKING: Mapping[str, _Method] = {f"{name}{end}": method for name, method in _ASKING.items() for end in _VIEWS}
"""Those that ask a language model; see `view_of`."""

METHODS = (*FREE, *ASKING)


def view_of(method: str) -> View:
    """What a method is shown, by the end of its name: controls for what a model remembers of the table."""
    return next((view for end, view in _VIEWS.items() if end and method.endswith(end)), "true")


def _conversation(llm: LLM, memory_chars: int) -> Conversation:
    return Conversation("proposal", llm, Transcript(memory_chars), max_tokens=REPLY_TOKENS)


def footprint(setting: Setting, architecture: Architecture) -> FeasibilityReport:
    """What a cell's network takes of a microcontroller, which prompts tell beside accuracies."""
    return PlannerTier().report(lower(setting.space.build(architecture)), Path)  # no file is asked for
