"""The client against a real HTTP endpoint in a thread. The only test file that imports litellm: it takes seconds."""

import gc
import json
import os
import pickle
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from automcu.errors import LLMError
from automcu.llm.client import (
    LLM,
    EndpointDown,
    KeyRefused,
    Message,
    PromptTooLong,
    RateLimited,
    TruncatedReply,
    UnusableReply,
    complete,
)
from automcu.llm.litellm_client import LiteLLMClient, redacted
from tests.contracts.llm import QUESTION, SCHEMA, LLMContract

CANARY = "sk-canary-0123456789abcdef"
Behaviour = Callable[["Handler", dict[str, Any]], None]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65_536  # header and body in one packet: no wait for acknowledgements
    server: "Endpoint"

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, dict(self.headers), request))
        script = self.server.script
        (script.pop(0) if script else status(500))(self, request)

    def send(self, code: int, body: bytes, **headers: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def events(self, body: dict[str, Any], pieces: list[str]) -> None:
        """The document `body` as a stream of events."""
        finish = body["choices"][0]["finish_reason"]
        choices: list[list[dict[str, Any]]] = [
            [{"index": 0, "finish_reason": None, "delta": {"role": "assistant", "content": piece}}] for piece in pieces
        ]
        choices.append([{"index": 0, "finish_reason": finish, "delta": {}}])
        chunks = [{**body, "object": "chat.completion.chunk", "usage": None, "choices": choice} for choice in choices]
        chunks.append({**chunks[0], "choices": [], "usage": body["usage"]})
        lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
        self.send(200, "".join([*lines, "data: [DONE]\n\n"]).encode())

    def log_message(self, *arguments: object) -> None:
        pass


class Endpoint(ThreadingHTTPServer):
    """Answers each request with the next behaviour of `script`, then with status 500."""

    daemon_threads = True
    script: list[Behaviour]
    requests: list[tuple[str, dict[str, str], dict[str, Any]]]
    released: threading.Event
    hung_up: threading.Event


def answer(text: str | None, finish: str = "stop") -> Behaviour:
    def behave(handler: Handler, request: dict[str, Any]) -> None:
        words = sum(len(message["content"].split()) for message in request["messages"])
        body = {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": request["model"],
            "choices": [{"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text}}],
            "usage": {"prompt_tokens": words, "completion_tokens": 3, "total_tokens": words + 3},
        }
        if request.get("stream"):
            handler.events(body, [text[:7], text[7:]] if text else [])
        else:
            handler.send(200, json.dumps(body).encode())

    return behave


def whole(text: str) -> Behaviour:
    """An endpoint that knows nothing of streams."""
    return lambda handler, request: answer(text)(handler, {**request, "stream": False})


def status(code: int, message: str = "no", **headers: str) -> Behaviour:
    def behave(handler: Handler, request: dict[str, Any]) -> None:
        key = handler.headers.get("Authorization", "")
        handler.send(code, json.dumps({"error": {"message": f"{message} {key}", "type": "e"}}).encode(), **headers)

    return behave


def raw(body: bytes) -> Behaviour:
    return lambda handler, request: handler.send(200, body)


def hang(handler: Handler, request: dict[str, Any]) -> None:
    handler.server.released.wait(20)


def dribble(handler: Handler, request: dict[str, Any]) -> None:
    """One byte every 50 ms: each arrives well within the read timeout."""
    handler.send_response(200)
    handler.send_header("Content-Length", "10000")
    handler.end_headers()
    try:
        while not handler.server.released.wait(0.05):
            handler.wfile.write(b" ")
            handler.wfile.flush()
    except OSError:
        pass


def event(text: str | None, finish: str | None = None, **more: Any) -> bytes:
    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "tiny",
             "choices": [{"index": 0, "finish_reason": finish, "delta": {"content": text}}], **more}  # fmt: skip
    return f"data: {json.dumps(chunk)}\n\n".encode()


def begin(handler: Handler, *events: bytes) -> None:
    """The head of a stream whose end only a closed connection can show, and its first `events`."""
    handler.close_connection = True
    handler.send_response(200)
    handler.send_header("Content-Type", "text/event-stream")
    handler.end_headers()
    handler.wfile.write(b"".join(events))
    handler.wfile.flush()


def stream_of(*events: bytes) -> Behaviour:
    return lambda handler, request: begin(handler, *events)


def waiting(*events: bytes) -> Behaviour:
    """`events`, and then nothing until the other side hangs up."""

    def behave(handler: Handler, request: dict[str, Any]) -> None:
        begin(handler, *events)
        handler.connection.settimeout(5)
        if handler.connection.recv(1) == b"":
            handler.server.hung_up.set()

    return behave


def keep_alive(handler: Handler, request: dict[str, Any]) -> None:
    """What DeepSeek sends while a request is in its queue."""
    begin(handler)
    try:
        while not handler.server.released.wait(0.05):
            handler.wfile.write(b": keep-alive\n\n")
            handler.wfile.flush()
    except OSError:
        handler.server.hung_up.set()


def reset(handler: Handler, request: dict[str, Any]) -> None:
    """One piece, and the connection is reset."""
    begin(handler, event('{"answer"'))
    time.sleep(0.1)  # or the piece goes down with the connection
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(handler.connection.detach())


def drop(handler: Handler, request: dict[str, Any]) -> None:
    handler.close_connection = True


@pytest.fixture(scope="module")
def server() -> Iterator[Endpoint]:
    endpoint = Endpoint(("127.0.0.1", 0), Handler)
    endpoint.released = threading.Event()
    thread = threading.Thread(target=endpoint.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield endpoint
    endpoint.released.set()
    endpoint.shutdown()
    endpoint.server_close()


@pytest.fixture
def endpoint(server: Endpoint) -> Endpoint:
    server.script, server.requests, server.hung_up = [], [], threading.Event()
    return server


def client(endpoint: Endpoint, slept: list[float] | None = None, **options: Any) -> LiteLLMClient:
    base = f"http://127.0.0.1:{endpoint.server_port}/v1"
    sleep = (slept if slept is not None else []).append
    return LiteLLMClient("openai/tiny", **{"api_base": base, "sleep": sleep, "timeout_s": 5.0, **options})


def ask(llm: LLM, max_tokens: int = 100) -> str:
    return complete(llm, QUESTION, SCHEMA, max_tokens=max_tokens).text


class TestLiteLLMClient(LLMContract):
    @pytest.fixture(autouse=True)
    def serve(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    def make(self, replies: list[str]) -> LLM:
        self.endpoint.script = [answer(reply) for reply in replies]
        return client(self.endpoint)


def test_the_request_carries_what_was_asked_and_the_count_of_tokens_comes_back(endpoint: Endpoint) -> None:
    endpoint.script = [answer("{}")]
    completion = complete(client(endpoint, temperature=0.3, seed=11), QUESTION, SCHEMA, max_tokens=77)
    path, headers, request = endpoint.requests[0]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer none"
    assert request["messages"] == [{"role": m.role, "content": m.content} for m in QUESTION]
    assert (request["model"], request["max_tokens"], request["temperature"], request["seed"]) == ("tiny", 77, 0.3, 11)
    assert request["response_format"]["json_schema"]["schema"] == SCHEMA
    words = sum(len(message.content.split()) for message in QUESTION)
    assert (completion.tokens_in, completion.tokens_out, completion.usd) == (words, 3, None)
    assert completion.level == "schema"


def test_goes_down_the_ladder_once_and_remembers(endpoint: Endpoint) -> None:
    def picky(handler: Handler, request: dict[str, Any]) -> None:
        form = request.get("response_format", {}).get("type", "none")
        (answer("{}") if form == "none" else status(422 if form == "json_object" else 400, f"{form}?"))(
            handler, request
        )

    endpoint.script = [picky] * 5
    llm = client(endpoint)
    assert complete(llm, QUESTION, SCHEMA, max_tokens=9).level == "prompt"
    assert complete(llm, QUESTION, SCHEMA, max_tokens=9).level == "prompt"
    forms = [request.get("response_format", {}).get("type") for _, _, request in endpoint.requests]
    assert forms == ["json_schema", "json_object", None, None]
    assert '"required":["answer"]' in endpoint.requests[-1][2]["messages"][-1]["content"]


def test_a_bad_request_for_another_reason_leaves_the_level_alone(endpoint: Endpoint) -> None:
    endpoint.script = [status(400)] * 3 + [answer("{}")]
    llm = client(endpoint)
    with pytest.raises(LLMError):
        ask(llm)
    assert complete(llm, QUESTION, SCHEMA, max_tokens=9).level == "schema"


def test_waits_as_long_as_a_rate_limit_says(endpoint: Endpoint) -> None:
    slept: list[float] = []
    endpoint.script = [status(429, Retry_After="3"), answer("ok")]
    assert ask(client(endpoint, slept)) == "ok"
    assert slept == [3.0]


def test_server_errors_are_retried_with_growing_jittered_pauses_and_then_given_up(endpoint: Endpoint) -> None:
    slept: list[float] = []
    endpoint.script = [status(500), status(503), drop, raw(b"<html>"), raw(b"<html>"), answer("late")]
    with pytest.raises(LLMError, match="api_base"):
        ask(client(endpoint, slept))
    assert len(endpoint.requests) == 5  # four attempts, the last asked for the whole as well
    assert len(slept) == 3 and 0.5 <= slept[0] <= 1 <= slept[1] <= 2 <= slept[2] <= 4
    assert ask(client(endpoint)) == "late"


@pytest.mark.parametrize(
    ("code", "message", "remedy"),
    [
        (401, "bad key", "key"),
        (402, "pay", "account"),
        (404, "no such model", "llm.model"),
        (429, "insufficient_quota", "quota"),
    ],
)
def test_what_cannot_pass_is_not_retried(endpoint: Endpoint, code: int, message: str, remedy: str) -> None:
    endpoint.script = [status(code, message), answer("never")]
    with pytest.raises(LLMError, match=f";.*{remedy}"):
        ask(client(endpoint))
    assert len(endpoint.requests) == 1


def test_a_rate_limit_longer_than_the_deadline_is_not_waited_for(endpoint: Endpoint) -> None:
    slept: list[float] = []
    endpoint.script = [status(429, Retry_After="3600")]
    with pytest.raises(LLMError, match="quota"):
        ask(client(endpoint, slept))
    assert slept == []


@pytest.mark.parametrize("behaviour", [hang, dribble])
def test_an_endpoint_that_never_ends_is_given_up_in_time(endpoint: Endpoint, behaviour: Behaviour) -> None:
    endpoint.script = [behaviour] * 2
    llm = client(endpoint, timeout_s=0.4, deadline_s=1.2, attempts=2, sleep=time.sleep)
    ask_began = time.monotonic()
    with pytest.raises(LLMError, match="timeout_s"):
        ask(llm)
    assert time.monotonic() - ask_began < 2.5


def test_the_finish_reason_is_looked_at_before_the_text(endpoint: Endpoint) -> None:
    endpoint.script = [answer('{"answer": 4', "length"), answer(None), answer("  ", "content_filter")]
    llm = client(endpoint)
    with pytest.raises(TruncatedReply, match="max_tokens") as caught:
        ask(llm)
    assert caught.value.completion.text == '{"answer": 4'
    assert caught.value.completion.tokens_out == 3
    for _ in range(2):
        with pytest.raises(UnusableReply, match="no text"):
            ask(llm)
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value) and again.completion == caught.value.completion


@pytest.mark.parametrize("body", [b'{"id": "1", "choices": []}', b"{}", b'"text"', b"\xff\x00", b"[" * 50_000, b""])
def test_a_response_that_is_none_is_a_typed_error(endpoint: Endpoint, body: bytes) -> None:
    endpoint.script = [raw(body)] * 4
    with pytest.raises(LLMError):
        ask(client(endpoint))


def test_nobody_listens() -> None:
    llm = LiteLLMClient("openai/tiny", api_base="http://127.0.0.1:9/v1", sleep=lambda seconds: None)
    with pytest.raises(LLMError, match="check that the endpoint") as caught:
        ask(llm)
    assert "\n" not in str(caught.value) and "Traceback" not in str(caught.value)


@pytest.mark.parametrize("model", ["", "rubbish", "openai/", "no_such_provider/x"])
def test_a_model_that_litellm_does_not_know_is_a_typed_error(model: str) -> None:
    with pytest.raises(LLMError, match="llm"):
        ask(LiteLLMClient(model, sleep=lambda seconds: None, timeout_s=2.0, deadline_s=3.0))


def test_the_key_goes_to_its_endpoint_and_nowhere_else(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_LLM_KEY", CANARY)
    endpoint.script = [status(400, f"bad ?key={CANARY}")] * 3
    with pytest.raises(LLMError) as caught:
        ask(client(endpoint, key_variable="MY_LLM_KEY"))
    assert endpoint.requests[0][1]["Authorization"] == f"Bearer {CANARY}"
    assert CANARY not in repr(caught.value) and caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    monkeypatch.delenv("MY_LLM_KEY")
    with pytest.raises(LLMError, match="export it"):
        ask(client(endpoint, key_variable="MY_LLM_KEY"))
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    endpoint.script = [answer("ok")]
    ask(client(endpoint))
    assert CANARY not in str(endpoint.requests[-1])


def test_redaction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "plainsecretvalue")
    text = f"a plainsecretvalue b {CANARY} https://x/y?key=AbC123&z=1 Bearer qwertyuiop"
    assert redacted(text) == "a [redacted] b [redacted] https://x/y?key=[redacted]&z=1 Bearer [redacted]"


def test_the_client_adds_little_to_a_call(endpoint: Endpoint) -> None:
    endpoint.script = [answer("{}")] * 21
    llm = client(endpoint)
    ask(llm)
    began = time.perf_counter()
    for _ in range(20):
        ask(llm)
    assert (time.perf_counter() - began) / 20 < 0.1  # about 10 ms on a quiet core, endpoint included


def test_messages_are_not_changed(endpoint: Endpoint) -> None:
    endpoint.script = [status(400), answer("{}")]
    messages = [Message("user", "hi")]
    complete(client(endpoint), messages, SCHEMA, max_tokens=9)
    assert messages == [Message("user", "hi")]


def test_pieces_come_before_the_reply_is_whole_and_a_stalled_one_is_given_up(endpoint: Endpoint) -> None:
    endpoint.script = [waiting(event('{"answer"')), answer("late")]
    stream = client(endpoint, timeout_s=0.5).stream(QUESTION, SCHEMA, max_tokens=9)
    assert next(stream) == '{"answer"'
    with pytest.raises(EndpointDown):
        next(stream)
    assert len(endpoint.requests) == 1  # what has begun is not begun again


def refusing_streams(code: int) -> Behaviour:
    def behave(handler: Handler, request: dict[str, Any]) -> None:
        (status(code, "stream is not supported") if request.get("stream") else whole("{}"))(handler, request)

    return behave


@pytest.mark.parametrize("behaviour", [whole("{}"), refusing_streams(400), refusing_streams(501)])
def test_an_endpoint_that_cannot_stream_is_asked_for_the_whole_from_then_on(
    endpoint: Endpoint, behaviour: Behaviour
) -> None:
    endpoint.script = [behaviour] * 3
    llm = client(endpoint)
    assert ask(llm) == ask(llm) == "{}"
    assert [bool(request.get("stream")) for _, _, request in endpoint.requests] == [True, False, False]
    assert llm.level == "schema"


ROUTES = ["openai/tiny", "deepseek/deepseek-v3.2"]  # litellm reaches them by two HTTP clients


@pytest.mark.parametrize("model", ROUTES)
def test_closing_hangs_up_at_once(endpoint: Endpoint, model: str) -> None:
    endpoint.script = [waiting(event('{"answer"'))]
    base = f"http://127.0.0.1:{endpoint.server_port}/v1"
    stream = LiteLLMClient(model, api_base=base).stream(QUESTION, SCHEMA, max_tokens=9)
    next(stream)
    stream.close()
    assert endpoint.hung_up.wait(1)


@pytest.mark.parametrize("model", ROUTES)
def test_an_endpoint_that_only_keeps_the_line_open_is_hung_up_on_and_not_asked_again(
    endpoint: Endpoint, model: str
) -> None:
    endpoint.script = [keep_alive]
    base = f"http://127.0.0.1:{endpoint.server_port}/v1"
    with pytest.raises(EndpointDown):
        ask(LiteLLMClient(model, api_base=base, timeout_s=0.3, attempts=1))
    assert endpoint.hung_up.wait(1)
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize("model", ROUTES)
def test_a_stream_that_cannot_be_read_is_closed_without_the_garbage_collector(endpoint: Endpoint, model: str) -> None:
    """If it were left to it: httpx could close it while it holds its own lock, and nobody could ask ever again."""
    endpoint.script = [waiting(b"data: [1, 2]\n\n")]
    base = f"http://127.0.0.1:{endpoint.server_port}/v1"
    gc.disable()
    try:
        with pytest.raises(LLMError):
            ask(LiteLLMClient(model, api_base=base, attempts=1))
        assert endpoint.hung_up.wait(1)
    finally:
        gc.enable()


def test_a_reply_that_breaks_off_is_not_taken_for_a_whole_one(endpoint: Endpoint) -> None:
    endpoint.script = [
        reset,
        stream_of(event("{"), b"data: {not json}\n\n"),
        stream_of(event("{"), b'data: {"error": {"message": "overloaded", "code": 503}}\n\n'),
        stream_of(event("{"), event(None, "content_filter"), b"data: [DONE]\n\n"),
    ]
    llm = client(endpoint)
    for kind in (EndpointDown, EndpointDown, EndpointDown, UnusableReply):
        stream = llm.stream(QUESTION, SCHEMA, max_tokens=9)
        assert next(stream)
        with pytest.raises(kind, match=r";\s\S"):
            next(stream)
    assert len(endpoint.requests) == 4
    endpoint.script = [stream_of(event('{"answer"'))]
    assert complete(llm, QUESTION, SCHEMA, max_tokens=9).finish == "unknown"


def test_a_count_below_nothing_gives_nothing_back(endpoint: Endpoint) -> None:
    usage = {"prompt_tokens": -9, "completion_tokens": 3, "total_tokens": 12}
    endpoint.script = [stream_of(event("{}"), event(None, "stop"), event(None, usage=usage), b"data: [DONE]\n\n")]
    completion = complete(client(endpoint), QUESTION, SCHEMA, max_tokens=9)
    assert (completion.tokens_in, completion.tokens_out) == (0, 3)


def test_a_spent_quota_is_known_by_its_code(endpoint: Endpoint) -> None:
    said = b'{"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}'
    endpoint.script = [lambda handler, request: handler.send(429, said)]
    with pytest.raises(RateLimited):
        ask(client(endpoint))
    assert len(endpoint.requests) == 1


def test_cached_tokens_are_counted_and_an_own_server_costs_nothing_that_is_known(endpoint: Endpoint) -> None:
    def cached(handler: Handler, request: dict[str, Any]) -> None:
        usage: dict[str, Any] = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
        usage["prompt_tokens_details"] = {"cached_tokens": 7}
        body = {"id": "1", "created": 1, "model": "tiny", "choices": [{"finish_reason": "stop"}], "usage": usage}
        handler.events(body, ["{}"])

    endpoint.script = [cached]
    completion = complete(client(endpoint), QUESTION, SCHEMA, max_tokens=9)
    assert (completion.tokens_in, completion.tokens_out, completion.tokens_cached) == (9, 3, 7)
    assert completion.usd is None


def test_a_date_says_how_long_to_wait(endpoint: Endpoint) -> None:
    slept: list[float] = []
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    never = "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"
    endpoint.script = [status(429, Retry_After=when), status(429, Retry_After=never), answer("{}")]
    assert ask(client(endpoint, slept)) == "{}"
    assert slept and 25 < slept[0] <= 30 and slept[1] < 3


@pytest.mark.parametrize(
    ("code", "said", "kind"),
    [
        (400, "request (4481 tokens) exceeds the available context size (4096 tokens)", PromptTooLong),  # llama.cpp
        (400, "This model's maximum context length is 8192 tokens", PromptTooLong),  # OpenAI, vLLM
        (401, "no", KeyRefused),
        (402, "no", KeyRefused),
        (429, "no", RateLimited),
        (503, "no", EndpointDown),
    ],
)
def test_errors_are_typed(endpoint: Endpoint, code: int, said: str, kind: type[LLMError]) -> None:
    endpoint.script = [status(code, said)] * 9
    with pytest.raises(kind):
        ask(client(endpoint, attempts=1))
