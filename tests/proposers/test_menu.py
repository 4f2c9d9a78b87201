"""Menus: what is on them is legal, new, costed exactly, and no more than a small model can read."""

import json
import random
from collections.abc import Sequence
from functools import cache
from statistics import mean

import pytest

from automcu.architecture import Architecture, Candidate
from automcu.board import Budget
from automcu.errors import CandidateFailure
from automcu.finished import Evaluated, Finished, Rejected, Skipped
from automcu.llm.scripted import ScriptedLLM
from automcu.messages import CandidateNote, Focus, RoundPlan
from automcu.proposal import Cost, InvalidProposal, Notice, Proposal
from automcu.proposers.forecast import Forecast
from automcu.proposers.forms import gap_of
from automcu.proposers.history import History
from automcu.proposers.menu import EDITS, STARTS, Menu, MenuMaker
from automcu.proposers.prompt import short
from automcu.proposers.starters import Starters
from automcu.spaces.space import Space
from tests import builders
from tests.proposers.asked import BUDGET, CNN, GRID, cost, grid, llm_proposer, of_type, origins, picks

TIGHT = Budget(20_000, 60_000, 1_500_000)


def made(
    ends: Sequence[Finished],
    budget: Budget = TIGHT,
    space: Space = CNN,
    *,
    focus: Focus | None = None,
    seen: Sequence[str] = (),
    seed: int = 0,
    by: Cost = cost,
) -> Menu:
    history = History(budget)
    for end in ends:
        history.add(end)
    return MenuMaker(space, budget, by, random.Random(seed)).menu(history, seen, focus)


def measured(number: int, architecture: Architecture, value: float, note: CandidateNote | None = None) -> Evaluated:
    candidate = Candidate(number, architecture, "")
    return Evaluated(candidate, cost(architecture), builders.trial(), builders.evaluation(value), note)


def rejected(number: int, architecture: Architecture, budget: Budget = TIGHT) -> Rejected:
    report = cost(architecture)
    return Rejected(Candidate(number, architecture, ""), report, budget.violations(report))


def test_the_first_menus_offer_starters_that_were_not_tried() -> None:
    starters = Starters(CNN.families(), Forecast(cost, TIGHT))
    known = [starter.fingerprint for _, starter in starters.new(())]
    assert len(known) >= 3

    def offered(seen: Sequence[str]) -> list[str]:
        maker = MenuMaker(CNN, TIGHT, cost, random.Random(0), starters)
        choices = maker.menu(History(TIGHT), seen, None).choices
        assert len(choices) == STARTS and len({choice.architecture for choice in choices}) == STARTS
        assert not any(choice.over for choice in choices)
        return [choice.architecture.fingerprint for choice in choices]

    first, second = offered(()), offered(known[:2])
    assert set(known) <= set(first) != set(known)
    assert set(known[2:]) <= set(second) and not set(known[:2]) & set(second)
    assert [one in known for one in first] != sorted((one in known for one in first), reverse=True)  # shuffled


@cache
def drawn(fits: bool) -> list[Architecture]:
    """Four random networks that fit, or that do not."""
    rng = random.Random(3)
    networks = (CNN.random(rng) for _ in range(200))
    return [network for network in networks if (not TIGHT.violations(cost(network))) == fits][:4]


def archive() -> list[Finished]:
    return [measured(number, a, number / 10) for number, a in enumerate(drawn(True), 1)]


@pytest.mark.parametrize("focus", [None, "explore", "less_ram", "fill_niche"])
@pytest.mark.parametrize("stage", ["nothing", "misses", "archive"])
def test_every_choice_is_legal_new_and_costed_exactly(stage: str, focus: Focus | None) -> None:
    misses: list[Finished] = [rejected(number, a) for number, a in enumerate(drawn(False), 11)]
    ends = {"nothing": [], "misses": misses, "archive": archive() + misses}[stage]
    first = made(ends, focus=focus)
    seen = [choice.architecture.fingerprint for choice in first.choices[:5]]
    menu = made(ends, focus=focus, seen=seen)
    assert len(menu.choices) == (STARTS if stage == "nothing" else EDITS)
    fingerprints = [choice.architecture.fingerprint for choice in menu.choices]
    assert len(set(fingerprints)) == len(fingerprints) and set(seen).isdisjoint(fingerprints)
    for choice in menu.choices:
        assert CNN.parse(json.loads(choice.architecture.text)) == choice.architecture
        assert choice.report == cost(choice.architecture)
        assert (choice.over == 0) == (not TIGHT.violations(choice.report))
        if choice.parent is not None:
            before = choice.parent.candidate.architecture
            assert choice.architecture in set(CNN.neighbours(before, random.Random(0)))
            assert choice.words == CNN.describe_edit(before, choice.architecture)
            assert choice.parent in menu.parents and choice.parent.report == cost(before)
        else:
            assert choice.words == CNN.summary(choice.architecture)


