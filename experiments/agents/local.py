"""SmolLM2-135M-Instruct in this process, by llama.cpp (`xllamacpp`): the model of `llm=local` without its server."""

import json
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from typing import Any

from automcu.errors import LLMError
from automcu.llm.client import Completion, Message, TruncatedReply
from automcu.serving.engine import LocalModel

NAME = LocalModel().name
CONTEXT_TOKENS = 8192
"""Twice what is served: questions about whole architectures grow to 3,500 tokens, and replies have 1,000."""
TEMPERATURE = 0.8


class LocalLLM:
    """Its replies keep the schema; one thread; `seed` and the number of the call decide what is sampled."""

    model = NAME
    temperature = TEMPERATURE

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._calls = 0

    def stream(
        self, messages: Sequence[Message], schema: Mapping[str, object], *, max_tokens: int
    ) -> Generator[str, None, Completion]:
        """See `LLM.stream`; the reply is one piece."""
        self._calls += 1
        form = {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema, "strict": True}}
        began = time.monotonic()
        reply = engine().handle_chat_completions(
            {
                "messages": [asdict(message) for message in messages],
                "response_format": form,
                "max_tokens": max_tokens,
                "temperature": self.temperature,
                "seed": 1_000 * self.seed + self._calls,
            }
        )
        found = reply if isinstance(reply, dict) else json.loads(reply)
        if "choices" not in found:
            raise LLMError(f"{NAME} gave no reply ({str(found)[:200]}); ask for less")
        choice, usage = found["choices"][0], found["usage"]
        text = choice["message"]["content"]
        completion = Completion(
            text,
            choice["finish_reason"],
            "schema",
            NAME,
            usage["prompt_tokens"],
            usage["completion_tokens"],
            usage["prompt_tokens_details"]["cached_tokens"],
            None,
            time.monotonic() - began,
        )
        yield text
        if completion.finish == "length":
            raise TruncatedReply(
                f"{NAME} reached {max_tokens} tokens before its answer ended; ask for less", completion
            )
        return completion


@cache
def engine() -> Any:
    """llama.cpp with the weights. Raises `ConfigError` where a package is missing."""
    weights = LocalModel().require()
    import xllamacpp  # type: ignore[import-untyped]

    settings = xllamacpp.CommonParams()
    settings.model.path = str(weights)
    settings.n_ctx = CONTEXT_TOKENS
    settings.n_parallel = 1
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
    settings.verbosity = 0
    return xllamacpp.Server(settings)
