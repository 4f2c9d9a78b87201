"""The audit of the filter at a small size: what must hold of its figures whatever they are."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from automcu.deploy.toolchain.zig import ZigToolchain
from automcu.feasibility.planner_tier import PlannerTier
from automcu.graph.lowering import lower
from automcu.graph.tflite.writer import write_tflite
from automcu.llm.reply import MalformedReply, json_object
from automcu.spaces import make_space
from experiments.filter_audit import audit, linking
from experiments.filter_audit.agreement import (
    FACTORS,
    agreements,
    costs_of_caution,
    deciding_term,
    population,
    sensitivity,
)
from experiments.filter_audit.first_run import trained_in_first_run
from experiments.filter_audit.nasbench import network_of
from experiments.filter_audit.population import Offer, evolved_offers, random_offers, reply_offers
from experiments.filter_audit.replies import ENTRIES, FAULTY, READABLE, REFUSED, replies
from experiments.filter_audit.targets import KERNELS, Judged, targets
from tests.llm import test_reply

SPACE = make_space("mcu_cnn", audit.INPUT_SHAPE, audit.CLASS_COUNT)
TARGETS = targets()
TOOLCHAIN = ZigToolchain()


@pytest.fixture(scope="module")
def offers() -> list[Offer]:
    evolved = [offer for target in TARGETS for offer in evolved_offers(SPACE, 5, target, 16)]
    return [*random_offers(SPACE, 3, 60), *reply_offers(SPACE, 4, 140), *evolved]


@pytest.fixture(scope="module")
def judged(offers: Sequence[Offer]) -> list[Judged]:
    return audit.judge_offers(SPACE, offers)


def test_every_kind_of_reply_is_one_that_the_reader_is_tested_with() -> None:
    assert set(READABLE) <= set(test_reply.READABLE) and set(REFUSED) <= set(test_reply.REFUSED)
    kinds = replies(SPACE, random.Random(0))
    for reply in (next(kinds) for _ in (*READABLE, *REFUSED, *FAULTY)):
        if reply.readable:
            assert json_object(reply.text, "proposals")["proposals"] == list(reply.entries)
        else:
            with pytest.raises(MalformedReply):
                json_object(reply.text, "proposals")


def test_the_funnel_only_narrows_and_faults_cost_what_they_touch(offers: Sequence[Offer]) -> None:
    assert all(offer.parsed for offer in offers if offer.architecture is not None)
    assert all(offer.architecture is not None for offer in offers if offer.proposer != "replies")
    by_kind = {offer.kind: [other for other in offers if other.kind == offer.kind] for offer in offers}
    for kind, count in [*((kind, ENTRIES) for kind in READABLE), *((kind, 0) for kind in REFUSED)]:
        assert sum(offer.parsed for offer in by_kind[kind]) == count, kind
    for kind in FAULTY:
        assert sum(offer.architecture is not None for offer in by_kind[kind]) == ENTRIES - 1, kind
    parsed_in_vain = {offer.kind for offer in offers if offer.parsed and offer.architecture is None}
    assert parsed_in_vain == {"pools only", "halved too often", "too many parameters"}


def test_what_the_planner_admits_has_room_for_the_arena_of_tflite_micro(judged: Sequence[Judged]) -> None:
    admitted = 0
    for target in TARGETS:
        for item in judged:
            planner = item.planner[target.kernels]
            if target.fits(planner):
                admitted += 1
                assert target.fits(replace(planner, activations_bytes=item.others["tflm"].activations_bytes))
    assert admitted > 50


def test_the_accepted_share_grows_with_the_limits(judged: Sequence[Judged]) -> None:
    for target in TARGETS:
        for label in judged[0].reports(target):
            shares = sensitivity(population(judged, target), target, label)
            assert shares == sorted(shares) and len(shares) == len(FACTORS)
    planner = sensitivity(population(judged, TARGETS[0]), TARGETS[0], "planner")
    assert 0 < planner[0] < planner[-1] < 1


def test_agreement_counts_everyone_once_and_names_a_term_for_each_disagreement(judged: Sequence[Judged]) -> None:
    found = list(agreements(judged, TARGETS))
    assert len(found) == len(TARGETS) * 10  # pairs of five tiers
    for pair in found:
        target = next(target for target in TARGETS if target.name == pair.target)
        asked = population(judged, target)
        assert pair.both + pair.only_one + pair.only_other + pair.neither == len(asked)
        assert pair.both + pair.only_one == sum(target.fits(item.reports(target)[pair.one]) for item in asked)
        assert sum(pair.why.values()) == pair.only_one + pair.only_other
        assert (pair.example is None) is (pair.only_one + pair.only_other == 0)


def test_the_deciding_term_is_the_one_that_differs(judged: Sequence[Judged]) -> None:
    target = TARGETS[0]
    reports = (item.planner[target.kernels] for item in judged)
    report = next(report for report in reports if target.fits(report))
    limits = target.budget
    for changes, term in (
        ({"activations_bytes": limits.ram_bytes}, "activations"),
        ({"runtime_ram_bytes": limits.ram_bytes}, "runtime RAM"),
        ({"margin": 10.0 * limits.ram_bytes / report.activations_bytes}, "margin"),
        ({"code_bytes": limits.flash_bytes}, "code"),
        ({"weights_bytes": limits.flash_bytes + 1}, "weights"),
    ):
        refuses = replace(report, **changes)  # type: ignore[arg-type]
        assert deciding_term(report, refuses, target) == term


def test_another_runtime_can_only_admit_more(judged: Sequence[Judged]) -> None:
    for target in TARGETS:
        for proposer in ("random", "evolution"):
            cost = costs_of_caution(judged, target, proposer)
            assert max(cost.in_place, cost.no_code) <= cost.rejected <= cost.judged
            assert all(cost.st[version] <= cost.st_no_margin[version] for version in cost.st)
    for item in judged:
        assert all(item.in_place_bytes[kernels] <= item.planner[kernels].activations_bytes for kernels in KERNELS)


def test_the_recorded_run_trained_nothing_that_does_not_fit() -> None:
    run = trained_in_first_run()
    assert (run.proposed, run.rejected, run.trained, run.not_reached) == (40, 7, 19, 14)
    assert run.infeasible_trained == run.other_arena == 0


def test_a_benchmark_cell_becomes_the_network_it_describes() -> None:
    wired = "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|avg_pool_3x3~1|nor_conv_3x3~2|"
    network = network_of(wired)
    assert network is not None
    kinds = [operator.kind for operator in lower(network).operators]
    assert kinds.count("ADD") == 15 * 2 + 2 and kinds.count("CONV_2D") == 1 + 15 * 3 + 2 * 3
    assert network_of("|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|nor_conv_3x3~2|") is None


@pytest.mark.slow
def test_the_whole_audit_twice_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "train_near_limit", lambda *arguments, **named: [])  # real ones: see the next slow test
    command = ["--count", "20", "--links", "4", "--seed", "7", "--data", str(tmp_path)]
    for folder in ("one", "two"):
        audit.main([*command, "--out", str(tmp_path / folder)])
    figures = (tmp_path / "one" / "figures.md").read_text()
    assert "NAS-Bench-201 were not found" in figures
    assert figures == (tmp_path / "two" / "figures.md").read_text()
    for name, least in (("rows", 40), ("links", 5)):
        rows = [pq.read_table(tmp_path / folder / f"{name}.parquet").to_pylist() for folder in ("one", "two")]
        assert rows[0] == rows[1] and len(rows[0]) > least
    assert (tmp_path / "one" / "sensitivity.png").read_bytes().startswith(b"\x89PNG")


def test_the_vendors_tool_is_asked_where_it_is_found(judged: Sequence[Judged], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def tool(program: Path, series: str) -> PlannerTier:  # says what the planner says, so that none can disagree
        asked.append((program, series))
        return PlannerTier("portable" if series == "stm32l0" else "dsp")

    monkeypatch.setattr(audit, "find_stedgeai", lambda: Path("/opt/stedgeai"))
    monkeypatch.setattr(audit, "StEdgeAi", tool)
    rows = audit.vendor_section(SPACE, judged, TARGETS, 8).splitlines()[-len(TARGETS) :]
    assert [series for _, series in asked] == ["stm32l0", "stm32l4", "stm32f4", "stm32f7", "stm32h5"]
    cells = [[int(cell) for cell in row.split("|")[2:6]] for row in rows]
    assert all(both + neither > 0 and only_one == only_other == 0 for both, only_one, only_other, neither in cells)


def test_the_linker_takes_what_just_fits_and_not_a_word_more(judged: Sequence[Judged]) -> None:
    item = min(judged, key=lambda item: item.planner["dsp"].weights_bytes)
    model, roomy = write_tflite(lower(SPACE.build(item.architecture)), seed=0), TARGETS[3]
    image = linking.link(model, roomy, TOOLCHAIN)
    assert (image.fits, image.region, image.over_bytes) == (True, "", 0)
    # The arena is aligned to 16 bytes, and the 12 bytes of variables before it end 4 bytes before that.
    exact = replace(roomy.asked, ram_bytes=image.ram_bytes + 4, flash_bytes=image.flash_bytes)
    assert linking.link(model, replace(roomy, asked=exact), TOOLCHAIN) == image
    for tight, region in (
        (replace(exact, flash_bytes=exact.flash_bytes - 1), "flash"),
        (replace(exact, ram_bytes=exact.ram_bytes - 1), "sram"),
    ):
        found = linking.link(model, replace(roomy, asked=tight), TOOLCHAIN)
        assert found == replace(image, fits=False, region=region, over_bytes=1)


def test_an_arena_apart_from_the_stack_has_its_region_to_itself(judged: Sequence[Judged]) -> None:
    target = TARGETS[1]
    item = next(
        item
        for item in judged
        if item.in_place_bytes["dsp"] > target.board.ram_bytes and item.planner["dsp"].flash_bytes < 200_000
    )
    arena = item.in_place_bytes["dsp"]
    found = linking.link(write_tflite(lower(SPACE.build(item.architecture)), seed=0), target, TOOLCHAIN)
    assert (found.fits, found.region, found.over_bytes) == (False, "sram1", arena - target.board.ram_bytes)


def test_what_cannot_fit_is_not_linked(judged: Sequence[Judged]) -> None:
    for target in TARGETS:
        asked = population(judged, target)
        rejected = [item for item in asked if not target.fits(item.planner[target.kernels])]
        in_doubt = linking.rejected_in_doubt(asked, target)
        assert set(map(id, in_doubt)) <= set(map(id, rejected))
        for item in rejected:
            if not any(item is other for other in in_doubt):
                arena, weights = item.in_place_bytes[target.kernels], item.planner[target.kernels].weights_bytes
                assert arena > target.budget.ram_bytes or weights > target.budget.flash_bytes


@pytest.mark.slow
def test_the_whole_audit_with_trainings(tmp_path: Path) -> None:
    audit.main(["--count", "100", "--links", "8", "--trainings", "2", "--every", "400", "--out", str(tmp_path)])
    links = pq.read_table(tmp_path / "links.parquet").to_pylist()
    assert len(links) > 25 and {row["planner_fits"] for row in links} == {True, False}
    assert all(row["flash_excess_bytes"] >= 0 and row["ram_excess_bytes"] >= 0 for row in links)
    assert all(row["linker_fits"] for row in links if row["planner_fits"])
    assert all(row["planner_fits"] is not row["in_doubt"] or row["near_limit"] for row in links)
    trainings = pq.read_table(tmp_path / "trainings.parquet").to_pylist()
    assert len(trainings) == 8 and all(row["validation_accuracy"] > 0.5 for row in trainings)
