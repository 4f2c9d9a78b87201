"""One run of one method on one problem, and what is recorded of it: a row for each proposal."""

import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from automcu.architecture import Architecture
from automcu.executors import steps
from automcu.finished import Rejected
from automcu.llm.client import LLM, Completion, Message
from automcu.llm.conversation import Conversation, Transcript
from automcu.llm.scripted import ScriptedLLM
from automcu.proposal import InvalidProposal, Proposal, Proposer
from automcu.proposers.evolution import RegularizedEvolution
from automcu.proposers.forms import Mode
from automcu.proposers.hybrid import HybridProposer
from automcu.proposers.llm import LLMProposer
from automcu.proposers.random_search import RandomSearch
from automcu.results import EpochPoint, Evaluation, FeasibilityReport, TrialResult
from automcu.search import Limits, Search
from automcu.work import (
    Check,
    Checked,
    Evaluate,
    EvaluationDone,
    Exchanged,
    Outcome,
    Plan,
    Propose,
    Proposed,
    Train,
    Trained,
    Work,
)
from experiments.agents.control import Unfounded
from experiments.agents.local import LocalLLM
from experiments.agents.policies import POLICIES, menu_of
from experiments.agents.problems import Problem

BATCH = 4
"""Proposals asked for at once. A run asks for 8, of which a menu of 12 lines leaves 6: hardly a choice."""
MAX_TOKENS = 1_024
"""Of a reply. What a model has written by then counts; small models write on."""
WARM_START = 8
PATIENCE = 6
"""As `conf/proposer/hybrid.yaml`."""


@dataclass(frozen=True, slots=True)
class Method:
    """Who proposes. `model` is empty for code alone, `local`, or a policy; `told` says whether it sees findings."""

    proposer: str
    model: str = ""
    told: bool = True

    def __str__(self) -> str:
        return " ".join(filter(None, (self.proposer, self.model, "" if self.told else "untold")))


@dataclass(slots=True)
class Row:
    """One proposal. `step` counts those of a run, `round` the times that its proposer was asked.

    `findings` is how many rejections the proposer had been shown by then. What a round took (calls of a model, its
    tokens, seconds) and the menu that was chosen from (its lines, and how many of them fit) stand in its first row. A
    round that brought nothing is one row that is not `valid`. `feasible`, bytes and MACs are None for what was never
    checked, `accuracy` for what did not fit.
    """

    problem: str
    method: str
    seed: int
    step: int
    round: int
    origin: str
    valid: bool
    duplicate: bool
    findings: int
    architecture: str
    reason: str
    feasible: bool | None = None
    ram_bytes: int | None = None
    flash_bytes: int | None = None
    macs: int | None = None
    accuracy: float | None = None
    best_accuracy: float = 0.0
    calls: int = 0
    tokens_in: int = 0
    tokens_cached: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    menu: int = 0
    menu_fits: int = 0


class Watched:
    """`llm`, with the last question kept."""

    def __init__(self, llm: LLM) -> None:
        self._llm = llm
        self.model, self.temperature, self.seed = llm.model, llm.temperature, llm.seed
        self.menu: list[tuple[int, str]] = []

    def stream(
        self, messages: Sequence[Message], schema: Mapping[str, object], *, max_tokens: int
    ) -> Generator[str, None, Completion]:
        """See `LLM.stream`."""
        self.menu = menu_of(messages[1].content)
        completion = yield from self._llm.stream(messages, schema, max_tokens=max_tokens)
        return completion


def proposer_of(method: Method, problem: Problem, seed: int) -> tuple[Proposer, Watched | None]:
    """The proposer of a run, and the model that it asks."""
    space = problem.space
    if method.proposer == "random":
        return RandomSearch(space, seed), None
    code = RegularizedEvolution(space, seed)
    if method.proposer == "evolution":
        return code, None
    llm: LLM = LocalLLM(seed) if method.model == "local" else ScriptedLLM(POLICIES[method.model](seed), method.model)
    watched = Watched(llm if method.told else Unfounded(llm))
    conversation = Conversation("proposal", watched, Transcript(0), max_tokens=MAX_TOKENS)
    kind, _, mode = method.proposer.partition(":")
    given = space, conversation, problem.task, problem.budget, problem.board, seed
    if kind == "hybrid":
        hybrid = HybridProposer(
            *given, code, mode=cast(Mode, mode), cost=problem.cost, warm_start=WARM_START, patience=PATIENCE
        )
        return hybrid, watched
    return LLMProposer(*given, None, mode=cast(Mode, mode), cost=problem.cost), watched


