"""Any proposer, kept in the dark: what feedback is worth is the difference."""

from collections.abc import Iterator, Sequence

from automcu.finished import Finished
from automcu.messages import RoundPlan
from automcu.proposal import ProposalItem, Proposer


class WithoutFeedback:
    """Proposes as `proposer` does, which never learns what became of a proposal."""

    def __init__(self, proposer: Proposer) -> None:
        self._proposer = proposer
        self.name = proposer.name

    def propose(self, count: int, plan: RoundPlan | None = None) -> Iterator[ProposalItem]:
        """See `Proposer`."""
        return self._proposer.propose(count, plan)

    def observe(self, finished: Sequence[Finished]) -> None:
        """Nothing is passed on."""
