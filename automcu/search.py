"""The search: what to do next, and what came back. Plain decisions; it starts no process and knows neither Ray nor
torch.

A candidate goes check -> train -> evaluate; when the time or the number of candidates is spent, the best go on to
retrain -> evaluate where there is a final phase, and the best of all to test -> deploy. Where there is a supervisor
agent, each round of proposals begins with its plan; where there is a training agent, it chooses a recipe between check
and train. An executor asks for work (`next_work`), does it, and hands every outcome back (`record`). Outcomes may come
in any order; each piece of work has exactly one outcome, except `Propose`, whose items arrive one by one before its
`ProposalsEnded`. `drive` is the whole loop.

Rules that hold whatever the order: nothing is trained without a report that keeps the budget (but for a policy to
compare with, see `Limits.unfit_epochs`), no architecture is checked twice, every candidate ends as exactly one
`Finished`, and failed work is repeated only when the failure was the infrastructure's.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Literal, Protocol

from automcu.architecture import Candidate
from automcu.finished import Deployed, Evaluated, Failed, Finished, Rejected, Skipped, Stopped
from automcu.messages import ConvergenceNote, RecipeRequest, RoundPlan, RoundRequest, convergence_note
from automcu.proposal import InvalidProposal, Notice, Proposal, ProposalItem
from automcu.results import TrialResult
from automcu.work import (
    STAGES,
    CandidateWork,
    Check,
    Checked,
    ChooseRecipe,
    Deploy,
    DeployDone,
    Evaluate,
    EvaluationDone,
    Exchanged,
    Noticed,
    Outcome,
    Plan,
    Planned,
    ProposalsEnded,
    Propose,
    Proposed,
    RecipeChosen,
    Result,
    Retrain,
    Stage,
    Test,
    TestDone,
    Train,
    Trained,
    Work,
    WorkFailed,
    stage_of,
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds a search. `seconds` is the whole run; `finish_share` of it is kept for the last evaluations, the test
    and the bundle. `batch` proposals are asked for at once, `lookahead` fitting candidates are kept waiting for a
    training slot, `attempts` is how often work is tried when the infrastructure fails. After the search the
    `final_candidates` best are trained again, for at most `final_seconds` each, which come on top of `seconds`.
    The last two are to compare with: what breaks the budget is rejected only after `unfit_epochs` of training, at most
    all of them; and without `feedback` no role is told what became of a proposal."""

    seconds: float
    max_proposals: int
    max_trained: int
    batch: int
    lookahead: int
    finish_share: float
    attempts: int
    final_candidates: int = 0
    final_seconds: float = 0.0
    unfit_epochs: int = 0
    feedback: bool = True


@dataclass(frozen=True, slots=True)
class Funnel:
    """How many got how far. `proposed` counts valid, new architectures; each is in exactly one of the later counts'
    terminal groups once the search is done."""

    proposed: int
    invalid: int
    duplicate: int
    feasible: int
    rejected: int
    trained: int
    stopped: int
    evaluated: int
    failed: int
    skipped: int
    deployed: int


class Executor(Protocol):
    """Does the work that a search hands out. Implementations: `executors.inline`, `actors.executor`."""

    def room(self) -> Mapping[Stage, int]:
        """How many more pieces of work each stage takes now."""
        ...

    def submit(self, work: Work) -> None:
        """Begin one piece of work; its outcome comes from `wait`."""
        ...

    def wait(self) -> Sequence[Outcome]:
        """Outcomes that have come in, in order; blocks a moment when there are none, and may then return none."""
        ...


class Recorder(Protocol):
    """Told of every outcome before the search acts on it: the journal, the progress lines."""

    def __call__(self, outcome: Outcome, /) -> None:
        """Take note of `outcome`."""
        ...


def drive(search: "Search", executor: Executor, recorders: Sequence[Recorder]) -> None:
    """Run `search` to its end on `executor`."""
    while not search.done:
        for work in search.next_work(executor.room()):
            executor.submit(work)
        for outcome in executor.wait():
            for record in recorders:
                record(outcome)
            search.record(outcome)


