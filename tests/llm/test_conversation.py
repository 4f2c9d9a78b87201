"""A conversation with a model whose context is small: as much of earlier turns as it can read."""

from collections.abc import Generator, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automcu.exchange import TOO_LONG
from automcu.llm.client import Completion, Message, PromptTooLong, TruncatedReply
from automcu.llm.conversation import Conversation, Transcript
from automcu.llm.replay import ReplayLLM

SYSTEM = "s" * 100
REPLY = "r" * 10


class Narrow:
    """Has room for so many characters of prompt and reply, a token each; `heard` are the prompts that it answered."""

    model, temperature, seed = "narrow", None, None

    def __init__(self, room: int) -> None:
        self._room = room
        self.heard: list[Sequence[Message]] = []

    def stream(
        self, messages: Sequence[Message], schema: Mapping[str, object], *, max_tokens: int
    ) -> Generator[str, None, Completion]:
        used = sum(len(message.content) for message in messages)
        if used > self._room:
            raise PromptTooLong(f"{TOO_LONG} narrow ({used} tokens); use a model with a longer context")
        text = REPLY[: self._room - used]
        yield text
        cut = text != REPLY
        whole = Completion(text, "length" if cut else "stop", "schema", self.model, used, len(text), 0, None, 0.0)
        if cut:
            raise TruncatedReply("cut off; allow more tokens", whole)
        self.heard.append(messages)
        return whole


def talk(llm: Narrow | ReplayLLM, questions: Sequence[str]) -> tuple[Conversation, list[str]]:
    """What became of the questions, each of which is asked once more when its reply was cut off."""
    conversation = Conversation("training", llm, Transcript(1_000), max_tokens=50)
    ends = []
    for question in questions:
        for _ in range(2):
            try:
                ends.append(conversation.ask(SYSTEM, question, {}))
                break
            except (PromptTooLong, TruncatedReply) as error:
                ends.append(str(error))
                if isinstance(error, PromptTooLong):
                    break
    return conversation, ends


def test_forgets_the_oldest_of_what_the_model_has_no_room_for() -> None:
    llm = Narrow(295)
    conversation, ends = talk(llm, ["a" * 60, "b" * 60, "c" * 60, "d" * 60])
    assert ends == [REPLY] * 4
    shown = [[message.content[0] for message in prompt[1:] if message.role == "user"] for prompt in llm.heard]
    assert shown == [["a"], ["a", "b"], ["b", "c"], ["c", "d"]]
    assert sum(exchange.error.startswith(TOO_LONG) for exchange in conversation.exchanges()) == 1, "it has learned"


def test_makes_room_for_the_reply_too() -> None:
    llm = Narrow(235)
    _, ends = talk(llm, ["a" * 60, "b" * 60])
    assert ends == [REPLY, "cut off; allow more tokens", REPLY]


def test_a_first_reply_that_is_too_long_says_nothing_of_the_room_for_earlier_turns() -> None:
    llm = Narrow(295)
    _, ends = talk(llm, ["x" * 190, "a" * 60, "b" * 60])
    assert ends == [*["cut off; allow more tokens"] * 2, REPLY, REPLY]
    assert [len(prompt) for prompt in llm.heard] == [2, 4]


def test_a_question_that_is_too_long_by_itself_is_told() -> None:
    with pytest.raises(PromptTooLong, match="use a model with a longer context"):
        Conversation("training", Narrow(50), Transcript(1_000), max_tokens=50).ask(SYSTEM, "a", {})


@given(st.integers(50, 600), st.lists(st.integers(1, 120), max_size=8))
def test_ends_whatever_the_room_and_is_replayed(room: int, lengths: list[int]) -> None:
    questions = [chr(97 + number) * length for number, length in enumerate(lengths)]
    conversation, ends = talk(Narrow(room), questions)
    enough = [length for length in lengths if length + len(SYSTEM) + len(REPLY) <= room]
    assert sum(end == REPLY for end in ends) == len(enough), "what fits alone is answered, at the second try at most"
    exchanges = conversation.exchanges()
    assert talk(ReplayLLM("training", exchanges, strict=True), questions)[1] == ends
