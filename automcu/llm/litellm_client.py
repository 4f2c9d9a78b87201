"""Any provider's model through litellm: structure asked for in three ways, retries within a deadline, typed errors.

litellm takes seconds to import, so the first call imports it. Keys come from the environment only and are taken out of
every message. Covered: hanging, stalling and dribbling endpoints (each request runs in a daemon thread that is given
up), endpoints that cannot stream, rate limits, server errors, refused response formats. Limits shared with other
clients are `automcu.llm.meter`'s.
"""

import contextlib
import inspect
import json
import logging
import os
import random
import re
import socket
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from queue import Empty, SimpleQueue
from types import ModuleType
from typing import Any

from automcu.errors import LLMError
from automcu.exchange import TOO_LONG
from automcu.llm.client import (
    Completion,
    EndpointDown,
    KeyRefused,
    Level,
    Message,
    PromptTooLong,
    RateLimited,
    TruncatedReply,
    UnusableReply,
)
from automcu.redaction import redacted

_LADDER: tuple[Level, ...] = ("schema", "json", "prompt")
_LITELLM_NAMES = re.compile(r"\b(?:litellm\.)?[A-Za-z_]+(?:Error|Exception)(?:: | - )")
_RETRIED_STATUS = frozenset({408, 409, 429})
_FORMAT_STATUS = frozenset({400, 422})
_STREAM_STATUS = frozenset({400, 405, 422, 501})


class LiteLLMClient:
    """The model that litellm calls `model`, at `api_base` or at its provider's own address.

    One call makes at most `attempts` requests, waits at most `timeout_s` seconds for the next piece of a reply, and
    takes at most `deadline_s` seconds in all. The key is `key`, which is for endpoints of the run's own; else that of
    the environment variable `key_variable`; when both are None, of the one litellm knows for the provider, but at an
    `api_base` no key is sent at all, so that no provider's key reaches another's server.
    `temperature` and `seed` go to the endpoint where it takes them; `seed` also seeds the jitter of the retries.
    """

    def __init__(
        self,
        model: str,
        *,
        api_base: str | None = None,
        key_variable: str | None = None,
        key: str | None = None,
        temperature: float = 0.8,
        seed: int = 0,
        timeout_s: float = 120.0,
        deadline_s: float = 300.0,
        attempts: int = 4,
        sleep: Callable[[float], None] = time.sleep,
        name: str | None = None,
    ) -> None:
        self.model = name or model
        self._route = model
        self.level: Level = "schema"
        """How structure is asked for; goes down for good when the endpoint refuses a response format."""
        self._api_base = api_base
        self._key_variable = key_variable
        self._key = key
        self.temperature = temperature
        self.seed = seed
        self._timeout_s = timeout_s
        self._deadline_s = deadline_s
        self._attempts = attempts
        self._sleep = sleep
        self._jitter = random.Random(seed)
        self._streams = True

    def stream(
        self, messages: Sequence[Message], schema: Mapping[str, object], *, max_tokens: int
    ) -> Generator[str, None, Completion]:
        """The model's reply; see `LLM.stream`. Nothing is retried once a piece has come."""
        litellm = _litellm()
        key = self._key_to_send()
        began = time.monotonic()
        deadline = began + self._deadline_s
        for level in self._levels(litellm):
            request: dict[str, Any] = {
                "model": self._route,
                "messages": _with_schema(messages, schema, level),
                "max_tokens": max_tokens,
                "temperature": self.temperature,
                "seed": self.seed,
                "api_base": self._api_base,
                "api_key": key,
                "drop_params": True,
                "max_retries": 0,
                "num_retries": 0,
            } | _response_format(level, schema)
            reply: _Reply | None = None
            try:
                reply, piece = self._insist(litellm, request, deadline)
                self.level = level
                while piece is not None:
                    yield piece
                    piece = reply.piece(min(self._timeout_s, deadline - time.monotonic()))
                priced = self._api_base is None
                return _completion(litellm, reply, level, self.model, time.monotonic() - began, priced)
            except LLMError:
                raise
            except Exception as error:
                if reply is None and level != "prompt" and _may_refuse_format(litellm, error):
                    continue
                raise _explained(litellm, error, self.model) from None
            finally:
                if reply is not None:
                    reply.cancel()
        raise AssertionError("the last level returns or raises")

    def _key_to_send(self) -> str | None:
        if self._key is not None:
            return self._key
        if self._key_variable is None:
            return None if self._api_base is None else "none"
        key = os.environ.get(self._key_variable)
        if not key:
            raise KeyRefused(
                f"environment variable {self._key_variable} is not set; export it with the key of {self.model}"
            )
        return key

    def _levels(self, litellm: ModuleType) -> tuple[Level, ...]:
        try:
            supported = litellm.get_supported_openai_params(model=self._route) or ()
        except Exception:  # a model that litellm cannot place; the request itself will say so
            supported = ()
        if self._api_base is None and "response_format" not in supported:
            return ("prompt",)
        return _LADDER[_LADDER.index(self.level) :]

    def _insist(self, litellm: ModuleType, request: dict[str, Any], deadline: float) -> "tuple[_Reply, str | None]":
        """The reply to `request` with its first piece, tried again while the failure may pass and there is time."""
        for attempt in range(1, self._attempts + 1):
            seconds = min(self._timeout_s, deadline - time.monotonic())
            reply = _Reply(litellm, request | {"timeout": seconds}, self._streams)
            try:
                first = reply.piece(seconds)
                self._streams = reply.streams or first is None
                return reply, first
            except Exception as error:
                reply.cancel()
                pause = _retry_after(error)
                if pause is None:
                    pause = 0.5 * 2**attempt * self._jitter.uniform(0.5, 1.0)
                out_of_time = time.monotonic() + pause >= deadline
                if attempt == self._attempts or out_of_time or not _may_pass(error):
                    raise
            self._sleep(pause)
        raise AssertionError("the last attempt returns or raises")


