"""What a run costs: calls, tokens, dollars and seconds of every role, how long a language model was down, and the
seconds of the stages. A recorder beside the journal; it decides nothing."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from automcu.architecture import Architecture
from automcu.exchange import CANCELLED, Exchange, Role
from automcu.proposal import InvalidProposal, Proposal
from automcu.work import (
    Checked,
    DeployDone,
    EvaluationDone,
    Exchanged,
    Outcome,
    ProposalsEnded,
    Proposed,
    Stage,
    TestDone,
    Trained,
    WorkFailed,
)

LLM_ORIGIN = "llm"
"""How the origin of a proposal begins when a language model made it."""


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls of language models, added up. `failed` of them brought no usable text. Tokens are the providers' counts.
    `usd` is None when a call that brought text has no known price; one that brought none is taken to be free.
    `seconds` is the time waited for them."""

    calls: int = 0
    failed: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    usd: float | None = 0.0
    seconds: float = 0.0

    @property
    def tokens(self) -> int:
        """In and out."""
        return self.tokens_in + self.tokens_out

    def __add__(self, other: "Calls") -> "Calls":
        return Calls(
            calls=self.calls + other.calls,
            failed=self.failed + other.failed,
            tokens_in=self.tokens_in + other.tokens_in,
            tokens_out=self.tokens_out + other.tokens_out,
            tokens_cached=self.tokens_cached + other.tokens_cached,
            usd=None if self.usd is None or other.usd is None else self.usd + other.usd,
            seconds=self.seconds + other.seconds,
        )


def calls_of(exchange: Exchange) -> Calls:
    """One call."""
    failed = exchange.error not in ("", CANCELLED)
    return Calls(
        calls=1,
        failed=int(failed),
        tokens_in=exchange.tokens_in,
        tokens_out=exchange.tokens_out,
        tokens_cached=exchange.tokens_cached,
        usd=0.0 if failed and not (exchange.reply or exchange.finish) else exchange.usd,
        seconds=exchange.seconds,
    )


@dataclass(frozen=True, slots=True)
class RoleCosts:
    """A role's calls. `down_seconds` is how long its model gave nothing usable, see `Ledger`; `models` are those that
    answered, by the names that they gave, from the date of the `first` call to that of the `last` (UTC, ISO 8601)."""

    role: Role
    calls: Calls
    down_seconds: float
    models: tuple[str, ...] = ()
    first: str = ""
    last: str = ""


@dataclass(frozen=True, slots=True)
class Costs:
    """What a run has cost. `substitutes` are proposals that code made while the proposal agent's model was down.
    That model gave so many `replies`, of which so many were `unreadable`: cut off, or no JSON of the form that was
    asked for.
    `stage_seconds` is what the work of each stage took, added up over all processes."""

    roles: tuple[RoleCosts, ...]
    substitutes: int
    stage_seconds: tuple[tuple[Stage, float], ...]
    replies: int = 0
    unreadable: int = 0

    @property
    def total(self) -> Calls:
        """Of all roles."""
        return sum((role.calls for role in self.roles), Calls())


@dataclass(slots=True)
class _Round:
    """One round of proposals: when the proposal agent's model was first asked, how many new ones it made, and how many
    code did."""

    asked: float | None = None
    by_llm: int = 0
    by_code: int = 0


class Ledger:
    """A recorder that adds up what outcomes cost; `clock` gives the seconds since the run began.

    The proposal agent's model counts as down from the first call of a round in which it gave no new architecture of
    the space until it gives one, whatever the reason; that of any other role from a failed call to a good one.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._calls: dict[Role, Calls] = {}
        self._models: defaultdict[Role, dict[str, None]] = defaultdict(dict)
        self._dates: dict[Role, tuple[str, str]] = {}
        self._down_since: dict[Role, float] = {}
        self._down_seconds: defaultdict[Role, float] = defaultdict(float)
        self._stage_seconds: defaultdict[Stage, float] = defaultdict(float)
        self._round = _Round()
        self._substitutes = 0
        self._replies = 0
        self._unreadable = 0
        self._proposed: set[Architecture] = set()

    def replay(self, entries: Iterable[tuple[float, Outcome]]) -> None:
        """Add outcomes of earlier, each at its seconds since the run began."""
        clock = self._clock
        for seconds, outcome in entries:
            self._clock = partial(float, seconds)
            self(outcome)
        self._clock = clock

    def __call__(self, outcome: Outcome) -> None:
        """Add `outcome`."""
        match outcome:
            case Exchanged(exchange):
                self._add(exchange)
            case Proposed(Proposal(architecture, origin)):
                by_llm = origin.startswith(LLM_ORIGIN)
                self._round.by_code += not by_llm
                if by_llm and architecture not in self._proposed:
                    self._round.by_llm += 1
                    self._up("proposal")
                self._proposed.add(architecture)
            case Proposed(InvalidProposal(readable=False)):
                self._unreadable += 1
            case ProposalsEnded(seconds):
                self._stage_seconds["propose"] += seconds
                self._end_round()
            case WorkFailed("propose"):
                self._end_round()
            case Checked(seconds=seconds):
                self._stage_seconds["check"] += seconds
            case Trained(_, trial):
                self._stage_seconds["train"] += trial.seconds
            case EvaluationDone(_, evaluation):
                self._stage_seconds["evaluate"] += evaluation.seconds
            case TestDone(_, test):
                self._stage_seconds["test"] += test.seconds
            case DeployDone(_, deployment):
                self._stage_seconds["deploy"] += deployment.seconds

    def costs(self) -> Costs:
        """What has been added up until now."""
        now = self._clock()
        return Costs(
            tuple(
                RoleCosts(
                    role,
                    self._calls[role],
                    self._down_seconds[role] + now - self._down_since.get(role, now),
                    tuple(self._models[role]),
                    *self._dates[role],
                )
                for role in sorted(self._calls)
            ),
            self._substitutes,
            tuple(self._stage_seconds.items()),
            self._replies,
            self._unreadable,
        )

    def _add(self, exchange: Exchange) -> None:
        role, call = exchange.role, calls_of(exchange)
        self._calls[role] = self._calls.get(role, Calls()) + call
        self._dates[role] = self._dates.get(role, (exchange.date,))[0], exchange.date
        if exchange.reply:
            self._models[role][exchange.model] = None
        began = self._clock() - exchange.seconds
        if role == "proposal":
            self._replies += bool(exchange.reply or exchange.finish)
            self._round.asked = began if self._round.asked is None else self._round.asked
        elif call.failed:
            self._down_since.setdefault(role, began)
        else:
            self._up(role)

    def _end_round(self) -> None:
        ended, self._round = self._round, _Round()
        if ended.asked is not None and not ended.by_llm:
            self._down_since.setdefault("proposal", ended.asked)
        if "proposal" in self._down_since:
            self._substitutes += ended.by_code

    def _up(self, role: Role) -> None:
        now = self._clock()
        self._down_seconds[role] += now - self._down_since.pop(role, now)
