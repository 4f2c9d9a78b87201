"""Scripted replies for agent roles: any JSON, valid answers, and rubbish."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

from automcu.exchange import Role
from automcu.llm.client import LLM, Message
from automcu.llm.conversation import Context, Conversation, Transcript
from automcu.llm.scripted import ScriptedLLM

_LEAVES: st.SearchStrategy[Any] = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JSON = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def replies(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[list[str]]:
    """Two replies, a first and one after repair: objects of `fields` with right or wrong values, whole, cut off or in
    prose; and anything else."""
    odd = st.fixed_dictionaries({}, optional={name: JSON for name in fields})
    mixed = st.tuples(st.fixed_dictionaries(fields), odd).map(lambda pair: json.dumps({**pair[0], **pair[1]}))
    whole = mixed | st.fixed_dictionaries(fields).map(json.dumps)
    cut = st.tuples(whole, st.integers(1, 40)).map(lambda pair: pair[0][: -pair[1]])
    fenced = whole.map(lambda text: f"Sure! Here it is:\n```json\n{text}\n```\nGood luck.")
    reply = whole | cut | fenced | JSON.map(json.dumps) | st.text(max_size=60)
    return st.lists(reply, max_size=2)


def conversation(
    role: Role, said: Sequence[str] | Callable[[Sequence[Message]], str] | LLM, context: Context | None = None
) -> Conversation:
    """One whose model says `said`; it remembers nothing unless `context` does."""
    llm = ScriptedLLM(said) if callable(said) or isinstance(said, Sequence) else said
    return Conversation(role, llm, context or Transcript(0), max_tokens=200)
