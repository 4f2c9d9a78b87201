"""The local model of `llm=local`: tokens a second on one thread, time to start, and memory.

    python -m benchmarks.local_llm [--repeats 5] [--ray]

The model is asked over its endpoint, as a run asks it. Rates are the engine's own counts: reading the prompt (about 500
tokens, none from a cache), writing freely, and writing under a schema (three small networks). Printed: the median of
the repeats, with the least and the most. With `--ray` it is served by Ray Serve, else by a process of its own; memory
is the proportional share (PSS) of the processes that serve.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import automcu.actors  # noqa: F401  (before Ray, which reads its settings when it is imported)

# isort: split
import httpx

from automcu.actors.cluster import start_local, stop_local
from automcu.serving.engine import LocalModel
from automcu.serving.local import serve_local

BLOCK = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["conv", "depthwise", "pool"]},
        "channels": {"type": "integer", "minimum": 4, "maximum": 64},
        "stride": {"enum": [1, 2]},
    },
    "required": ["kind", "channels", "stride"],
    "additionalProperties": False,
}
NETWORK = {"type": "array", "items": BLOCK, "minItems": 3, "maxItems": 5}
SCHEMA = {
    "type": "object",
    "properties": {"networks": {"type": "array", "items": NETWORK, "minItems": 3, "maxItems": 3}},
    "required": ["networks"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "reply", "schema": SCHEMA}}
SERVING = ("automcu.serving.child", "ray::ServeReplica", "ray::ServeController", "ray::ProxyActor")


def ours(process: Path) -> bool:
    """Whether `process` descends from this one."""
    pid = int(process.name)
    while pid > 1 and pid != os.getpid():
        pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    return pid == os.getpid()


def serving_mb() -> float:
    """Memory of the processes that serve, in 1,000,000 bytes."""
    kilobytes = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if ours(process) and any(name in (process / "cmdline").read_text() for name in SERVING):
                rollup = (process / "smaps_rollup").read_text()
                kilobytes += int(rollup.split("\nPss:")[1].split()[0])
        except OSError:  # it ended meanwhile
            continue
    return kilobytes * 1024 / 1e6


def show(what: str, rates: list[float]) -> None:
    print(f"{what:34}{statistics.median(rates):8.0f} tokens/s   ({min(rates):.0f} .. {max(rates):.0f})")


def main() -> None:
    parser = argparse.ArgumentParser(description="Rates, start and memory of the local model")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--ray", action="store_true")
    options = parser.parse_args()
    if options.ray:
        start_local(cpus=None, gpus=0, object_store_bytes=150_000_000)
    began = time.perf_counter()
    with serve_local(LocalModel(), on_ray=options.ray) as endpoint:
        start = time.perf_counter() - began
        headers = {"Authorization": f"Bearer {endpoint.key}"}
        with httpx.Client(base_url=endpoint.api_base, headers=headers, timeout=600, trust_env=False) as client:

            def timings(seed: int, text: str, **request: Any) -> dict[str, float]:
                messages = [{"role": "user", "content": text}]
                reply = client.post("/chat/completions", json={"messages": messages, "seed": seed} | request)
                found: dict[str, float] = reply.raise_for_status().json()["timings"]
                return found

            def rates(key: str, ask: Callable[[int], dict[str, float]]) -> list[float]:
                return [ask(seed)[key] for seed in range(options.repeats)]

            read = rates(
                "prompt_per_second", lambda seed: timings(seed, f"{seed} is a number. " + "word " * 500, max_tokens=1)
            )
            free = rates("predicted_per_second", lambda seed: timings(seed, "Write a long story.", max_tokens=200))
            held = rates(
                "predicted_per_second",
                lambda seed: timings(seed, "Propose 3 small networks.", max_tokens=400, response_format=FORMAT),
            )
        memory = serving_mb()
        began = time.perf_counter()
    stop = time.perf_counter() - began
    if options.ray:
        stop_local()
    print(f"{endpoint.model}, one thread, {'Ray Serve' if options.ray else 'a process of its own'}")
    show("reading the prompt", read)
    show("writing freely", free)
    show("writing under a schema", held)
    print(f"start {start:.1f} s, stop {stop:.1f} s, memory {memory:.0f} MB")


if __name__ == "__main__":
    main()
