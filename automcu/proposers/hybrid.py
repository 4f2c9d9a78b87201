"""A language model where it may help most, code everywhere else: a warm start, local edits, help when stuck."""

from collections.abc import Iterator, Sequence

from automcu.architecture import Task
from automcu.board import Budget
from automcu.finished import Deployed, Evaluated, Finished, Stopped
from automcu.llm.conversation import Conversation
from automcu.messages import RoundPlan
from automcu.proposal import Cost, Proposal, ProposalItem, Proposer
from automcu.proposers.forms import Mode
from automcu.proposers.llm import LLMProposer
from automcu.proposers.niches import accuracy
from automcu.proposers.starters import Starters
from automcu.spaces.space import Space


class HybridProposer(LLMProposer):
    """Asks the model for the first `warm_start` architectures, and for half a round once `patience` trained candidates
    in a row were no better than the best; all others come from `code`, which observes everything.

    Where it picks from menus, the first ones offer `starters` too, which should be those that `code` begins with. While
    the model fails, `code` takes over its rounds too, see `LLMProposer`. What the model leaves open of a round, `code`
    fills.
    """

    name = "hybrid"

    def __init__(
        self,
        space: Space,
        conversation: Conversation,
        task: Task,
        budget: Budget,
        board_name: str,
        seed: int,
        code: Proposer,
        *,
        mode: Mode,
        cost: Cost,
        warm_start: int,
        patience: int,
        starters: Starters | None = None,
    ) -> None:
        given = space, conversation, task, budget, board_name, seed, code
        super().__init__(*given, mode=mode, cost=cost, starters=starters)
        self._code = code
        self._warm_start = warm_start
        self._patience = patience
        self._trained: set[int] = set()
        self._best = 0.0
        self._without_gain = 0

    def propose(self, count: int, plan: RoundPlan | None = None) -> Iterator[ProposalItem]:
        """Up to `count` architectures; see the class."""
        share = min(count, max(0, self._warm_start - len(self._seen)))
        if self._without_gain >= self._patience:
            share, self._without_gain = max(share, (count + 1) // 2), 0
        made = 0
        for item in super().propose(share, plan):
            made += isinstance(item, Proposal)
            yield item
        yield from self._by_code(self._code, count - made, plan)

    def observe(self, finished: Sequence[Finished]) -> None:
        """Goes to the model's next prompt and to `code`; what was trained tells whether the search is stuck."""
        super().observe(finished)
        for end in finished:
            if isinstance(end, Evaluated | Deployed | Stopped) and end.candidate.id not in self._trained:
                self._trained.add(end.candidate.id)
                better = accuracy(end) > self._best
                self._without_gain = 0 if better else self._without_gain + 1
                self._best = max(self._best, accuracy(end))
