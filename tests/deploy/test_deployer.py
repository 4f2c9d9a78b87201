import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from automcu.agents.deploy import DeployAgent, prose_by_code
from automcu.architecture import Task
from automcu.board import Budget
from automcu.board_table import load_board
from automcu.deploy.boards.link import BoardUnavailable
from automcu.deploy.bundle import EVIDENCE, digests, read_bundle, require_digests, write_bundle
from automcu.deploy.choice import ProverSettings, prover_for
from automcu.deploy.deployer import DeployedBundle, Deployer, DoesNotRun
from automcu.deploy.evidence import Design, read_evidence
from automcu.deploy.images import Firmware
from automcu.deploy.prover import Prover
from automcu.deploy.samples import Samples
from automcu.errors import CandidateFailure, InfraFailure
from automcu.messages import CardFacts, CardProse
from automcu.results import Measurement
from tests import builders
from tests.export.small import SMALL, SMALL_TFLITE, random_images

BOARD = load_board("nucleo_f446re")
TASK = Task("shapes", "shapes|`", SMALL.input_shape, 5, "Tell <script>five</script> shapes\napart.")
BUDGET = Budget(64_000, 128_000, None)
JOURNAL = b'{"seconds":1.0,"kind":"Trained","event":{"candidate_id":7}}\n'


def design() -> Design:
    sha256 = hashlib.sha256(SMALL_TFLITE).hexdigest()
    vendor = replace(builders.report(), tier="stedgeai", tool="ST Edge AI Core", tool_version="3.0.0")
    evaluation = replace(
        builders.evaluation(0.625), tflite_sha256=sha256, tflite_bytes=len(SMALL_TFLITE), vendor_report=vendor
    )
    return Design(builders.candidate(7), TASK, builders.trial(), evaluation, builders.test_result(0.5))


def deploy(deployer: Deployer, budget: Budget = BUDGET, asked: Design | None = None) -> DeployedBundle:
    provenance = {"seed": "3", "tensorflow": "2.21.0"}
    images, labels = random_images(SMALL, 3, 4), np.arange(4)
    return deployer.deploy(asked or design(), SMALL_TFLITE, images, labels, budget, provenance, JOURNAL)


@pytest.fixture(scope="module")
def prover() -> Prover:
    return prover_for(BOARD, ProverSettings())


@pytest.fixture(scope="module")
def bundle(prover: Prover) -> DeployedBundle:
    return deploy(Deployer(BOARD, prover))


def test_a_bundle_is_whole_and_its_evidence_covers_it(bundle: DeployedBundle, tmp_path: Path) -> None:
    assert {name for name in bundle.files if not name.startswith("firmware/")} == {
        "architecture.json",
        EVIDENCE,
        "journal.jsonl",
        "model.c",
        "model.h",
        "model_card.md",
        "model_int8.tflite",
        "samples.npz",
    }
    assert {"firmware/network.c", "firmware/network.h", "firmware/link.ld", "firmware/nucleo_f446re.elf",
            "firmware/nucleo_f446re.bin"} <= set(bundle.files)  # fmt: skip
    others = {name: content for name, content in bundle.files.items() if name != EVIDENCE}
    evidence = read_evidence(bundle.files[EVIDENCE])
    assert json.loads(bundle.files[EVIDENCE])["files"] == digests(others)
    assert evidence.design is not None
    assert evidence.design.evaluation.tflite_sha256 == evidence.files["model_int8.tflite"].sha256
    assert evidence.provenance["seed"] == "3" and evidence.board == BOARD and evidence.budget == BUDGET
    assert bundle.deployment.evidence_sha256 == hashlib.sha256(bundle.files[EVIDENCE]).hexdigest()
    assert bundle.files["journal.jsonl"] == JOURNAL
    write_bundle(tmp_path / "best", bundle.files)
    assert read_bundle(tmp_path / "best.zip") == bundle.files
    require_digests(tmp_path, read_bundle(tmp_path / "best"), digests(others))


def test_the_virtual_board_gave_every_output_and_what_it_took(bundle: DeployedBundle) -> None:
    measured = bundle.deployment.measurement
    assert measured is not None and bundle.deployment.unverified == ""
    assert (measured.checked, measured.matching, measured.unit, measured.link) == (4, 4, "instructions", "virtual")
    assert 0 < measured.stack_peak_bytes < measured.stack_bytes <= BOARD.reserved_ram_bytes
    assert measured.arena_bytes < measured.ram_bytes < BOARD.ram_bytes
    assert len(bundle.files["firmware/nucleo_f446re.bin"]) == measured.flash_bytes
    assert hashlib.sha256(bundle.files["firmware/nucleo_f446re.elf"]).hexdigest() == measured.image_sha256
    assert measured.ticks > 0 and measured.toolchain.startswith("zig ")


def test_the_samples_are_pixel_minus_128_with_labels_and_need_no_pickle(bundle: DeployedBundle) -> None:
    with np.load(io.BytesIO(bundle.files["samples.npz"]), allow_pickle=False) as samples:
        np.testing.assert_array_equal(samples["input_0"].astype(int), random_images(SMALL, 3, 4).astype(int) - 128)
        assert samples["output_0"].shape == (4, 5) and samples["output_0"].dtype == np.int8
        assert samples["labels"].tolist() == [0, 1, 2, 3]