class _Reply:
    """A reply that a daemon thread fetches: HTTP time-outs alone would let an endpoint dribble for ever.

    After the last piece `text`, `finish`, `usage` and `chunks` hold the whole, `streams` says whether the endpoint can
    stream, and `ended` whether it gave a finish reason: litellm takes a lost connection for an end and adds one.
    """

    def __init__(self, litellm: ModuleType, request: dict[str, Any], streams: bool) -> None:
        self.streams = streams
        self.ended = True
        self.text = ""
        self.finish: str | None = None
        self.usage: Any = None
        self.whole: Any = None
        """The response of an endpoint that does not stream."""
        self.chunks: list[Any] = []
        self._litellm = litellm
        self._request = request
        self._events: SimpleQueue[Any] = SimpleQueue()
        self._cancelled = threading.Event()
        self._open: Any = None
        """The stream that the thread reads."""
        threading.Thread(target=self._fetch, name="llm-request", daemon=True).start()

    def piece(self, seconds: float) -> str | None:
        """The next piece of text, None after the last. Raises what the request ended with, `TimeoutError` when nothing
        comes within `seconds`."""
        until = time.monotonic() + max(seconds, 0.001) + 0.25
        while True:
            try:
                event = self._events.get(timeout=max(0.0, until - time.monotonic()))
            except Empty:
                raise TimeoutError(f"nothing came for {seconds:.0f} s") from None
            if event is None:
                return None
            if isinstance(event, BaseException):
                raise event
            if text := self._take(event):
                self.text += text
                return text

    def cancel(self) -> None:
        """Stop listening, and cut the connection. Before the head of an answer has come there is none to be cut: then
        the HTTP time-out ends the request."""
        self._cancelled.set()
        if (stream := self._open) is not None:
            _hang_up(stream)

    def _take(self, chunk: Any) -> str:
        self.chunks.append(chunk)
        self.usage = getattr(chunk, "usage", None) or self.usage
        choice = chunk.choices[0] if chunk.choices else None
        if choice is None:
            return ""
        self.finish = choice.finish_reason or self.finish
        said = choice.message if hasattr(choice, "message") else choice.delta
        return str(said.content or "") if said is not None else ""

    def _fetch(self) -> None:
        try:
            if self.streams and not self._fetch_stream():
                self.streams = False
            if not self.streams and not self._cancelled.is_set():
                self.whole, self.ended = self._litellm.completion(**self._request), True
                self._events.put(self.whole)
            self._events.put(None)
        except BaseException as error:
            self._events.put(error)

    def _fetch_stream(self) -> bool:
        """Whether the endpoint streamed. One that cannot refuses, or sends one document, of which no event can be
        read."""
        try:
            stream = self._litellm.completion(**self._request, stream=True, stream_options={"include_usage": True})
        except Exception as error:
            if _status(error) in _STREAM_STATUS and "stream" in str(error).lower():
                return False
            raise
        silent = True
        self._open = stream
        try:
            for chunk in stream:
                if self._cancelled.is_set():
                    return True
                silent = silent and not (
                    getattr(chunk, "usage", None) or (chunk.choices and chunk.choices[0].delta.content)
                )
                self._events.put(chunk)
        finally:
            self._open = None
            _close(stream)
        self.ended = bool(stream.received_finish_reason or stream.intermittent_finish_reason)
        return self.ended or not silent


def _close(stream: Any) -> None:
    """Close a litellm stream here and now, in the thread that reads it. One that is left to the garbage collector may
    be closed while httpx holds the lock of its connections, and this process could never ask that provider again."""
    source = stream.completion_stream
    for part in (source, getattr(source, "streaming_response", None)):
        if callable(close := getattr(part, "close", None)):
            close()


def _hang_up(stream: Any) -> None:
    """Cut the connection of a litellm stream that another thread is waiting for; that thread then closes it."""
    source = stream.completion_stream
    response = getattr(source, "response", None)
    lines = getattr(source, "streaming_response", None)
    if response is None and inspect.isgenerator(lines):  # `httpx.Response.iter_lines`
        response = inspect.getgeneratorlocals(lines).get("self")
    network = getattr(response, "extensions", {}).get("network_stream")
    if network is not None and (connection := network.get_extra_info("socket")) is not None:
        with contextlib.suppress(OSError):  # closed meanwhile
            connection.shutdown(socket.SHUT_RDWR)


