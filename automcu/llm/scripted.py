"""A language model that gives the replies it was told to give: for tests, demonstrations and dry runs."""

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path

from automcu.errors import ConfigError, LLMError
from automcu.llm.client import Completion, Message

PIECE_CHARS = 64
Policy = Callable[[Sequence[Message]], str]


class ScriptedLLM:
    """Gives `replies` in their order and then raises `LLMError`; or asks a function of the messages for each reply.

    `asked` holds every conversation it was shown. It counts no tokens and costs nothing that could be known. A reply
    comes in pieces of `PIECE_CHARS` characters.
    """

    temperature = None
    seed = None

    def __init__(self, replies: Sequence[str] | Policy, model: str = "scripted") -> None:
        self.model = model
        self.asked: list[tuple[Message, ...]] = []
        self._replies = replies

    @classmethod
    def from_file(cls, path: str | Path) -> "ScriptedLLM":
        """The replies of a JSON file that holds a list of strings. Raises `ConfigError` when it does not."""
        try:
            replies = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(
                f"cannot read the scripted replies {path} ({error.strerror}); correct the path"
            ) from error
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{path} is no JSON file of replies ({error}); write a list of strings") from error
        if not isinstance(replies, list) or not all(isinstance(reply, str) for reply in replies):
            raise ConfigError(f"{path} does not hold a list of strings; write each reply as one string")
        return cls(replies)

    def stream(
        self, messages: Sequence[Message], schema: Mapping[str, object], *, max_tokens: int
    ) -> Generator[str, None, Completion]:
        """The next reply; see `LLM.stream`."""
        turn = len(self.asked)
        self.asked.append(tuple(messages))
        if callable(self._replies):
            text = self._replies(messages)
        elif turn < len(self._replies):
            text = self._replies[turn]
        else:
            raise LLMError(f"all {turn} scripted replies are used up; add replies to the script or use another LLM")
        for start in range(0, len(text), PIECE_CHARS):
            yield text[start : start + PIECE_CHARS]
        return Completion(text, "stop", "prompt", self.model, 0, 0, 0, None, 0.0)