def test_the_model_card_tells_figures_tiers_and_what_was_not_checked(bundle: DeployedBundle) -> None:
    card = bundle.files["model_card.md"].decode()
    for told in (
        "not verified on hardware",
        "4 of 4 outputs equal tflite-micro's",
        "62.50%",
        "50.00%",
        "64,000 B RAM, 128,000 B Flash",
        "| planner | automcu 0 | any Cortex-M | 10,000 B | 0% | 1,000 B | 20,000 B | 10,000 B |",
        "after int8 quantization",
        "ST Edge AI Core 3.0.0",
        "pixel - 128",
        "9 x 8 x 3",
        "`2.21.0`",
        "Apache-2.0",
    ):
        assert told in card
    assert "<script>" not in card.replace("\\<", "") and "shapes|" not in card


def card_with(describe: Callable[[CardFacts], CardProse], prover: Prover | None = None) -> str:
    images, labels = random_images(SMALL, 3, 4), np.arange(4)
    deployer = Deployer(BOARD, prover, "" if prover else "no board for 99.9 % of us")
    files = deployer.deploy(design(), SMALL_TFLITE, images, labels, BUDGET, {}, JOURNAL, describe).files
    others = {name: content for name, content in files.items() if name != EVIDENCE}
    assert json.loads(files[EVIDENCE])["files"] == digests(others)
    return files["model_card.md"].decode()


def test_the_model_card_has_the_deploy_agents_prose(prover: Prover) -> None:
    seen: list[CardFacts] = []
    card = card_with(lambda facts: (seen.append(facts), DeployAgent(None).prose(facts))[1], prover)
    prose = prose_by_code(seen[0])
    assert f"**Limitations.** {prose.limitations}" in card and "Written by `code`" in card
    assert "right on 50.00 % of 100 test images" in card and "run on an emulated board" in card
    assert seen[0].measurement is not None and seen[0].board == BOARD.name
    assert "It was not run on any board" in card_with(DeployAgent(None).prose)


def test_prose_cannot_leave_its_paragraph() -> None:
    hostile = CardProse("<script>x</script> | a", "[a](b) `c` # d", "m` <b>|")
    card = card_with(lambda facts: hostile)
    assert "**Intended use.** \\<script\\>x\\</script\\> \\| a" in card
    assert "\\[a\\](b) \\`c\\` \\# d" in card and "Written by `m' <b>/` from" in card


def test_equal_work_gives_equal_files(bundle: DeployedBundle, prover: Prover) -> None:
    assert deploy(Deployer(BOARD, prover)).files == bundle.files


def test_a_file_that_was_not_evaluated_is_refused() -> None:
    other = replace(design().evaluation, tflite_sha256="0" * 64)
    with pytest.raises(CandidateFailure, match="not the one that was evaluated"):
        deploy(Deployer(BOARD, None), asked=replace(design(), evaluation=other))


def test_an_image_over_the_budget_is_refused_with_figures(bundle: DeployedBundle, prover: Prover) -> None:
    measured = bundle.deployment.measurement
    assert measured is not None
    ram_bytes = measured.ram_bytes - BOARD.reserved_ram_bytes
    deploy(Deployer(BOARD, prover), Budget(ram_bytes, measured.flash_bytes, None))
    with pytest.raises(DoesNotRun, match="1 B more than the budget"):
        deploy(Deployer(BOARD, prover), Budget(ram_bytes, measured.flash_bytes - 1, None))
    with pytest.raises(DoesNotRun, match="B of RAM, 1 B more than the budget"):
        deploy(Deployer(BOARD, prover), Budget(ram_bytes - 1, measured.flash_bytes, None))


class _Prover:
    """Builds as the real one does; the board is up to `measure`."""

    def __init__(self, prover: Prover) -> None:
        self._prover = prover

    def build(self, tflite: bytes) -> Firmware:
        return self._prover.build(tflite)


class _Unplugged(_Prover):
    def measure(self, firmware: Firmware, samples: Samples) -> Measurement:
        raise BoardUnavailable("no probe is connected; plug the board in")


class _Wrong(_Prover):
    def measure(self, firmware: Firmware, samples: Samples) -> Measurement:
        outputs = samples.outputs.copy()
        outputs[2, 1] ^= 1
        return self._prover.measure(firmware, replace(samples, outputs=outputs))


class _WithoutCompiler:
    def build(self, tflite: bytes) -> Firmware:
        raise InfraFailure("zig is missing; install it: pip install ziglang")


def test_an_unplugged_board_costs_the_proof_alone(prover: Prover, bundle: DeployedBundle) -> None:
    unplugged = deploy(Deployer(BOARD, _Unplugged(prover)))  # type: ignore[arg-type]
    assert unplugged.deployment.measurement is None
    assert unplugged.deployment.unverified == "no probe is connected; plug the board in"
    image = "firmware/nucleo_f446re.elf"
    assert unplugged.files[image] == bundle.files[image]
    card = unplugged.files["model_card.md"].decode()
    assert "**Not run on any board**: no probe is connected" in card and "`firmware/`" in card


def test_without_a_compiler_the_bundle_holds_the_model_alone() -> None:
    bare = deploy(Deployer(BOARD, _WithoutCompiler()))  # type: ignore[arg-type]
    assert not any(name.startswith("firmware/") for name in bare.files)
    assert "zig is missing" in bare.deployment.unverified and "`firmware/`" not in bare.files["model_card.md"].decode()


def test_one_wrong_byte_from_the_board_fails_the_candidate(prover: Prover) -> None:
    with pytest.raises(DoesNotRun, match="only 3 of 4 outputs of virtual board nucleo_f446re"):
        deploy(Deployer(BOARD, _Wrong(prover)))  # type: ignore[arg-type]
