"""What AutoMCU's client adds to a call of a language model: `python -m benchmarks.llm_client`.

A server on the loopback address answers at once. The same request is made by a bare HTTP client, by litellm alone, and
by AutoMCU's client as a role uses it (conversation, meter, litellm), in turns. A scripted model shows what conversation
and meter take by themselves.
"""

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from statistics import median
from typing import Any

import httpx

from automcu.llm.conversation import Conversation, Transcript
from automcu.llm.litellm_client import LiteLLMClient
from automcu.llm.meter import Meter, Metered
from automcu.llm.scripted import ScriptedLLM

CALLS = 200
TEXT = json.dumps({"proposals": [{"stages": ["x" * 40] * 10}]})
QUESTION = "What fits? " * 200
SCHEMA = {"type": "object", "properties": {"proposals": {"type": "array"}}, "required": ["proposals"]}


class Handler(BaseHTTPRequestHandler):
    """Streams `TEXT` in pieces of 16 characters."""

    protocol_version = "HTTP/1.1"
    wbufsize = 65_536

    def do_POST(self) -> None:
        """Answer at once."""
        self.rfile.read(int(self.headers["Content-Length"]))
        pieces = [TEXT[i : i + 16] for i in range(0, len(TEXT), 16)]
        choices: list[Any] = [[{"index": 0, "finish_reason": None, "delta": {"content": piece}}] for piece in pieces]
        choices.append([{"index": 0, "finish_reason": "stop", "delta": {}}])
        head = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        chunks = [head | {"choices": choice} for choice in choices]
        usage = {"prompt_tokens": 500, "completion_tokens": 60, "total_tokens": 560}
        chunks.append(head | {"choices": [], "usage": usage})
        body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks).encode() + b"data: [DONE]\n\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Nothing."""


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}/v1"
    client = LiteLLMClient("openai/m", api_base=base)
    meter = Meter(tokens=10**12, requests_per_minute=10**9)
    role, scripted = (
        Conversation("proposal", Metered(llm, meter), Transcript(8_000), max_tokens=500)
        for llm in (client, ScriptedLLM(lambda messages: TEXT))
    )
    role.ask("You design networks.", QUESTION, SCHEMA)  # imports litellm
    import litellm

    messages = [{"role": "system", "content": "You design networks."}, {"role": "user", "content": QUESTION}]
    form = {"type": "json_schema", "json_schema": {"name": "reply", "schema": SCHEMA, "strict": True}}
    asked = {"messages": messages, "max_tokens": 500, "stream": True, "stream_options": {"include_usage": True}}
    session = httpx.Client(trust_env=False)

    def bare() -> None:
        with session.stream("POST", f"{base}/chat/completions", json={"model": "m", **asked}) as reply:
            assert sum(1 for _ in reply.iter_lines())

    def by_litellm() -> None:
        stream = litellm.completion(
            model="openai/m", api_base=base, api_key="none", response_format=form, max_retries=0, **asked
        )
        assert list(stream)

    ways: dict[str, Callable[[], object]] = {
        "bare HTTP": bare,
        "litellm": by_litellm,
        "AutoMCU over litellm": lambda: role.ask("You design networks.", QUESTION, SCHEMA),
        "AutoMCU over a script": lambda: scripted.ask("You design networks.", QUESTION, SCHEMA),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(CALLS):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - began)
    server.shutdown()
    print(f"one call, {CALLS} in turns; milliseconds: median (quarter, three quarters)")
    for name, taken in seconds.items():
        taken.sort()
        low, high = taken[CALLS // 4], taken[3 * CALLS // 4]
        print(f"{name:22} {1000 * median(taken):7.2f} ({1000 * low:.2f}, {1000 * high:.2f})")
    added = sorted(a - b for a, b in zip(seconds["AutoMCU over litellm"], seconds["litellm"], strict=True))
    print(f"AutoMCU adds to litellm {1000 * median(added):.2f} ms a call")


if __name__ == "__main__":
    main()
