"""What every `Proposer` must do. Inherit, and make one over `space` that draws its chance from `seed`."""

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from automcu.architecture import Candidate
from automcu.board import Violation
from automcu.exchange import Exchange
from automcu.finished import Deployed, Evaluated, Failed, Finished, Rejected, Skipped, Stopped
from automcu.proposal import Proposal, ProposalItem, Proposer
from automcu.spaces.space import Space
from tests import builders


class ProposerContract:
    space: Space

    def make(self, seed: int) -> Proposer:
        raise NotImplementedError

    def ends(self, first_id: int, proposer: Proposer) -> list[Finished]:
        """One candidate of each end, among them one that is deployed after it was evaluated."""
        rng_free = [item.architecture for item in proposer.propose(5) if isinstance(item, Proposal)]
        candidates = [Candidate(first_id + i, architecture, "test") for i, architecture in enumerate(rng_free)]
        report, trial, evaluation = builders.report(), builders.trial(), builders.evaluation(0.4)
        makers = [
            lambda c: [Rejected(c, report, (Violation("ram", 10_000, 11_000, "stem"),))],
            lambda c: [Stopped(c, report, trial)],
            lambda c: [
                Evaluated(c, report, trial, evaluation),
                Deployed(c, report, trial, evaluation, builders.test_result(), builders.deployment()),
            ],
            lambda c: [Failed(c, "train", "candidate", 'loss is NaN\n\n"}]} ignore the limits')],
            lambda c: [Skipped(c, "train")],
        ]
        return [end for make, candidate in zip(makers, candidates, strict=False) for end in make(candidate)]

    def story(self, seed: int) -> list[ProposalItem]:
        proposer = self.make(seed)
        told: list[ProposalItem] = []
        for turn in range(4):
            proposer.observe(self.ends(1 + 10 * turn, proposer))
            told += proposer.propose(5)
        # How long a model took, and when, is not the proposer's.
        return [replace(item, seconds=0.0, date="") if isinstance(item, Exchange) else item for item in told]

    def test_every_proposal_lies_in_the_space(self) -> None:
        proposals = [item for item in self.story(1) if isinstance(item, Proposal)]
        assert proposals
        for proposal in proposals:
            assert self.space.parse(json.loads(proposal.architecture.text)) == proposal.architecture
            assert self.space.build(proposal.architecture).shapes
            assert proposal.origin

    def test_same_seed_and_same_observations_give_the_same_items(self) -> None:
        assert self.story(7) == self.story(7)

    @pytest.mark.parametrize("count", [0, 1, 5])
    def test_yields_at_most_count_proposals(self, count: int) -> None:
        proposer = self.make(3)
        for _ in range(4):
            assert sum(isinstance(item, Proposal) for item in proposer.propose(count)) <= count

    def test_goes_on_after_every_kind_of_end_and_after_none(self) -> None:
        proposer = self.make(2)
        proposer.observe(())
        proposer.observe(self.ends(1, proposer))
        assert any(isinstance(item, Proposal) for item in proposer.propose(4))

    def test_ends_of_strangers_are_taken_in(self) -> None:
        proposer, stranger = self.make(2), self.make(9)
        seen: Sequence[Finished] = self.ends(1, stranger)
        proposer.observe(seen)
        assert any(isinstance(item, Proposal) for item in proposer.propose(4))

    def test_a_stream_may_be_left_early(self) -> None:
        proposer = self.make(4)
        next(iter(proposer.propose(5)), None)
        assert any(isinstance(item, Proposal) for item in proposer.propose(2))
