"""The search's promises, under any order of completion, any number of workers and any failures."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automcu.board import Budget
from automcu.finished import Deployed, Evaluated, Failed, Finished, Rejected, Skipped, Stopped
from automcu.messages import RecipeChoice, RoundPlan
from automcu.proposal import InvalidProposal, Proposal
from automcu.results import TrialResult
from automcu.search import Limits, Search, drive
from automcu.work import (
    STAGES,
    Check,
    Checked,
    ChooseRecipe,
    Deploy,
    DeployDone,
    Evaluate,
    EvaluationDone,
    Outcome,
    Plan,
    Planned,
    ProposalsEnded,
    Propose,
    Proposed,
    RecipeChosen,
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
from tests.builders import architecture, deployment, evaluation, report, test_result, trial

RECIPE = RecipeChoice(50, 100, 100)
BUDGET = Budget(ram_bytes=20_000, flash_bytes=100_000, macs=None)


class ShuffledExecutor:
    """Completes work in an order, with results and failures, that Hypothesis draws. Time passes as work completes."""

    def __init__(self, draw: st.DataObject, workers: int, trouble: bool) -> None:
        self.draw, self.workers, self.trouble = draw, workers, trouble
        self.now = 0.0
        self.flying: list[Work] = []
        self.begun: list[Work] = []
        self.proposed = 0
        self.sees_validation = draw.draw(st.booleans())
        self.evaluated: dict[int, Finished] = {}

    def clock(self) -> float:
        return self.now

    def room(self) -> Mapping[Stage, int]:
        flying = Counter(stage_of(work) for work in self.flying)
        return {stage: self.workers - flying[stage] for stage in STAGES}

    def submit(self, work: Work) -> None:
        self.flying.append(work)
        self.begun.append(work)

    def wait(self) -> Sequence[Outcome]:
        if not self.flying:
            return ()
        self.now += self.draw.draw(st.floats(0, 3))
        work = self.flying.pop(self.draw.draw(st.integers(0, len(self.flying) - 1)))
        if self.trouble and self.draw.draw(st.integers(0, 3)) == 0:
            candidate_id = None if isinstance(work, Plan | Propose) else work.candidate.id
            failed = WorkFailed(stage_of(work), candidate_id, self.draw.draw(st.booleans()), "trouble")
            twice = candidate_id is not None and self.draw.draw(st.booleans())
            return (failed, failed) if twice and not failed.retryable else (failed,)
        return tuple(self.outcomes(work))

    def outcomes(self, work: Work) -> Iterator[Outcome]:
        match work:
            case Plan(request):
                count, stop = self.draw.draw(st.integers(1, 9)), self.draw.draw(st.integers(0, 9)) == 0
                assert 1 <= request.most_proposals <= 4
                yield Planned(RoundPlan(count, "explore", stop, "why not"))
            case ChooseRecipe(candidate):
                yield RecipeChosen(candidate.id, RECIPE)
            case Propose(count):
                for _ in range(self.draw.draw(st.integers(0, count))):
                    self.proposed += 1
                    yield Proposed(Proposal(architecture(self.proposed // 2), "test"))  # every other one a duplicate
                yield Proposed(InvalidProposal("{", "not JSON"))
                yield ProposalsEnded(0.1)
            case Check(candidate):
                facts = report(activations=self.draw.draw(st.sampled_from([5_000, 50_000])))
                yield Checked(candidate.id, facts, BUDGET.violations(facts), 0.1)
            case Train(candidate):
                ended = self.draw.draw(st.sampled_from(["completed", "scheduler", "deadline"]))
                yield Trained(candidate.id, trial(0.5, self.draw.draw(st.floats(0, 5)), ended))
            case Evaluate(candidate, _, trained):
                measured = evaluation(self.draw.draw(st.floats(0, 1)))
                yield EvaluationDone(candidate.id, replace(measured, trained_on=trained.saw_validation))
            case Retrain(evaluated):
                assert evaluated == self.evaluated[evaluated.candidate.id]
                yield Trained(work.candidate.id, final_trial(self.draw.draw(st.floats(0, 5)), self.sees_validation))
            case Test():
                yield TestDone(work.candidate.id, test_result())
            case Deploy():
                yield DeployDone(work.candidate.id, deployment())


def final_trial(seconds: float = 1.0, saw_validation: bool = False) -> TrialResult:
    return replace(trial(0.9, seconds), final=True, saw_validation=saw_validation)


@given(st.data(), st.integers(1, 4), st.booleans(), st.booleans(), st.booleans(), st.integers(0, 2))
def test_whatever_happens_nothing_is_lost_and_nothing_infeasible_trains(
    draw: st.DataObject, workers: int, trouble: bool, plans: bool, recipes: bool, unfit: int
) -> None:
    executor = ShuffledExecutor(draw, workers, trouble)
    limits = Limits(
        seconds=draw.draw(st.floats(0, 60)), max_proposals=12, max_trained=5, batch=4, lookahead=3, finish_share=0.2,
        attempts=2, final_candidates=draw.draw(st.integers(0, 3)), final_seconds=5, unfit_epochs=unfit,
    )  # fmt: skip
    search = Search(limits, executor.clock, plans=plans, recipes=recipes)
    executor.evaluated = search.finished
    drive(search, executor, ())

    assert all(isinstance(work, Plan | Propose) for work in executor.flying)
    for work in executor.begun:
        assert plans or not isinstance(work, Plan)
        if isinstance(work, Train):
            assert work.violations == BUDGET.violations(work.report)
            assert work.epochs == unfit if work.violations else work.epochs is None
            assert unfit or not work.violations
            assert work.recipe in ((RECIPE, None) if recipes and trouble else (RECIPE,) if recipes else (None,))
    checks = Counter(work.candidate.architecture for work in executor.begun if isinstance(work, Check))
    assert all(count <= limits.attempts for count in checks.values())
    assert len({id for id in search.finished}) == search.funnel.proposed <= limits.max_proposals
    assert sorted(search.finished) == list(range(1, search.funnel.proposed + 1))
    for end in search.finished.values():
        if isinstance(end, Rejected):
            assert (end.trial is not None) == bool(unfit)
        if isinstance(end, Stopped | Evaluated | Deployed):
            assert not BUDGET.violations(end.report)
    ends = Counter(type(end) for end in search.finished.values())
    assert set(ends) <= {Rejected, Stopped, Evaluated, Deployed, Failed, Skipped}
    assert ends[Deployed] <= 1
    tested = [work for work in executor.begun if isinstance(work, Test)]
    if not trouble:
        assert len(tested) == ends[Deployed] == (search.funnel.evaluated > 0)
        assert sum(isinstance(work, Train) for work in executor.begun) <= limits.max_trained
    retrained = Counter(work.candidate.id for work in executor.begun if isinstance(work, Retrain))
    assert len(retrained) <= limits.final_candidates and all(count <= limits.attempts for count in retrained.values())
    deployed = [end for end in search.finished.values() if isinstance(end, Deployed)]
    for end in deployed:
        rivals = [other for other in search.finished.values() if isinstance(other, Evaluated)]
        if retrained and not trouble:
            assert end.trial.final
        assert end.trial.saw_validation == (end.searched is not None)
        if end.trial.final:
            rivals = [rival for rival in rivals if rival.trial.final]
        assert all(
            other.chosen_by.int8_validation_accuracy <= end.chosen_by.int8_validation_accuracy for other in rivals
        )


def limits(**changed: float) -> Limits:
    values = dict(seconds=1000, max_proposals=100, max_trained=10, batch=4, lookahead=4, finish_share=0.1, attempts=2)
    return Limits(**(values | changed))  # type: ignore[arg-type]


ROOM: Mapping[Stage, int] = {stage: 1 if stage in ("plan", "propose", "test", "deploy") else 9 for stage in STAGES}


def feed(search: Search, numbers: Sequence[int]) -> list[Work]:
    """Let the proposer offer `numbers`, pass them all through the gate; returns the work that comes next."""
    assert any(isinstance(work, Propose) for work in search.next_work(ROOM))
    for number in numbers:
        search.record(Proposed(Proposal(architecture(number), "test")))
    search.record(ProposalsEnded(0.0))
    for work in search.next_work(ROOM):
        if isinstance(work, Check):
            search.record(Checked(work.candidate.id, report(), (), 0.0))
    return search.next_work(ROOM)


def test_a_duplicate_is_refused_before_it_costs_anything() -> None:
    search = Search(limits(), lambda: 0.0)
    trainings = [work for work in feed(search, [1, 1, 2, 1]) if isinstance(work, Train)]
    assert [work.candidate.id for work in trainings] == [1, 2]
    assert search.funnel.duplicate == 2


def test_a_proposer_that_waits_for_results_is_asked_again_when_there_are_some() -> None:
    search = Search(limits(), lambda: 0.0)
    (training,) = [work for work in feed(search, [1]) if isinstance(work, Train)]
    search.record(ProposalsEnded(0.0))  # the round that `feed` left under way brought nothing
    assert not search.next_work(ROOM)
    search.record(Trained(training.candidate.id, trial()))
    assert [type(work) for work in search.next_work(ROOM)] == [Evaluate]
    search.record(EvaluationDone(training.candidate.id, evaluation()))
    rounds = 0
    while any(isinstance(work, Propose) for work in search.next_work(ROOM)):
        search.record(ProposalsEnded(0.0))
        rounds += 1
    assert rounds == Search.MAX_FRUITLESS_ROUNDS  # nothing is under way any more that could change its mind


def test_a_training_gets_the_time_that_is_left_for_searching() -> None:
    now = 0.0
    search = Search(limits(seconds=100, finish_share=0.2), lambda: now)
    now = 30.0
    (training,) = [work for work in feed(search, [1]) if isinstance(work, Train)]
    assert training.seconds == pytest.approx(50)


def test_no_training_begins_that_cannot_end_in_time() -> None:
    now = 0.0
    search = Search(limits(seconds=100, finish_share=0.0), lambda: now)
    (first,) = [work for work in feed(search, [1]) if isinstance(work, Train)]
    now = 60.0
    search.record(Trained(first.candidate.id, trial(seconds=60)))
    later = search.next_work(ROOM)
    assert [type(work) for work in later] == [Evaluate]


def test_infrastructure_failures_are_retried_within_the_bound_and_candidate_failures_never() -> None:
    search = Search(limits(attempts=2), lambda: 0.0)
    works = [work for work in feed(search, [1, 2]) if isinstance(work, Train)]
    search.record(WorkFailed("train", works[0].candidate.id, True, "killed"))
    search.record(WorkFailed("train", works[1].candidate.id, False, "NaN"))
    again = [work for work in search.next_work(ROOM) if isinstance(work, Train)]
    assert [work.candidate.id for work in again] == [1]
    search.record(WorkFailed("train", 1, True, "killed"))
    assert [(end.candidate.id, end.cause) for end in search.finished.values() if isinstance(end, Failed)] == [
        (2, "candidate"),
        (1, "infrastructure"),
    ]


def test_a_proposer_that_fails_ends_the_proposing_but_not_the_candidates_under_way() -> None:
    search = Search(limits(), lambda: 0.0)
    works = feed(search, [1])
    (training,) = [work for work in works if isinstance(work, Train)]
    search.record(WorkFailed("propose", None, False, "the LLM is down"))
    search.record(Trained(training.candidate.id, trial()))
    assert search.trouble == "the LLM is down"
    assert [type(work) for work in search.next_work(ROOM)] == [Evaluate]


def test_when_the_winner_cannot_be_deployed_the_next_best_is() -> None:
    search = Search(limits(max_trained=2, lookahead=1), lambda: 0.0)
    works = [work for work in feed(search, [1, 2]) if isinstance(work, Train)]
    for work in works:
        search.record(Trained(work.candidate.id, trial()))
    for work in search.next_work(ROOM):
        if isinstance(work, Evaluate):
            search.record(EvaluationDone(work.candidate.id, evaluation(0.9 if work.candidate.id == 1 else 0.8)))
    (first,) = search.next_work(ROOM)
    assert isinstance(first, Test) and first.candidate.id == 1
    search.record(WorkFailed("test", 1, False, "broken"))
    (second,) = search.next_work(ROOM)
    assert isinstance(second, Test) and second.candidate.id == 2


def searched(final_candidates: int, accuracies: Mapping[int, float]) -> Search:
    """A search that has evaluated candidates with these accuracies, and has nothing left but its final phase."""
    search = Search(
        limits(max_trained=len(accuracies), lookahead=1, final_candidates=final_candidates, final_seconds=500),
        lambda: 0.0,
    )
    for work in feed(search, list(accuracies)):
        if isinstance(work, Train):
            search.record(Trained(work.candidate.id, trial()))
    for work in search.next_work(ROOM):
        if isinstance(work, Evaluate):
            search.record(EvaluationDone(work.candidate.id, evaluation(accuracies[work.candidate.id])))
    return search


@pytest.mark.parametrize(("saw_validation", "winner"), [(False, 1), (True, 3)])
def test_the_best_are_trained_again_and_unseen_images_choose_among_them(saw_validation: bool, winner: int) -> None:
    search = searched(2, {1: 0.8, 2: 0.7, 3: 0.9})
    finals = search.next_work(ROOM)
    assert [(work.candidate.id, work.seconds) for work in finals if isinstance(work, Retrain)] == [(3, 500), (1, 500)]
    for number in (3, 1):
        search.record(Trained(number, final_trial(saw_validation=saw_validation)))
    measured = search.next_work(ROOM)
    assert [work.candidate.id for work in measured if isinstance(work, Evaluate)] == [3, 1]
    search.record(EvaluationDone(3, replace(evaluation(0.95), trained_on=saw_validation)))
    search.record(EvaluationDone(1, replace(evaluation(0.96), trained_on=saw_validation)))
    (test,) = search.next_work(ROOM)
    assert isinstance(test, Test) and test.candidate.id == winner and test.evaluated.trial.final
    assert (search.funnel.trained, search.funnel.evaluated) == (3, 3)


@pytest.mark.parametrize("stage", ["retrain", "evaluate"])
def test_who_fails_in_the_final_phase_stays_what_the_search_made_of_it(stage: Stage) -> None:
    search = searched(1, {1: 0.8, 2: 0.7})
    before = search.finished[1]
    search.next_work(ROOM)
    if stage == "evaluate":
        search.record(Trained(1, final_trial()))
        search.next_work(ROOM)
    search.record(WorkFailed(stage, 1, False, "the loss is NaN"))
    (test,) = search.next_work(ROOM)
    assert isinstance(test, Test) and test.evaluated == before == search.finished[1]


@pytest.mark.parametrize("told", range(7))
def test_a_replayed_search_goes_on_in_its_final_phase(told: int) -> None:
    search = searched(2, {1: 0.8, 2: 0.7})
    finals: list[Outcome] = [
        WorkFailed("retrain", 1, True, "killed"),
        Trained(1, final_trial()),
        EvaluationDone(1, evaluation(0.95)),
        WorkFailed("retrain", 2, False, "NaN"),
        TestDone(1, test_result()),
        DeployDone(1, deployment()),
    ]
    story: list[Outcome] = []
    for number in (1, 2):
        story += [Proposed(Proposal(architecture(number), "test")), Checked(number, report(), (), 0.0)]
        story += [Trained(number, trial()), EvaluationDone(number, evaluation(1 - number / 10))]
    story.append(ProposalsEnded(0.0))
    fresh = Search(search.limits, lambda: 0.0)
    fresh.replay([*story, *finals[:told]])
    while not fresh.done:
        for work in fresh.next_work(ROOM):
            match work:
                case Retrain():
                    fresh.record(Trained(work.candidate.id, final_trial()))
                case Evaluate():
                    fresh.record(EvaluationDone(work.candidate.id, evaluation(0.95)))
                case Test():
                    fresh.record(TestDone(work.candidate.id, test_result()))
                case Deploy():
                    fresh.record(DeployDone(work.candidate.id, deployment()))
    end = fresh.finished[1]
    assert isinstance(end, Deployed) and end.trial.final and fresh.funnel.trained == 2


def test_outcomes_that_nobody_waits_for_are_ignored() -> None:
    search = Search(limits(), lambda: 0.0)
    search.record(Trained(7, trial()))
    search.record(WorkFailed("train", 7, True, "late"))
    assert search.funnel.trained == 0 and not search.finished


def test_a_round_begins_with_the_supervisors_plan_which_bounds_it() -> None:
    search = Search(limits(), lambda: 0.0, plans=True)
    (asked,) = search.next_work(ROOM)
    assert isinstance(asked, Plan) and (asked.request.round, asked.request.most_proposals) == (1, 4)
    assert search.next_work(ROOM) == []
    plan = RoundPlan(2, "less_ram", False, "RAM binds")
    search.record(Planned(plan))
    (round_one,) = search.next_work(ROOM)
    assert isinstance(round_one, Propose) and (round_one.count, round_one.plan) == (2, plan)
    search.record(ProposalsEnded(0.1))
    assert isinstance(search.next_work(ROOM)[0], Plan)


def test_a_plan_that_asks_for_too_much_gets_what_is_allowed() -> None:
    search = Search(limits(max_proposals=3), lambda: 0.0, plans=True)
    search.next_work(ROOM)
    search.record(Planned(RoundPlan(99, "explore", False, "")))
    (asked,) = search.next_work(ROOM)
    assert isinstance(asked, Propose) and asked.count == 3


def test_a_supervisor_that_fails_costs_its_plan_alone() -> None:
    search = Search(limits(), lambda: 0.0, plans=True)
    search.next_work(ROOM)
    search.record(WorkFailed("plan", None, False, "the model is down"))
    (asked,) = search.next_work(ROOM)
    assert isinstance(asked, Propose) and asked.plan is None and asked.count == 4
    assert search.trouble is None


@pytest.mark.parametrize(
    "end", [Planned(RoundPlan(1, "explore", True, "no gain")), ProposalsEnded(0.1, "budget.tokens is used up")]
)
def test_an_end_in_good_order_lets_candidates_finish_and_deploys_the_best(end: Outcome) -> None:
    search = Search(limits(), lambda: 0.0, plans=True)
    search.next_work(ROOM)
    search.record(Planned(RoundPlan(4, "explore", False, "")))
    feed(search, [1])
    search.next_work(ROOM)
    search.record(end)
    assert search.stopped_by is not None and search.trouble is None
    search.record(Trained(1, trial()))
    assert [type(work) for work in search.next_work(ROOM)] == [Evaluate]
    search.record(EvaluationDone(1, evaluation(0.5)))
    assert [type(work) for work in search.next_work(ROOM)] == [Test]


def test_the_training_agent_learns_how_the_trainings_since_the_last_request_went() -> None:
    def asked_for(work: Sequence[Work], kind: type[Work]) -> list[Work]:
        return [one for one in work if isinstance(one, kind)]

    search = Search(limits(), lambda: 0.0, recipes=True)
    (first,) = asked_for(feed(search, [1]), ChooseRecipe)
    assert isinstance(first, ChooseRecipe) and first.request.notes == ()
    search.record(RecipeChosen(1, RECIPE))
    (train,) = asked_for(search.next_work(ROOM), Train)
    assert isinstance(train, Train) and train.recipe == RECIPE
    search.record(Trained(1, trial(0.25)))
    search.record(Proposed(InvalidProposal("{", "not JSON")))
    search.record(ProposalsEnded(0.0))
    (second,) = asked_for(feed(search, [2]), ChooseRecipe)
    assert isinstance(second, ChooseRecipe)
    (note,) = second.request.notes
    assert (note.candidate_id, note.last_accuracy, note.recipe) == (1, 0.25, RECIPE)
    search.record(WorkFailed("recipe", 2, False, "the model is down"))
    (train,) = asked_for(search.next_work(ROOM), Train)
    assert isinstance(train, Train) and train.recipe is None
    search.record(WorkFailed("train", 2, False, "the loss is NaN"))
    search.record(ProposalsEnded(0.0))
    (third,) = asked_for(feed(search, [3]), ChooseRecipe)
    assert isinstance(third, ChooseRecipe) and [note.ended for note in third.request.notes] == ["failed"]
