import json
import random

import pytest

from automcu.architecture import Candidate, Task
from automcu.board import Violation
from automcu.errors import LLMError
from automcu.exchange import Exchange
from automcu.finished import Failed, Rejected
from automcu.llm.client import Message, TruncatedReply
from automcu.llm.conversation import Conversation, Transcript
from automcu.llm.scripted import ScriptedLLM
from automcu.proposal import InvalidProposal, Proposal, Proposer
from automcu.proposers.genius import MEMORY_CHARS, GeniusProposer
from automcu.spaces.nasbench201 import NasBench201Space
from tests import builders
from tests.contracts.proposer import ProposerContract
from tests.proposers.test_local_search import ended

SPACE = NasBench201Space((32, 32, 3), 10)
TASK = Task("images", "hidden", (32, 32, 3), 10, 'Tell ten "kinds" of images apart.')


def reply(network: object) -> str:
    return json.dumps({"reason": "3x3 convolutions see more", "network": network})


def genius(llm: ScriptedLLM) -> GeniusProposer:
    return GeniusProposer(SPACE, Conversation("proposal", llm, Transcript(MEMORY_CHARS), max_tokens=500), TASK)


def drawn(seed: int) -> dict[str, str]:
    return json.loads(SPACE.random(random.Random(seed)).text)


class TestGenius(ProposerContract):
    space = SPACE

    def make(self, seed: int) -> Proposer:
        def policy(messages: list[Message]) -> str:
            return reply(drawn(100 * seed + len(messages)))

        return genius(ScriptedLLM(policy))


def asked_last(llm: ScriptedLLM) -> str:
    return llm.asked[-1][-1].content


def test_each_question_tells_what_became_of_the_last_answer() -> None:
    replies = [reply(drawn(0)), reply(drawn(1)), reply(drawn(1)), "no idea", reply({"edge_0_1": "x"}), reply(drawn(2))]
    llm = ScriptedLLM(replies)
    proposer = genius(llm)

    def one() -> Proposal | InvalidProposal:
        exchange, item = proposer.propose(4)
        assert isinstance(exchange, Exchange) and isinstance(item, Proposal | InvalidProposal)
        return item

    first = one()
    system = llm.asked[0][0].content
    assert isinstance(first, Proposal) and "edge_0_1" in system and "3x3 convolution" in system
    assert "Propose the first" in asked_last(llm) and r"Tell ten \"kinds\" of" in system
    proposer.observe([ended(1, first.architecture, 0.9123)])
    second = one()
    assert "accuracy of 91.23 %" in asked_last(llm)
    assert isinstance(second, Proposal)
    proposer.observe(
        [Rejected(Candidate(2, second.architecture, ""), builders.report(), (Violation("ram", 10, 20, "cell"),))]
    )
    again = one()
    assert again == second and "does not fit" in asked_last(llm)
    assert isinstance(one(), InvalidProposal) and "tried before" in asked_last(llm)
    assert isinstance(one(), InvalidProposal) and "no valid network" in asked_last(llm)
    third = one()
    assert isinstance(third, Proposal)
    proposer.observe([Failed(Candidate(3, third.architecture, ""), "train", "candidate", "loss is NaN")])
    with pytest.raises(LLMError, match="used up"):
        list(proposer.propose(1))
    assert "could not be trained" in asked_last(llm)
    # All that was said before is in the conversation: 5 answers that could be read, and the one that could not.
    assert [message.role for message in llm.asked[-1]] == ["system", *["user", "assistant"] * 6, "user"]


def test_after_an_answer_that_was_cut_off_it_still_knows_what_it_does() -> None:
    cut = [True, False, True, False]

    class Cutting(ScriptedLLM):
        def stream(self, messages, schema, *, max_tokens):  # type: ignore[no-untyped-def]
            completion = yield from super().stream(messages, schema, max_tokens=max_tokens)
            if cut.pop(0):
                raise TruncatedReply("the reply was cut off", completion)
            return completion

    llm = Cutting([reply(drawn(seed)) for seed in range(4)])
    proposer = genius(llm)
    _, invalid = proposer.propose(1)
    assert isinstance(invalid, InvalidProposal) and "cut off" in invalid.reason
    _, item = proposer.propose(1)
    assert isinstance(item, Proposal) and "edge_0_1" in llm.asked[1][0].content
    assert "cut off" in asked_last(llm) and "Propose the first" in asked_last(llm)
    proposer.observe([ended(1, item.architecture, 0.9123)])
    list(proposer.propose(1))
    list(proposer.propose(1))
    assert "accuracy of 91.23 %" in asked_last(llm) and "cut off" in asked_last(llm)


def test_nothing_is_asked_where_nothing_is_wanted() -> None:
    llm = ScriptedLLM([])
    assert list(genius(llm).propose(0)) == [] and not llm.asked