def run(method: Method, problem: Problem, seed: int, most_rounds: int = 40) -> list[Row]:
    """The rows of one run. A model that fails three rounds in a row ends it, as in a run without a fallback."""
    proposer, watched = proposer_of(method, problem, seed)
    limits = Limits(1e9, problem.proposals, problem.proposals, BATCH, lookahead=1, finish_share=0.1, attempts=1)
    search, rows, candidates = Search(limits, lambda: 0.0), list[Row](), list[Row]()
    rounds, findings, best = 0, 0, 0.0
    while work := _next(search):
        if isinstance(work, Propose):
            rounds += 1
            if rounds > most_rounds:
                break
            findings += sum(isinstance(end, Rejected) for end in work.news)
            outcomes, asked = ask(proposer, work, watched)
            blank = Row(problem.name, str(method), seed, 0, rounds, "", False, False, findings, "", "", **asked)
            new = rows_of(outcomes, blank, {row.architecture for row in candidates})
            candidates += [row for row in new if row.valid and not row.duplicate]
            rows += new
        else:
            outcomes = _do(work, problem)
            assert not isinstance(work, Plan)
            row = candidates[work.candidate.id - 1]
            for outcome in outcomes:
                match outcome:
                    case Checked(_, report, violations):
                        _judged(row, report, not violations)
                    case EvaluationDone(_, evaluation):
                        row.accuracy = evaluation.int8_validation_accuracy
        for outcome in outcomes:
            search.record(outcome)
    for step, row in enumerate(rows, 1):
        best = max(best, row.accuracy or 0.0)
        row.step, row.best_accuracy = step, best
    return rows


def _next(search: Search) -> Work | None:
    """The next piece of work; a proposer is asked once all that it proposed has ended. No network is tested."""
    for room in ({"check": 1}, {"train": 1}, {"evaluate": 1}, {"propose": 1}):
        if works := search.next_work(room):  # type: ignore[arg-type]
            return works[0]
    return None


def ask(proposer: Proposer, work: Propose, watched: "Watched | None") -> tuple[list[Outcome], dict[str, Any]]:
    """What a round brought, and what its first row says of it as a whole."""
    began = time.monotonic()
    if watched is not None:
        watched.menu = []
    outcomes = list(steps.propose(proposer, work))
    exchanges = [outcome.exchange for outcome in outcomes if isinstance(outcome, Exchanged)]
    menu = watched.menu if watched is not None else []
    return outcomes, {
        "calls": len(exchanges),
        "tokens_in": sum(exchange.tokens_in for exchange in exchanges),
        "tokens_cached": sum(exchange.tokens_cached for exchange in exchanges),
        "tokens_out": sum(exchange.tokens_out for exchange in exchanges),
        "seconds": time.monotonic() - began,
        "menu": len(menu),
        "menu_fits": sum("too large" not in line for _, line in menu),
    }


def rows_of(outcomes: Sequence[Outcome], blank: Row, known: set[str]) -> list[Row]:
    """The proposals of one round."""
    rows = []
    for outcome in outcomes:
        match outcome:
            case Proposed(Proposal(architecture, origin)):
                text = architecture.text
                rows.append(replace(blank, valid=True, duplicate=text in known, origin=origin, architecture=text))
                known.add(text)
            case Proposed(InvalidProposal(excerpt, reason)):
                rows.append(replace(blank, architecture=excerpt[:200], reason=reason[:200]))
    rest: dict[str, Any] = {
        "calls": 0,
        "tokens_in": 0,
        "tokens_cached": 0,
        "tokens_out": 0,
        "seconds": 0.0,
        "menu": 0,
        "menu_fits": 0,
    }
    first, *others = rows or [replace(blank, reason="nothing was proposed")]
    return [first, *(replace(row, **rest) for row in others)]


def judge(row: Row, problem: Problem) -> None:
    """Say in `row` what its network needs and whether it fits."""
    verdict = problem.gate.check(Architecture(problem.space.name, row.architecture))
    _judged(row, verdict.report, verdict.fits)


def _judged(row: Row, report: FeasibilityReport, fits: bool) -> None:
    row.feasible, row.macs = fits, report.macs
    row.ram_bytes, row.flash_bytes = report.ram_bytes, report.flash_bytes


def _do(work: Work, problem: Problem) -> list[Outcome]:
    match work:
        case Check():
            return [steps.check(problem.gate, work)]
        case Train(candidate):
            accuracy = problem.accuracy(candidate.architecture)
            trial = TrialResult((EpochPoint(1, 1 - accuracy, accuracy, 0.0),), "completed", 0, 0.0)
            return [Trained(candidate.id, trial)]
        case Evaluate(candidate, report, trial):
            accuracy = trial.validation_accuracy
            return [EvaluationDone(candidate.id, Evaluation(accuracy, accuracy, 0, 0.0, 0, "", report, None, 0.0))]
    raise AssertionError(f"no role here does {work}")