def test_what_fits_goes_before_what_does_not_and_near_misses_come_nearer() -> None:
    assert all(choice.over == 0 for choice in made(archive()).choices)
    assert all(choice.over == 0 for choice in made([]).choices)
    misses = [rejected(number, a) for number, a in enumerate(drawn(False), 1)]
    menu = made(misses)
    assert {parent.accuracy for parent in menu.parents} == {None}
    for parent in menu.parents:
        over = sum(violation.over / violation.limit for violation in TIGHT.violations(parent.report))
        mine = [choice.over for choice in menu.choices if choice.parent == parent]
        assert mean(mine) < over


@pytest.mark.parametrize(
    ("focus", "figure"), [("less_ram", "ram_bytes"), ("less_flash", "flash_bytes"), ("fewer_macs", "macs")]
)
def test_a_focus_brings_the_edits_that_serve_it(focus: Focus, figure: str) -> None:
    def serving(menu: Menu) -> int:
        changes = [
            (getattr(choice.report, figure), getattr(choice.parent.report, figure))
            for choice in menu.choices
            if choice.parent
        ]
        return sum(after < before for after, before in changes)

    with_focus = [serving(made(archive(), focus=focus, seed=seed)) for seed in range(6)]
    without = [serving(made(archive(), seed=seed)) for seed in range(6)]
    assert mean(with_focus) > mean(without) + 1


def test_a_limit_in_focus_brings_the_nearest_network_that_broke_it_and_the_best() -> None:
    misses = [rejected(number, network) for number, network in enumerate(drawn(False), 11)]
    over_ram = [miss for miss in misses if "ram" in {violation.resource for violation in miss.violations}]
    nearest = min(over_ram, key=lambda miss: sum(v.over / v.limit for v in miss.violations))
    parents = made([*archive(), *misses], focus="less_ram").parents
    assert [parent.candidate.id for parent in parents] == [nearest.candidate.id, 4]
    assert [parent.accuracy for parent in parents] == [None, 0.4]
    assert all(parent.accuracy for parent in made([*archive(), *misses], focus="more_accuracy").parents)


def test_beside_the_best_any_niche_has_its_turn_and_any_gap_when_niches_are_to_be_filled() -> None:
    points = [grid(*[number] * 8) for number in (1, 3, 5, 7)]
    ends = [measured(number, point, number / 10) for number, point in enumerate(points, 1)]
    history = History(BUDGET)
    for end in ends:
        history.add(end)
    known = {end.candidate.id for end in history.niches.members}
    assert len(known) > 2
    pairs = [made(ends, BUDGET, GRID, seed=seed).parents for seed in range(30)]
    assert {first.candidate.id for first, _ in pairs} == {4}
    assert {second.candidate.id for _, second in pairs} == known - {4}
    fill = RoundPlan(4, "fill_niche", False, "")
    assert {gap_of(history, fill, random.Random(seed)) for seed in range(60)} == set(history.niches.gaps())
    assert {gap_of(history, None, random.Random(seed)) for seed in range(9)} == {history.niches.gaps()[0]}


def test_to_fill_niches_brings_edits_that_land_in_empty_ones() -> None:
    history = History(TIGHT)
    for end in archive():
        history.add(end)

    def landing(focus: Focus | None) -> int:
        menus = [MenuMaker(CNN, TIGHT, cost, random.Random(seed)).menu(history, (), focus) for seed in range(10)]
        return sum(
            history.niches.niche(choice.report) not in history.niches for menu in menus for choice in menu.choices
        )

    assert landing("fill_niche") > landing(None)


def test_the_order_is_chance() -> None:
    """The first line is of either parent as often, and of a choice that costs less as often as of one that costs more:
    whoever always picks it does no worse than chance."""
    ends = [measured(number, grid(*[number] * 8), number / 10) for number in (2, 4)]
    first = [made(ends, BUDGET, GRID, seed=seed).choices[0] for seed in range(400)]
    of_best = sum(choice.parent is not None and choice.parent.label == "A" for choice in first)
    smaller = sum(choice.parent is not None and choice.report.macs < choice.parent.report.macs for choice in first)
    assert 150 < of_best < 250 and 150 < smaller < 250
    assert made(archive(), seed=1) == made(archive(), seed=1) != made(archive(), seed=2)


def test_what_has_no_costs_is_left_out() -> None:
    def refusing(architecture: Architecture) -> object:
        raise CandidateFailure("no kernel; use others")

    for ends in ([], archive()):
        assert made(ends, by=refusing).choices == ()  # type: ignore[arg-type]