@cache
def _litellm() -> ModuleType:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # or the import asks the network for prices
    os.environ.setdefault("LITELLM_MODE", "PRODUCTION")  # or the import loads any .env file it finds
    try:
        import litellm
    except ImportError as error:
        raise LLMError(f"litellm cannot be imported ({error}); install it or run without an LLM") from None
    litellm.telemetry = False
    litellm.suppress_debug_info = True
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy", "httpx", "openai"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return litellm  # type: ignore[no-any-return]


def _response_format(level: Level, schema: Mapping[str, object]) -> dict[str, Any]:
    match level:
        case "schema":
            form = {"name": "reply", "schema": dict(schema), "strict": True}
            return {"response_format": {"type": "json_schema", "json_schema": form}}
        case "json":
            return {"response_format": {"type": "json_object"}}
        case "prompt":
            return {}


def _with_schema(messages: Sequence[Message], schema: Mapping[str, object], level: Level) -> list[dict[str, str]]:
    """The messages as the API takes them; where the endpoint is given no schema, it stands after the last one."""
    turns = [asdict(message) for message in messages]
    if level != "schema":
        turns[-1]["content"] += f"\n\nJSON schema of the answer: {json.dumps(schema, separators=(',', ':'))}"
    return turns


def _status(error: Exception) -> int | None:
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) else None


def _may_pass(error: Exception) -> bool:
    """Whether the same request may succeed later. A spent quota is reported like a rate limit, but does not pass."""
    status = _status(error)
    if isinstance(error, TimeoutError):
        return True
    spent = "insufficient_quota" in f"{error} {getattr(error, 'body', '')}"
    return status is not None and (status in _RETRIED_STATUS or status >= 500) and not spent


def _may_refuse_format(litellm: ModuleType, error: Exception) -> bool:
    other = (litellm.ContextWindowExceededError, litellm.ContentPolicyViolationError)
    return _status(error) in _FORMAT_STATUS and not isinstance(error, other)


def _retry_after(error: Exception) -> float | None:
    """Seconds that the endpoint asked to wait for, given as such or as a date."""
    said = str((getattr(error, "litellm_response_headers", None) or {}).get("retry-after", ""))
    try:
        return max(0.0, float(said))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def _completion(
    litellm: ModuleType, reply: _Reply, level: Level, model: str, seconds: float, priced: bool
) -> Completion:
    """Checks the finish reason before the text is looked at. What is `priced` may have a price that litellm knows."""
    finish, usage = (reply.ended and reply.finish) or "unknown", reply.usage
    details = getattr(usage, "prompt_tokens_details", None)
    completion = Completion(
        text=reply.text,
        finish=finish,
        level=level,
        model=model,
        tokens_in=_count(usage, "prompt_tokens"),
        tokens_out=_count(usage, "completion_tokens"),
        tokens_cached=_count(details, "cached_tokens"),
        usd=_usd(litellm, reply, model) if priced else None,
        seconds=seconds,
    )
    if finish == "length":
        raise TruncatedReply(f"the reply of {model} was cut off at max_tokens; allow more tokens", completion)
    if finish == "content_filter" or not reply.text.strip():
        what = "no text" if not reply.text.strip() else "a part of its text only"
        raise UnusableReply(
            f"{model} sent {what} (finish reason: {finish}); ask again or use another model", completion
        )
    return completion


def _count(usage: Any, name: str) -> int:
    return max(0, getattr(usage, name, 0) or 0)


def _usd(litellm: ModuleType, reply: _Reply, model: str) -> float | None:
    """What litellm says that the reply cost; it prices what it does not know at 0."""
    try:
        whole = reply.whole or litellm.stream_chunk_builder(reply.chunks)
        return litellm.completion_cost(completion_response=whole, model=model) or None
    except Exception:  # litellm raises plain exceptions for models without a price
        return None


_REMEDIES = {
    401: "set its key in the environment",
    402: "top up the account",
    403: "check that the key may use this model",
    404: "check llm.model and llm.api_base",
    429: "wait, raise the quota, or use another model",
}


def _explained(litellm: ModuleType, error: Exception, model: str) -> LLMError:
    status = _status(error)
    kind: type[LLMError] = LLMError
    if isinstance(error, (TimeoutError, litellm.Timeout)):
        kind, remedy = EndpointDown, "check the endpoint or raise llm.timeout_seconds"
    elif status is not None and status >= 500:
        kind, remedy = EndpointDown, "check that the endpoint at llm.api_base is running"
    else:
        kind = {401: KeyRefused, 402: KeyRefused, 403: KeyRefused, 429: RateLimited}.get(status or 0, LLMError)
        remedy = _REMEDIES.get(status or 0, "check the llm settings")
    said = _LITELLM_NAMES.sub("", str(error)).partition("Original exception:")[0]
    reason = " ".join(redacted(said.strip() or type(error).__name__).split())[:300]
    if isinstance(error, litellm.ContextWindowExceededError):
        return PromptTooLong(f"{TOO_LONG} {model} ({reason}); raise its context_tokens or use another")
    return kind(f"{model} cannot be used ({reason}); {remedy}")