class Search:
    """The decisions of one run. `clock` gives the seconds since the run began. `plans` says that a supervisor agent is
    to be asked before each round, `recipes` that a training agent is before each training."""

    MAX_FRUITLESS_ROUNDS = 20
    """Rounds in a row without one new architecture after which the proposer counts as exhausted."""

    def __init__(
        self, limits: Limits, clock: Callable[[], float], *, plans: bool = False, recipes: bool = False
    ) -> None:
        self.limits = limits
        self.finished: dict[int, Finished] = {}
        self.trouble: str | None = None
        """What went wrong so that proposing ended before its time, or None."""
        self.stopped_by: str | None = None
        """What ended the proposing in good order before time and candidates were spent, or None."""
        self._plans = plans
        self._recipes = recipes
        self._plan: RoundPlan | None = None
        self._planning = False
        self._unplanned = False
        self._round = 0
        self._round_best = 0.0
        self._rounds_without_gain = 0
        self._notes: list[ConvergenceNote] = []
        self._clock = clock
        self._candidates = 0
        self._seen: set[tuple[str, str]] = set()
        self._due: dict[int, CandidateWork] = {}
        self._queues: dict[Stage, deque[int]] = {stage: deque() for stage in STAGES}
        self._running: set[int] = set()
        self._attempts: Counter[tuple[Stage, int | None]] = Counter()
        self._news: list[Finished] = []
        self._proposing = False
        self._fruitless = 0
        self._fruit = False
        self._answered = True
        """Whether the last round brought anything, a duplicate or what is invalid included."""
        self._trial_seconds: list[float] = []
        self._longest_evaluation = 0.0
        self._finalists: int | None = None
        """How many of the best are trained again, once the search is over."""
        self._counts: Counter[str] = Counter()
        self._over = False

    # ---- what next -------------------------------------------------------------------------------------------------
    @property
    def done(self) -> bool:
        """Nothing is running, waiting, or left to decide."""
        return self._over

    @property
    def training_over(self) -> bool:
        """No training will be asked for any more, and none is under way."""
        # Another thread may ask while this one works: the copy is made in one step, a scan of the dict would not be.
        due = list(self._due.values())
        return self._over or (not self._may_train and not any(isinstance(work, Train) for work in due))

    def next_work(self, room: Mapping[Stage, int]) -> list[Work]:
        """Work to begin now, at most `room` of each stage; later stages first, so queues drain before they fill."""
        self._retire()
        work: list[Work] = []
        for stage in ("deploy", "test", "evaluate", "retrain", "train", "recipe", "check"):
            free = room.get(stage, 0)
            if stage == "train":
                free = min(free, self.limits.max_trained - self._counts["training begun"])
            work += self._take(stage, free)
        if room.get("propose", 0) > 0 and self._wants_proposals():
            most = min(self.limits.batch, self.limits.max_proposals - self._candidates)
            if self._plans and self._plan is None and not self._unplanned:
                if not self._planning and room.get("plan", 0) > 0:
                    self._planning = True
                    work.append(Plan(self._round_request(most)))
            else:
                self._proposing, self._fruit, self._answered = True, False, False
                news = tuple(self._news) if self.limits.feedback else ()
                count = most if self._plan is None else min(most, self._plan.count)
                work.append(Propose(count, news, self._plan))
                self._news.clear()
                self._plan, self._unplanned = None, False
        return work

    def _round_request(self, most: int) -> RoundRequest:
        """How the search stands, for the supervisor agent."""
        best = self.best
        accuracy = best.evaluation.int8_validation_accuracy if best else 0.0
        self._rounds_without_gain = 0 if accuracy > self._round_best else self._rounds_without_gain + 1
        self._round, self._round_best = self._round + 1, accuracy
        broken = Counter(v.resource for end in self._news if isinstance(end, Rejected) for v in end.violations)
        return RoundRequest(
            round=self._round,
            proposed=self._candidates,
            feasible=self._counts["feasible"],
            trained=self._counts["trained"],
            duplicate=self._counts["duplicate"],
            best_accuracy=accuracy if best else None,
            rounds_without_gain=self._rounds_without_gain,
            over_ram=broken["ram"],
            over_flash=broken["flash"],
            over_other=broken["macs"] + broken["latency"],
            trainings_left=self.limits.max_trained - self._counts["training begun"],
            most_proposals=most,
        )

    def _take(self, stage: Stage, count: int) -> list[CandidateWork]:
        queue, taken = self._queues[stage], list[CandidateWork]()
        if stage == "evaluate" and len(queue) > 1:
            queue = self._queues[stage] = deque(sorted(queue, key=self._float_accuracy, reverse=True))
        while queue and len(taken) < count:
            work = self._due.get(queue.popleft())
            if work is None or stage_of(work) != stage or work.candidate.id in self._running:
                continue
            if isinstance(work, Train):
                epochs = self.limits.unfit_epochs if work.violations else None
                work = replace(work, seconds=self._search_seconds - self._clock(), epochs=epochs)
                self._counts["training begun"] += 1
            if isinstance(work, ChooseRecipe):
                notes = tuple(self._notes) if self.limits.feedback else ()
                work = replace(work, request=replace(work.request, notes=notes))
                self._notes.clear()
            self._running.add(work.candidate.id)
            taken.append(work)
        return taken

    def _float_accuracy(self, candidate_id: int) -> float:
        work = self._due.get(candidate_id)
        return work.trial.validation_accuracy if isinstance(work, Evaluate) else 0.0

    @property
    def _search_seconds(self) -> float:
        return self.limits.seconds * (1 - self.limits.finish_share)

    @property
    def _may_train(self) -> bool:
        """Whether a training begun now could still count: one is allowed, and a usual one would end in time."""
        usual = median(self._trial_seconds) if self._trial_seconds else 0.0
        in_time = self._clock() + usual < self._search_seconds
        return in_time and self._counts["training begun"] < self.limits.max_trained

    def _wants_proposals(self) -> bool:
        waiting = sum(
            isinstance(work, Check | ChooseRecipe)
            or (isinstance(work, Train) and work.candidate.id not in self._running)
            for work in self._due.values()
        )
        awaits_news = not self._answered and not self._news and bool(self._due)
        return (
            not self._proposing
            and not awaits_news
            and self.trouble is None
            and self.stopped_by is None
            and self._candidates < self.limits.max_proposals
            and self._fruitless < self.MAX_FRUITLESS_ROUNDS
            and self._may_train
            and waiting < self.limits.lookahead
        )

    def _retire(self) -> None:
        """Give up what can no longer be done, and once everything else has ended choose the winner, or end."""
        if not self._may_train:
            for stage in ("check", "recipe", "train"):
                self._skip(stage)
        extra = (self._finalists or 0) * self.limits.final_seconds
        # The test and the bundle take about as long again as an evaluation.
        out_of_time = self._clock() + 2 * self._longest_evaluation >= self.limits.seconds + extra
        if out_of_time and self._counts["evaluated"] and self._finalists is None:  # no long training is thrown away
            self._skip("evaluate")
        if self._due or self._wants_proposals() or (self._proposing and self._may_train):
            return
        if self._finalists is None and self._begin_final_phase():
            return
        ends = self.finished.values()
        gave_up = out_of_time and any(isinstance(end, Failed) and end.stage in ("test", "deploy") for end in ends)
        winner = None if gave_up or any(isinstance(end, Deployed) for end in ends) else self._winner
        if winner is None:
            self._over = True
        else:
            self._queue(Test(winner))

    def _begin_final_phase(self) -> bool:
        """Have the best trained again; whether there are any."""
        best = self._ranked[: self.limits.final_candidates]
        for evaluated in best:
            self._queue(Retrain(evaluated, self.limits.final_seconds))
        self._finalists = len(best)
        return bool(best)

    def _skip(self, stage: Stage) -> None:
        for candidate_id in list(self._queues[stage]):
            work = self._due.get(candidate_id)
            if work is not None and stage_of(work) == stage and candidate_id not in self._running:
                self._give_up(Skipped(work.candidate, stage))
        self._queues[stage].clear()

    def _queue(self, work: CandidateWork) -> None:
        self._due[work.candidate.id] = work
        self._running.discard(work.candidate.id)
        self._queues[stage_of(work)].append(work.candidate.id)

    # ---- what came back --------------------------------------------------------------------------------------------
    def record(self, outcome: Outcome) -> None:
        """Take an outcome in. One that no candidate is due for (it came twice, or late) is ignored."""
        if self._over:
            return
        match outcome:
            case Proposed(item):
                self._record_item(item)
            case Planned(plan):
                self._planning = False
                if plan.stop:
                    self.stopped_by = f"the supervisor agent ({plan.reason})"
                else:
                    self._plan = plan
            case WorkFailed("plan"):
                self._planning, self._unplanned = False, True
            case ProposalsEnded(_, cap):
                self._proposing = self._planning = False
                self._attempts["propose", None] = 0
                awaits_news = not self._answered and bool(self._due)
                self._fruitless = 0 if self._fruit or awaits_news else self._fruitless + 1
                self.stopped_by = self.stopped_by or cap or None
            case Exchanged() | Noticed():
                pass
            case WorkFailed(stage, None, retryable, message):
                self._proposing = False
                self._attempts[stage, None] += 1
                if not retryable or self._attempts[stage, None] >= self.limits.attempts:
                    self.trouble = message
                elif retryable:
                    # Whoever proposes now may have been started afresh, without its memory.
                    self._news = list(self.finished.values())
            case WorkFailed():
                self._record_failure(outcome)
            case _:
                self._record_result(outcome)

    def _record_item(self, item: ProposalItem) -> None:
        self._answered = self._answered or not isinstance(item, Notice)
        match item:
            case Proposal(architecture, origin):
                key = (architecture.space, architecture.text)
                if key in self._seen or self._candidates >= self.limits.max_proposals:
                    self._counts["duplicate"] += 1
                    return
                self._seen.add(key)
                self._candidates += 1
                self._fruit = True
                self._queue(Check(Candidate(self._candidates, architecture, origin)))
            case InvalidProposal():
                self._counts["invalid"] += 1
            case Notice():
                pass

    def _record_failure(self, failure: WorkFailed) -> None:
        stage, candidate_id = failure.stage, failure.candidate_id
        work = None if candidate_id is None else self._due.get(candidate_id)
        if work is None or stage_of(work) != stage:
            return
        self._attempts[stage, candidate_id] += 1
        if failure.retryable and self._attempts[stage, candidate_id] < self.limits.attempts:
            if stage == "train":
                self._counts["training begun"] -= 1
            self._queue(work)
        elif isinstance(work, ChooseRecipe):  # the configured recipe will do
            self._queue(Train(work.candidate, work.report, violations=work.violations))
        else:
            if isinstance(work, Train) and self._recipes:
                self._notes.append(convergence_note(work.candidate.id, None, work.recipe))
            cause: Literal["infrastructure", "candidate"] = "infrastructure" if failure.retryable else "candidate"
            self._give_up(Failed(work.candidate, stage, cause, failure.message))

    def _record_result(self, outcome: Result) -> None:
        work = self._due.get(outcome.candidate_id)
        match work, outcome:
            case Check(candidate), Checked(_, report, violations):
                self._counts["feasible"] += not violations
                if violations and not self.limits.unfit_epochs:
                    self._finish(Rejected(candidate, report, violations))
                elif self._recipes:
                    request = RecipeRequest(candidate.id, report.macs, report.weights_bytes, ())
                    self._queue(ChooseRecipe(candidate, report, request, violations))
                else:
                    self._queue(Train(candidate, report, violations=violations))
            case ChooseRecipe(candidate, report, _, violations), RecipeChosen(_, recipe):
                self._queue(Train(candidate, report, recipe=recipe, violations=violations))
            case Train(candidate, report, _, recipe, violations), Trained(_, trial):
                self._counts["trained"] += 1
                self._trial_seconds.append(trial.seconds)
                if self._recipes:
                    self._notes.append(convergence_note(candidate.id, trial, recipe))
                if violations:
                    self._finish(Rejected(candidate, report, violations, trial))
                elif trial.ended == "scheduler":
                    self._finish(Stopped(candidate, report, trial))
                else:
                    self._queue(Evaluate(candidate, report, trial))
            case Retrain(Evaluated(candidate, report)), Trained(_, trial):
                self._queue(Evaluate(candidate, report, trial))
            case Evaluate(candidate, report, trial), EvaluationDone(_, evaluation, note):
                self._counts["evaluated"] += not trial.final
                self._longest_evaluation = max(self._longest_evaluation, evaluation.seconds)
                before = self.finished.get(candidate.id)
                searched = before.evaluation if isinstance(before, Evaluated) and evaluation.trained_on else None
                self._finish(Evaluated(candidate, report, trial, evaluation, note, searched))
            case Test(evaluated), TestDone(_, test):
                self._queue(Deploy(evaluated, test))
            case Deploy(evaluated, test), DeployDone(_, deployment):
                measured = evaluated.report, evaluated.trial, evaluated.evaluation
                self._finish(Deployed(evaluated.candidate, *measured, test, deployment, evaluated.searched))

    def _give_up(self, end: Failed | Skipped) -> None:
        """`end` is how the candidate ends; but one that fails in the final phase stays what the search made of it."""
        work = self._due.get(end.candidate.id)
        if isinstance(work, Retrain) or (isinstance(work, Evaluate) and work.trial.final):
            del self._due[end.candidate.id]
            self._running.discard(end.candidate.id)
        else:
            self._finish(end)

    def _finish(self, end: Finished) -> None:
        self.finished[end.candidate.id] = end
        self._due.pop(end.candidate.id, None)
        self._running.discard(end.candidate.id)
        self._news.append(end)

    def replay(self, outcomes: Iterable[Outcome]) -> None:
        """Bring a fresh search to where a journal's outcomes leave off; work that was under way is due again."""
        for outcome in outcomes:
            match outcome:
                case Trained(trial=TrialResult(final=True)) | WorkFailed("retrain") if self._finalists is None:
                    self._begin_final_phase()
                case Trained(trial=TrialResult(final=False)) | WorkFailed("train"):
                    self._counts["training begun"] += 1
                case TestDone(candidate_id) | WorkFailed("test", int(candidate_id)):
                    end = self.finished.get(candidate_id)
                    if isinstance(end, Evaluated):
                        self._queue(Test(end))
            self.record(outcome)
        self._proposing = self._planning = False
        self._news = list(self.finished.values())
        self._over = any(isinstance(end, Deployed) for end in self.finished.values())

    # ---- how it stands ---------------------------------------------------------------------------------------------
    @property
    def best(self) -> Evaluated | None:
        """The evaluated candidate of highest int8 validation accuracy; of equals the smaller, then the earlier."""
        return next(iter(self._ranked), None)

    @property
    def _ranked(self) -> list[Evaluated]:
        """All evaluated candidates, best first."""
        evaluated = [end for end in self.finished.values() if isinstance(end, Evaluated)]
        return sorted(
            evaluated,
            key=lambda end: (
                -end.chosen_by.int8_validation_accuracy,
                end.report.ram_bytes + end.report.flash_bytes,
                end.candidate.id,
            ),
        )

    @property
    def _winner(self) -> Evaluated | None:
        """What ships: the best of those that came through the final phase, else the best of the search."""
        ranked = self._ranked
        return next((end for end in ranked if end.trial.final), ranked[0] if ranked else None)

    @property
    def funnel(self) -> Funnel:
        """Counts so far."""
        ends = Counter(type(end) for end in self.finished.values())
        return Funnel(
            proposed=self._candidates,
            invalid=self._counts["invalid"],
            duplicate=self._counts["duplicate"],
            feasible=self._counts["feasible"],
            rejected=ends[Rejected],
            trained=self._counts["trained"],
            stopped=ends[Stopped],
            evaluated=self._counts["evaluated"],
            failed=ends[Failed],
            skipped=ends[Skipped],
            deployed=ends[Deployed],
        )
