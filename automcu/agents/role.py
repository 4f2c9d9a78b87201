"""What the agent roles have in common: one typed answer from a model, and code that decides when none comes.

A model's reply is read as one JSON object, checked against the message that is wanted and against the role's rules,
and handed back once for repair. Whatever still is no answer then, the code's decision stands; the user is told when
that begins and when it is over.
"""

from collections.abc import Callable, Mapping
from typing import Any

from automcu.errors import LLMError
from automcu.exchange import Exchange
from automcu.llm.client import EndsTheRun, TruncatedReply
from automcu.llm.client import Message as Turn
from automcu.llm.conversation import Conversation
from automcu.llm.reply import MalformedReply, json_object
from automcu.messages import M, MalformedMessage, adapter, decode, encode, typed
from automcu.proposal import Notice

REPLY_SHOWN = 2_000
"""Characters of a refused reply that are handed back with the reason."""
REASON_SHOWN = 300
PATIENCE = 3
"""Failures in a row after which the model is asked for only every `REST + 1`-th decision: one that is down may take its
whole deadline each time."""
REST = 4


def answer_schema(
    kind: type, given: Mapping[str, object], narrowed: Mapping[str, Mapping[str, object]]
) -> dict[str, Any]:
    """JSON schema of the part of a `kind` that a model fills: all fields but those `given`, all of them required, and
    nothing else. `narrowed` adds to the schema of a field."""
    properties = {
        name: {key: value for key, value in {**field, **narrowed.get(name, {})}.items() if key != "title"}
        for name, field in adapter(kind).json_schema()["properties"].items()
        if name not in given
    }
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def read_answer(
    text: str, kind: type[M], wanted: tuple[str, ...], given: Mapping[str, object], refusal: Callable[[M], str]
) -> M:
    """The `kind` in a reply that should hold the fields `wanted`, with those `given` added. Raises `MalformedReply`,
    also for an answer that `refusal` has something against."""
    found = json_object(text, wanted[0])
    if found.keys() != set(wanted):
        raise MalformedReply(f"the keys must be exactly {', '.join(wanted)}; leave none out and add none")
    try:
        answer = typed(kind, {**found, **given})
    except MalformedMessage as error:
        raise MalformedReply(str(error)) from None
    if reason := refusal(answer):
        raise MalformedReply(reason)
    return answer


def ask_typed(
    conversation: Conversation,
    system: str,
    question: str,
    kind: type[M],
    *,
    given: Mapping[str, object],
    narrowed: Mapping[str, Mapping[str, object]],
    refusal: Callable[[M], str],
) -> M:
    """What the model of `conversation` answers, asked a second time when its reply is cut off or refused.

    Raises `LLMError` when it gives no valid answer then, and what ends the run.
    """
    schema = answer_schema(kind, given, narrowed)
    wanted = tuple(schema["required"])
    turns: tuple[Turn, ...] = (Turn("user", question),)
    max_tokens = conversation.max_tokens
    trouble: LLMError
    for _ in range(2):
        try:
            text = _whole(conversation, system, turns, schema, max_tokens)
        except TruncatedReply as error:
            trouble, max_tokens = error, 2 * max_tokens
            continue
        try:
            return read_answer(text, kind, wanted, given, refusal)
        except MalformedReply as error:
            trouble = error
            refused = f"Refused: {error}. Answer again with one JSON object and nothing else."
            turns = (turns[0], Turn("assistant", text[:REPLY_SHOWN]), Turn("user", refused))
    raise trouble


def _whole(
    conversation: Conversation,
    system: str,
    turns: tuple[Turn, ...],
    schema: Mapping[str, object],
    max_tokens: int,
) -> str:
    stream = conversation.stream(system, turns, schema, max_tokens)
    while True:
        try:
            next(stream)
        except StopIteration as end:
            return str(end.value.text)


class Role:
    """An agent role with a conversation of its own; None leaves every decision to code."""

    def __init__(self, conversation: Conversation | None) -> None:
        self._conversation = conversation
        self._notices: list[Notice] = []
        self._failures = 0
        self._rest = 0

    def exchanges(self) -> tuple[Exchange, ...]:
        """The exchanges with the model since the last time this was asked."""
        return self._conversation.exchanges() if self._conversation else ()

    def notices(self) -> tuple[Notice, ...]:
        """What the user should read, since the last time this was asked."""
        taken = tuple(self._notices)
        self._notices.clear()
        return taken

    def _decide(
        self,
        system: str,
        question: str,
        by_code: M,
        *,
        given: tuple[str, ...] = (),
        narrowed: Mapping[str, Mapping[str, object]] | None = None,
        refusal: Callable[[M], str] = lambda answer: "",
    ) -> M:
        """The model's answer, or `by_code`, which also has the fields that are `given` to the model's answer. It has
        been through its form on the wire either way. Raises what ends the run (`EndsTheRun`)."""
        decided = by_code
        if self._rest:
            self._rest -= 1
        elif self._conversation is not None:
            role, model = self._conversation.role, self._conversation.llm.model
            try:
                decided = ask_typed(
                    self._conversation,
                    system,
                    question,
                    type(by_code),
                    given={name: getattr(by_code, name) for name in given},
                    narrowed=narrowed or {},
                    refusal=refusal,
                )
            except EndsTheRun:
                raise
            except LLMError as error:
                if not self._failures:
                    self._notices.append(
                        Notice(
                            f"The LLM {model} of the {role} agent gave no usable answer: "
                            f"{str(error)[:REASON_SHOWN].rstrip('. ')}. Code decides in its place until it does."
                        )
                    )
                self._failures += 1
                self._rest = REST if self._failures >= PATIENCE else 0
            else:
                if self._failures:
                    self._notices.append(Notice(f"The LLM {model} of the {role} agent answers again."))
                self._failures = 0
        message: M = decode(encode(decided))  # type: ignore[assignment]
        return message
