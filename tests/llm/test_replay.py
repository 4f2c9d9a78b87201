"""A recorded conversation, replayed: the same replies, the same failures, a sentence about what was not recorded."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automcu.errors import LLMError
from automcu.exchange import Exchange
from automcu.llm.client import LLM, Completion, Message, TruncatedReply, UnseenRequest, UnusableReply, complete
from automcu.llm.conversation import Conversation, Transcript
from automcu.llm.replay import ReplayLLM
from automcu.llm.scripted import ScriptedLLM
from tests.builders import exchange
from tests.contracts.llm import QUESTION, SCHEMA, LLMContract

Kind = Literal["good", "truncated", "unusable", "down", "cancelled"]
KINDS: tuple[Kind, ...] = ("good", "truncated", "unusable", "down", "cancelled")


@dataclass(frozen=True)
class Turn:
    question: str
    kind: Kind
    reply: str


class Eventful:
    """A model to which one `Turn` after the other happens, as a provider's model would tell it."""

    model, temperature, seed = "provider/model", 0.8, 7

    def __init__(self, turns: Sequence[Turn]) -> None:
        self._turns = list(turns)

    def stream(
        self, messages: Sequence[Message], schema: Mapping[str, object], *, max_tokens: int
    ) -> Generator[str, None, Completion]:
        turn = self._turns.pop(0)
        yield from turn.reply
        # A fallback may have answered: the name that counts is the one in the completion.
        whole = Completion(turn.reply, "stop", "json", "other/fallback", 11, 5, 3, 0.002, 1.5)
        match turn.kind:
            case "truncated":
                raise TruncatedReply("cut off; allow more tokens", replace(whole, finish="length"))
            case "unusable":
                raise UnusableReply("no text; ask again", replace(whole, finish="content_filter"))
            case "down":
                raise LLMError("refused; start it")
        return whole


def talk(llm: LLM, turns: Sequence[Turn]) -> tuple[list[tuple[str, str]], tuple[Exchange, ...]]:
    """What a role hears, by the kind of what happened, and what is recorded of it."""
    conversation = Conversation("proposal", llm, Transcript(300), max_tokens=50)
    heard = []
    for turn in turns:
        stream = conversation.stream("Answer in JSON.", (Message("user", turn.question),), SCHEMA)
        text = ""
        try:
            for piece in stream:
                text += piece
                if turn.kind == "cancelled" and len(text) >= 2:
                    break
            stream.close()
            heard.append((text, "heard"))
        except LLMError as error:
            heard.append((text, f"{type(error).__name__}: {error}"))
    return heard, conversation.exchanges()


turns = st.builds(Turn, st.sampled_from("abc"), st.sampled_from(KINDS), st.text(min_size=2, max_size=3))
any_text = st.characters(codec=None)  # halves of surrogate pairs included, which a provider's JSON can hold
wild_turns = st.builds(Turn, st.sampled_from("abc"), st.sampled_from(KINDS), st.text(any_text, min_size=2, max_size=3))


class TestReplayLLM(LLMContract):
    def make(self, replies: list[str]) -> LLM:
        return ReplayLLM("proposal", [exchange(reply=reply) for reply in replies], strict=False)


@given(st.lists(st.one_of(turns, wild_turns), max_size=8))
def test_a_strict_replay_is_the_recorded_conversation(happened: list[Turn]) -> None:
    heard, recorded = talk(Eventful(happened), happened)
    again, recorded_again = talk(ReplayLLM("proposal", recorded, strict=True), happened)
    assert again == heard

    def lasting(one: Exchange) -> Exchange:  # how long a failing call took is measured anew
        return replace(one, date="", seconds=one.seconds if one.finish else 0.0)

    assert [*map(lasting, recorded_again)] == [*map(lasting, recorded)]


def test_the_same_request_gets_its_replies_in_the_order_of_recording() -> None:
    questions = ["a", "b", "a", "a"]
    happened = [Turn(q, "good", f"{q}{n}") for n, q in enumerate(questions)]
    recorded = talk_without_memory(ScriptedLLM([turn.reply for turn in happened]), questions)[1]
    replay = ReplayLLM("proposal", recorded, strict=True)
    assert talk_without_memory(replay, ["a", "a", "b", "a"])[0] == ["a0", "a2", "b1", "a3"]


def talk_without_memory(llm: LLM, questions: Sequence[str]) -> tuple[list[str], tuple[Exchange, ...]]:
    conversation = Conversation("proposal", llm, Transcript(0), max_tokens=50)
    return [conversation.ask("Answer.", q, SCHEMA) for q in questions], conversation.exchanges()


def test_an_unseen_request_gets_the_next_reply_until_none_is_left() -> None:
    recorded = talk_without_memory(ScriptedLLM(["a0", "b1", "c2"]), ["a", "b", "c"])[1]
    replay = ReplayLLM("proposal", recorded, strict=False)
    assert talk_without_memory(replay, ["b", "new", "newer"])[0] == ["b1", "a0", "c2"]
    with pytest.raises(LLMError, match="all 3 recorded exchanges of the proposal agent are used up; replay") as caught:
        talk_without_memory(replay, ["b"])
    assert not isinstance(caught.value, UnseenRequest)


def test_a_strict_replay_says_what_differs() -> None:
    recorded = talk_without_memory(ScriptedLLM(["a0"]), ["a"])[1]

    def said(messages: Sequence[Message], schema: Mapping[str, object] = SCHEMA, max_tokens: int = 50) -> str:
        with pytest.raises(UnseenRequest, match=r"; replay with .* or set llm\.strict=false") as caught:
            complete(ReplayLLM("proposal", recorded, strict=True), messages, schema, max_tokens=max_tokens)
        assert "\n" not in str(caught.value) and "of the proposal agent" in str(caught.value)
        return str(caught.value)

    same = Message("system", "Answer."), Message("user", "a")
    assert "its message 2 of 2 differs (user: 'b c')" in said((same[0], Message("user", "b\n c")))
    assert "its message 1 of 2 differs (system: 'Reply.')" in said((Message("system", "Reply."), same[1]))
    assert "its message 3 of 3 differs (assistant:" in said((*same, Message("assistant", "x" * 5_000)))
    assert len(said((*same, Message("assistant", "x" * 5_000)))) < 500
    assert "it has 1 messages, the recorded one 2" in said(same[:1])
    assert "another schema or another max_tokens" in said(same, max_tokens=51)
    assert "another schema or another max_tokens" in said(same, {})
    replay = ReplayLLM("proposal", recorded, strict=True)
    assert complete(replay, same, SCHEMA, max_tokens=50).text == "a0"
    with pytest.raises(UnseenRequest, match=r"request 2 .* 1 exchanges, all of them used up"):
        complete(replay, same, SCHEMA, max_tokens=50)


def test_a_role_of_which_nothing_was_recorded_is_down() -> None:
    with pytest.raises(LLMError, match="all 0 recorded exchanges of the training agent"):
        complete(ReplayLLM("training", [], strict=False), QUESTION, SCHEMA, max_tokens=50)
