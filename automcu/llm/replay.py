"""Language models that give the replies of a recorded run: the same search again, without a network or a key."""

from collections import defaultdict, deque
from collections.abc import Generator, Iterable, Mapping, Sequence

from automcu.errors import LLMError
from automcu.exchange import TOO_LONG, Exchange, Role
from automcu.llm.client import (
    LLM,
    Completion,
    Level,
    Message,
    PromptTooLong,
    TruncatedReply,
    UnseenRequest,
    UnusableReply,
    message_hashes,
    request_sha256,
)
from automcu.llm.scripted import PIECE_CHARS

_LEVELS: Mapping[str, Level] = {"schema": "schema", "json": "json", "prompt": "prompt"}
_SHOWN_CHARS = 120


class ReplayLLM:
    """Answers `role` from the `exchanges` that were recorded of it.

    A request that was recorded gets the reply it got then, or fails as it did then; one that was recorded several times
    gets the replies in the order of recording. Any other request gets the first reply not given yet, or, when
    `strict`, raises `UnseenRequest`. Without a reply left the model is down: `LLMError`.
    """

    def __init__(self, role: Role, exchanges: Iterable[Exchange], *, strict: bool) -> None:
        self._role = role
        self._left = dict(enumerate(exchanges))
        self._strict = strict
        self._count = len(self._left)
        self._asked = 0
        self._by_request: defaultdict[str, deque[int]] = defaultdict(deque)
        for number, exchange in self._left.items():
            self._by_request[exchange.request_sha256].append(number)
        self.model = "replay"
        self.temperature: float | None = None
        self.seed: int | None = None
        if self._left:
            self._be(self._left[0])

    @property
    def used_up(self) -> bool:
        """Whether all replies have been given."""
        return not self._left

    def stream(
        self, messages: Sequence[Message], schema: Mapping[str, object], *, max_tokens: int
    ) -> Generator[str, None, Completion]:
        """The recorded reply; see `LLM.stream`."""
        self._asked += 1
        recorded = self._take(messages, request_sha256(messages, schema, max_tokens))
        self._be(recorded)
        for start in range(0, len(recorded.reply), PIECE_CHARS):
            yield recorded.reply[start : start + PIECE_CHARS]
        completion = Completion(
            text=recorded.reply,
            finish=recorded.finish,
            level=_LEVELS.get(recorded.level, "prompt"),
            model=recorded.model,
            tokens_in=recorded.tokens_in,
            tokens_out=recorded.tokens_out,
            tokens_cached=recorded.tokens_cached,
            usd=recorded.usd,
            seconds=recorded.seconds,
            date=recorded.date,
        )
        if not recorded.error:
            return completion
        if not recorded.finish:  # no whole reply came, or nobody waited for it
            raise (PromptTooLong if recorded.error.startswith(TOO_LONG) else LLMError)(recorded.error)
        kind = TruncatedReply if recorded.finish == "length" else UnusableReply
        raise kind(recorded.error, completion)

    def _be(self, recorded: Exchange) -> None:
        """Pass for the model that `recorded` came from: with fallbacks it is not always the same."""
        self.model, self.temperature, self.seed = recorded.model, recorded.temperature, recorded.seed

    def _take(self, messages: Sequence[Message], sha256: str) -> Exchange:
        same = self._by_request[sha256]
        while same:
            number = same.popleft()
            if number in self._left:
                return self._left.pop(number)
        if self._strict:
            raise UnseenRequest(
                f"request {self._asked} of the {self._role} agent is not in the recorded run: "
                f"{self._difference(messages)}; replay with the recorded run's settings, code and order of events "
                "(cluster=inline), or set llm.strict=false"
            )
        if not self._left:
            raise LLMError(
                f"all {self._count} recorded exchanges of the {self._role} agent are used up; replay a longer run or "
                "use another LLM"
            )
        return self._left.pop(min(self._left))

    def _difference(self, messages: Sequence[Message]) -> str:
        """What sets a request apart from the recorded one that would have been next."""
        if not self._left:
            return f"it has {self._count} exchanges, all of them used up"
        asked, recorded = message_hashes(messages), self._left[min(self._left)].message_hashes
        for index, message in enumerate(messages):
            if recorded[index : index + 1] != asked[index : index + 1]:
                text = " ".join(message.content.split())
                shown = text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]} ..."
                return f"its message {index + 1} of {len(messages)} differs ({message.role}: {shown!r})"
        if len(recorded) > len(messages):
            return f"it has {len(messages)} messages, the recorded one {len(recorded)}"
        return "it asks for another schema or another max_tokens"


class Resumed:
    """Goes on where a recorded talk of `role` stopped: the replies of `exchanges` first, for the same requests only
    (else `UnseenRequest`), and then those of `llm`."""

    def __init__(self, role: Role, exchanges: Sequence[Exchange], llm: LLM) -> None:
        self._recorded = ReplayLLM(role, exchanges, strict=True)
        self._llm = llm

    @property
    def _now(self) -> LLM:
        return self._llm if self._recorded.used_up else self._recorded

    @property
    def model(self) -> str:
        """See `LLM`."""
        return self._now.model

    @property
    def temperature(self) -> float | None:
        """See `LLM`."""
        return self._now.temperature

    @property
    def seed(self) -> int | None:
        """See `LLM`."""
        return self._now.seed

    def stream(
        self, messages: Sequence[Message], schema: Mapping[str, object], *, max_tokens: int
    ) -> Generator[str, None, Completion]:
        """See `LLM.stream`."""
        return self._now.stream(messages, schema, max_tokens=max_tokens)
