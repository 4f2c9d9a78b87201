"""Any provider's model through litellm: structure asked for in three ways, retries within a deadline, typed errors.

litellm takes seconds to import, so the first call imports it. Keys come from the environment only and are taken out of
every message. Covered: hanging and dribbling endpoints (each request runs in a daemon thread that is given up at its
timeout), rate limits, server errors, refused response formats. Left out: a rate limit shared between clients.
"""

import json
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from queue import Empty, SimpleQueue
from types import ModuleType
from typing import Any

from automcu.errors import LLMError
from automcu.llm.client import Completion, Level, Message, TruncatedReply, UnusableReply
from automcu.redaction import redacted

_LADDER: tuple[Level, ...] = ("schema", "json", "prompt")
_RETRIED_STATUS = frozenset({408, 409, 429})
_FORMAT_STATUS = frozenset({400, 422})


class LiteLLMClient:
    """The model that litellm calls `model`, at `api_base` or at its provider's own address.

    One call makes at most `attempts` requests of `timeout_s` seconds each and takes at most `deadline_s` seconds in
    all. The key is read from the environment variable `key_variable`; when that is None, from the one litellm knows
    for the provider, but at an `api_base` no key is sent at all, so that no provider's key reaches another's server.
    `temperature` and `seed` go to the endpoint where it takes them; `seed` also seeds the jitter of the retries.
    """

    def __init__(
        self,
        model: str,
        *,
        api_base: str | None = None,
        key_variable: str | None = None,
        temperature: float = 0.8,
        seed: int = 0,
        timeout_s: float = 120.0,
        deadline_s: float = 300.0,
        attempts: int = 4,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.model = model
        self.level: Level = "schema"
        """How structure is asked for; goes down for good when the endpoint refuses a response format."""
        self._api_base = api_base
        self._key_variable = key_variable
        self.temperature = temperature
        self.seed = seed
        self._timeout_s = timeout_s
        self._deadline_s = deadline_s
        self._attempts = attempts
        self._sleep = sleep
        self._jitter = random.Random(seed)

    def stream(
        self, messages: Sequence[Message], schema: Mapping[str, object], *, max_tokens: int
    ) -> Generator[str, None, Completion]:
        """The model's reply; see `LLM.stream`."""
        litellm = _litellm()
        key = self._key()
        began = time.monotonic()
        for level in self._levels(litellm):
            request: dict[str, Any] = {
                "model": self.model,
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
            try:
                response = self._insist(litellm, request, began + self._deadline_s)
            except Exception as error:
                if level != "prompt" and _may_refuse_format(litellm, error):
                    continue
                raise _explained(litellm, error, self.model) from None
            self.level = level
            completion = _completion(response, level, self.model, time.monotonic() - began)
            yield completion.text
            return completion
        raise AssertionError("the last level returns or raises")

    def _key(self) -> str | None:
        if self._key_variable is None:
            return None if self._api_base is None else "none"
        key = os.environ.get(self._key_variable)
        if not key:
            raise LLMError(
                f"environment variable {self._key_variable} is not set; export it with the key of {self.model}"
            )
        return key

    def _levels(self, litellm: ModuleType) -> tuple[Level, ...]:
        try:
            supported = litellm.get_supported_openai_params(model=self.model) or ()
        except Exception:  # a model that litellm cannot place; the request itself will say so
            supported = ()
        if self._api_base is None and "response_format" not in supported:
            return ("prompt",)
        return _LADDER[_LADDER.index(self.level) :]

    def _insist(self, litellm: ModuleType, request: dict[str, Any], deadline: float) -> Any:
        """The response to `request`, tried again while the failure may pass and there is time."""
        for attempt in range(1, self._attempts + 1):
            seconds = min(self._timeout_s, deadline - time.monotonic())
            try:
                return _within(seconds, litellm.completion, request | {"timeout": seconds})
            except Exception as error:
                pause = _retry_after(error)
                if pause is None:
                    pause = 0.5 * 2**attempt * self._jitter.uniform(0.5, 1.0)
                out_of_time = time.monotonic() + pause >= deadline
                if attempt == self._attempts or out_of_time or not _may_pass(error):
                    raise
            self._sleep(pause)
        raise AssertionError("the last attempt returns or raises")


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


def _within(seconds: float, call: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """`call(**arguments)`, given up with TimeoutError after `seconds`: HTTP timeouts alone let an endpoint dribble."""
    outcome: SimpleQueue[tuple[bool, Any]] = SimpleQueue()

    def run() -> None:
        try:
            outcome.put((True, call(**arguments)))
        except BaseException as error:
            outcome.put((False, error))

    threading.Thread(target=run, name="llm-request", daemon=True).start()
    try:
        succeeded, value = outcome.get(timeout=max(seconds, 0.001) + 0.25)
    except Empty:
        raise TimeoutError(f"no whole reply within {seconds:.0f} s") from None
    if not succeeded:
        raise value
    return value


def _status(error: Exception) -> int | None:
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) else None


def _may_pass(error: Exception) -> bool:
    """Whether the same request may succeed later. A spent quota is reported like a rate limit, but does not pass."""
    status = _status(error)
    if isinstance(error, TimeoutError):
        return True
    return (
        status is not None and (status in _RETRIED_STATUS or status >= 500) and "insufficient_quota" not in str(error)
    )


def _may_refuse_format(litellm: ModuleType, error: Exception) -> bool:
    other = (litellm.ContextWindowExceededError, litellm.ContentPolicyViolationError)
    return _status(error) in _FORMAT_STATUS and not isinstance(error, other)


def _retry_after(error: Exception) -> float | None:
    """Seconds that the endpoint asked to wait for, if it did in seconds."""
    headers = getattr(error, "litellm_response_headers", None) or {}
    try:
        return max(0.0, float(headers.get("retry-after", "")))
    except ValueError:
        return None


def _completion(response: Any, level: Level, model: str, seconds: float) -> Completion:
    """Checks the finish reason before the text is looked at."""
    choice = response.choices[0] if response.choices else None
    text = (choice.message.content if choice else None) or ""
    finish = (choice.finish_reason if choice else None) or "unknown"
    usage = getattr(response, "usage", None)
    price = response._hidden_params.get("response_cost")
    completion = Completion(
        text=text,
        finish=finish,
        level=level,
        model=model,
        tokens_in=getattr(usage, "prompt_tokens", 0) or 0,
        tokens_out=getattr(usage, "completion_tokens", 0) or 0,
        tokens_cached=0,
        usd=price or None,  # litellm prices what it does not know at 0
        seconds=seconds,
    )
    if finish == "length":
        raise TruncatedReply(f"the reply of {model} was cut off at max_tokens; allow more tokens", completion)
    if not text.strip():
        raise UnusableReply(
            f"{model} sent no text (finish reason: {finish}); ask again or use another model", completion
        )
    return completion


_REMEDIES = {
    401: "set its key in the environment",
    402: "top up the account",
    403: "check that the key may use this model",
    404: "check llm.model and llm.api_base",
    429: "wait, raise the quota, or use another model",
}


def _explained(litellm: ModuleType, error: Exception, model: str) -> LLMError:
    status = _status(error)
    if isinstance(error, (TimeoutError, litellm.Timeout)):
        remedy = "check the endpoint or raise llm.timeout_s"
    elif status is not None and status >= 500:
        remedy = "check that the endpoint at llm.api_base is running"
    else:
        remedy = _REMEDIES.get(status or 0, "check the llm settings")
    reason = " ".join(redacted(str(error) or type(error).__name__).split())[:300]
    return LLMError(f"{model} cannot be used ({reason}); {remedy}")
