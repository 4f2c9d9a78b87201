from pathlib import Path

import pytest

from automcu.errors import ConfigError
from automcu.llm.client import LLM, Message, complete
from automcu.llm.scripted import ScriptedLLM
from tests.contracts.llm import LLMContract


class TestScriptedLLM(LLMContract):
    def make(self, replies: list[str]) -> LLM:
        return ScriptedLLM(replies)


def test_a_policy_sees_the_messages() -> None:
    llm = ScriptedLLM(lambda messages: messages[-1].content.upper())
    assert complete(llm, [Message("user", "hello")], {}, max_tokens=1).text == "HELLO"
    assert llm.asked == [(Message("user", "hello"),)]


def test_replies_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "replies.json"
    path.write_text('["{}", "zwölf"]', encoding="utf-8")
    llm = ScriptedLLM.from_file(path)
    assert [complete(llm, [], {}, max_tokens=1).text for _ in range(2)] == ["{}", "zwölf"]


@pytest.mark.parametrize("content", [None, "", "{}", "[1]", '["a"', "[" * 100_000, "\xff"])
def test_an_unfit_file_is_refused_in_one_sentence(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "replies.json"
    if content is not None:
        path.write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"replies\.json.*;\s\S") as caught:
        ScriptedLLM.from_file(path)
    assert "\n" not in str(caught.value)
