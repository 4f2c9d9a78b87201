"""What every `LLM` must do. Inherit, and make one that gives `replies` in order and then fails."""

import pytest

from automcu.errors import LLMError
from automcu.llm.client import LLM, Message, complete

SCHEMA = {"type": "object", "properties": {"answer": {"type": "integer"}}, "required": ["answer"]}
QUESTION = (Message("system", "Answer in JSON."), Message("user", "What is 6 x 7? Ünïcode ✓ 字"))


class LLMContract:
    def make(self, replies: list[str]) -> LLM:
        raise NotImplementedError

    def test_gives_the_replies_in_order(self) -> None:
        replies = ['{"answer": 42}', "rubbish", "Antwort: zweiundvierzig — 四十二 \U0001f600"]
        llm = self.make(replies)
        assert [complete(llm, QUESTION, SCHEMA, max_tokens=100).text for _ in replies] == replies

    def test_a_completion_holds_plausible_facts(self) -> None:
        llm = self.make(["{}"])
        completion = complete(llm, QUESTION, SCHEMA, max_tokens=100)
        assert completion.model == llm.model
        assert completion.finish == "stop"
        assert completion.level in ("schema", "json", "prompt")
        assert completion.tokens_in >= 0 and completion.tokens_out >= 0
        assert completion.usd is None or completion.usd > 0
        assert completion.seconds >= 0

    def test_fails_with_a_typed_error_that_ends_in_a_remedy(self) -> None:
        llm = self.make([])
        with pytest.raises(LLMError, match=r";\s\S"):
            complete(llm, QUESTION, SCHEMA, max_tokens=100)

    def test_the_pieces_are_the_text(self) -> None:
        text = '{"answer": 42, "why": "' + "Ünïcode ✓ 字 " * 40 + '"}'
        stream = self.make([text]).stream(QUESTION, SCHEMA, max_tokens=100)
        pieces = []
        while True:
            try:
                pieces.append(next(stream))
            except StopIteration as end:
                completion = end.value
                break
        assert "".join(pieces) == completion.text == text

    def test_a_call_may_be_cancelled(self) -> None:
        llm = self.make(["first " * 100, "second"])
        stream = llm.stream(QUESTION, SCHEMA, max_tokens=100)
        next(stream)
        stream.close()
        assert complete(llm, QUESTION, SCHEMA, max_tokens=100).text == "second"