def test_when_all_around_is_tried_whole_networks_are_offered_and_at_last_nothing() -> None:
    centre = grid(*[3] * 8)
    around = [neighbour.fingerprint for neighbour in GRID.neighbours(centre, random.Random(0))]
    end = Evaluated(Candidate(1, centre, ""), cost(centre), builders.trial(), builders.evaluation())
    menu = made([end], BUDGET, GRID, seen=[centre.fingerprint, *around])
    assert menu.parents == () and menu.choices

    class One(type(GRID)):  # type: ignore[misc]
        def random(self, rng: random.Random) -> Architecture:
            return centre

    subject = llm_proposer(ScriptedLLM([picks(1)]), One(), "edit")
    near = enumerate(GRID.neighbours(centre, random.Random(0)), 2)
    subject.observe([end, *(Skipped(Candidate(number, neighbour, ""), "train") for number, neighbour in near)])
    (notice,) = subject.propose(2)
    assert isinstance(notice, Notice) and "nothing that could be offered to it is new" in notice.text


# The form ----------------------------------------------------------------------------------------------------------
def told(content: str) -> list[str]:
    return [line for line in content.splitlines() if line[:1].isdigit()]


def test_picks_become_proposals_that_say_where_they_come_from() -> None:
    llm = ScriptedLLM([picks(2, 4), picks(1, 12, 3)])
    subject = llm_proposer(llm, CNN, "edit", budget=TIGHT)
    items = list(subject.propose(2))
    assert origins(items) == ["llm:start"] * 2
    lines = told(llm.asked[0][1].content)
    for item, line in zip((item for item in items if isinstance(item, Proposal)), (lines[1], lines[3]), strict=True):
        report = cost(item.architecture)
        assert line[3:] == (
            f"{CNN.summary(item.architecture)} (RAM {short(report.ram_bytes)}, Flash {short(report.flash_bytes)}, "
            f"MACs {short(report.macs)})"
        )
    subject.observe(archive())
    items = list(subject.propose(3))
    assert set(origins(items)) <= {f"llm:edit({number})" for number in range(1, 5)} and len(origins(items)) == 3
    assert len(told(llm.asked[1][1].content)) == EDITS


@pytest.mark.parametrize(
    ("figure", "words"),
    [
        (0, "0"),
        (999, "999"),
        (1_000, "1.00k"),
        (16_896, "16.9k"),
        (999_499, "999k"),
        (1_123_424, "1.12M"),
        (10**10, "10000M"),
    ],
)
def test_figures_are_told_to_three_digits(figure: int, words: str) -> None:
    assert short(figure) == words


def test_more_than_half_of_a_menu_is_never_asked_for() -> None:
    llm = ScriptedLLM([picks(*range(1, 9))])
    assert origins(list(llm_proposer(llm, CNN, "edit").propose(50))) == ["llm:start"] * (STARTS // 2)


@pytest.mark.parametrize("wrong", ["1", 1.0, True, None, 0, -1, 9, 10**30, [1], {"1": 1}])
def test_what_is_not_on_the_menu_is_refused_and_asked_for_again(wrong: object) -> None:
    llm = ScriptedLLM([picks(wrong), picks(wrong)])
    items = list(llm_proposer(llm, CNN, "edit").propose(1))
    assert origins(items) == ["random"]
    invalid, again = of_type(items, InvalidProposal)
    assert isinstance(invalid, InvalidProposal) and again == invalid
    assert invalid.reason == "choices[0]: not on the list; choose numbers from 1 to 8"
    assert invalid.reason in llm.asked[1][-1].content and '{"choices": [...]}' in llm.asked[1][-1].content


def test_the_question_holds_the_facts_and_stays_short() -> None:
    note = CandidateNote(4, "capacity", "wider", "the first stage is narrow")
    llm = ScriptedLLM(lambda messages: picks(1, 2))
    sizes = []
    for seed in range(8):
        subject = llm_proposer(llm, CNN, "edit", budget=TIGHT, seed=seed)
        list(subject.propose(4))
        ends = archive()
        best = ends[-1]
        assert isinstance(best, Evaluated)
        subject.observe([*ends[:-1], measured(4, best.candidate.architecture, 0.4, note)])
        list(subject.propose(4, RoundPlan(4, "more_accuracy", False, "")))
        start, edit = (sum(len(message.content) for message in asked) for asked in llm.asked[-2:])
        sizes += [start, edit]
        content = llm.asked[-1][1].content
        parent = cost(best.candidate.architecture)
        for fact in (
            "32x32x3",
            "10 classes",
            "RAM 20,000 B, Flash 60,000 B, 1,500,000 multiply-accumulates (MACs)",
            "Tried: 4 (4 evaluated), best accuracy 0.4000",
            f"A: {CNN.summary(best.candidate.architecture)}",
            f"accuracy 0.4000, RAM {short(parent.ram_bytes)}, Flash {short(parent.flash_bytes)}, "
            f"MACs {short(parent.macs)}, RAM peak at",
            'limited by capacity, advice: wider, "the first stage is narrow"',
            "Aim of this round: more accuracy than the best network.",
            'Pick the 4 changes that promise most: {"choices": [4 different numbers]}',
        ):
            assert fact in content
    assert mean(sizes) < 2_200  # about 500 tokens of 4 characters
