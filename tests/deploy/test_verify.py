"""A bundle that was tampered with by someone who also lists the new hashes is still found out, claim by claim."""

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from automcu.architecture import Task
from automcu.deploy.boards.link import Identity, Inference, Statistics
from automcu.deploy.bundle import EVIDENCE, digests, write_bundle
from automcu.deploy.choice import ProverSettings, prover_for
from automcu.deploy.deployer import Deployer
from automcu.deploy.evidence import Evidence, read_evidence
from automcu.deploy.prover import run_samples
from automcu.deploy.samples import Samples
from automcu.deploy.verify import Finding, verify_bundle
from automcu.errors import DataError, OutputError
from automcu.export.interpreter import accuracy, images_to_int8, run_int8
from automcu.feasibility.planner_tier import PlannerTier
from automcu.graph.kernel_sets import kernel_set_for
from automcu.graph.tflite.constants import read_model
from automcu.graph.tflite.reader import read_tflite
from automcu.graph.tflite.writer import write_model
from tests.deploy import test_deployer
from tests.export.small import SMALL, SMALL_TFLITE, random_images

Files = dict[str, bytes]
IMAGES, LABELS = random_images(SMALL, 9, 12), np.arange(12) % 5


def test_images(task: Task) -> tuple[np.ndarray, np.ndarray]:
    assert task == test_deployer.TASK
    return IMAGES, LABELS


test_images.__test__ = False  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def files() -> Files:
    """A bundle whose claims are all true."""
    right = accuracy(run_int8(SMALL_TFLITE, images_to_int8(IMAGES), 1, 30), LABELS)
    design = test_deployer.design()
    report = PlannerTier(kernel_set_for("cortex-m4f")).report(read_tflite(SMALL_TFLITE), lambda: Path())
    design = replace(
        design,
        test=replace(design.test, int8_accuracy=right, images=len(LABELS)),
        evaluation=replace(design.evaluation, report=report),
    )
    deployer = Deployer(test_deployer.BOARD, prover_for(test_deployer.BOARD, ProverSettings()))
    return dict(test_deployer.deploy(deployer, asked=design).files)


def relisted(files: Files, **changes: object) -> Files:
    """`files` with evidence that lists them as they are, and claims `changes`."""
    evidence: Evidence = replace(read_evidence(files[EVIDENCE]), **changes)  # type: ignore[arg-type]
    stated = json.loads(evidence.to_json())
    stated["files"] = digests({name: content for name, content in files.items() if name != EVIDENCE})
    return {**files, EVIDENCE: json.dumps(stated).encode()}


def findings(files: Files, folder: Path) -> dict[str, Finding]:
    write_bundle(folder / "best", files)
    found = verify_bundle(folder / "best.zip", test_images, processes=1)
    return {finding.claim: finding for finding in found}


def failing(files: Files, folder: Path) -> dict[str, str]:
    return {claim: one.told for claim, one in findings(files, folder).items() if one.outcome == "fails"}


def test_every_claim_of_an_honest_bundle_holds(files: Files, tmp_path: Path) -> None:
    found = findings(files, tmp_path)
    assert [one.outcome for one in found.values()] == ["holds"] * 5
    assert "on 12 test images" in found["accuracy"].told
    assert list(found.values()) == list(verify_bundle(tmp_path / "best", test_images, processes=1))


def test_a_changed_byte_ends_the_verification(files: Files, tmp_path: Path) -> None:
    card = bytearray(files["model_card.md"])
    card[100] ^= 1
    found = findings({**files, "model_card.md": bytes(card)}, tmp_path)
    assert list(found) == ["files"] and "changed model_card.md" in found["files"].told


def test_another_model_is_found_by_its_outputs(files: Files, tmp_path: Path) -> None:
    model = read_model(SMALL_TFLITE)
    last = model.constants[-1]
    assert last is not None
    other = replace(model, constants=(*model.constants[:-1], replace(last, weights=last.weights[::-1])))
    told = failing(relisted({**files, "model_int8.tflite": write_model(other)}), tmp_path)
    assert {"model", "firmware"} <= set(told)
    assert "outputs of tflite-micro are equal" in told["model"] and "the board runs network" in told["firmware"]


def test_firmware_with_another_weight_is_found(files: Files, tmp_path: Path) -> None:
    name = "firmware/nucleo_f446re.elf"
    elf = bytearray(files[name])
    network = files["firmware/nucleo_f446re.bin"]
    start = elf.index(network[:64])  # where Flash's content lies in the file
    for offset in range(len(network) - 400, len(network) - 40, 16):  # constants come last
        elf[start + offset] ^= 0x40
    told = failing(relisted({**files, name: bytes(elf)}), tmp_path)
    assert set(told) == {"firmware"}


def test_samples_that_no_runtime_gives_are_found(files: Files, tmp_path: Path) -> None:
    import io

    with np.load(io.BytesIO(files["samples.npz"])) as stored:
        arrays = dict(stored)
    arrays["output_0"] = arrays["output_0"][::-1]
    sink = io.BytesIO()
    np.savez(sink, **arrays)
    told = failing(relisted({**files, "samples.npz": sink.getvalue()}), tmp_path)
    assert "are equal" in told["model"] and "are equal" in told["firmware"]


def test_a_board_or_budget_that_is_too_small_is_found(files: Files, tmp_path: Path) -> None:
    evidence = read_evidence(files[EVIDENCE])
    assert "flash" in failing(relisted(files, budget=replace(evidence.budget, flash_bytes=20)), tmp_path)["fit"]
    region = replace(evidence.board.regions[0], size_bytes=1 << 30)
    larger = replace(evidence.board, regions=(region, *evidence.board.regions[1:]))
    assert "other memory" in failing(relisted(files, board=larger), tmp_path)["fit"]
    assert "no board is named" in failing(relisted(files, board=replace(evidence.board, name="x")), tmp_path)["fit"]


@pytest.mark.parametrize("figure", ["ticks", "flash_bytes", "ram_bytes", "stack_peak_bytes"])
def test_a_false_measurement_is_found(files: Files, tmp_path: Path, figure: str) -> None:
    measured = read_evidence(files[EVIDENCE]).measurement
    assert measured is not None
    false = replace(measured, **{figure: getattr(measured, figure) - 1})
    told = failing(relisted(files, measurement=false), tmp_path)
    assert set(told) == {"firmware"} and f"and here it is {getattr(measured, figure)}" in told["firmware"]


def test_a_false_accuracy_is_found(files: Files, tmp_path: Path) -> None:
    design = read_evidence(files[EVIDENCE]).design
    assert design is not None
    better = replace(design, test=replace(design.test, int8_accuracy=0.999))
    assert "not 99.90%" in failing(relisted(files, design=better), tmp_path)["accuracy"]


def test_what_cannot_be_checked_is_said(files: Files, tmp_path: Path) -> None:
    def absent(task: Task) -> tuple[np.ndarray, np.ndarray]:
        raise DataError("data set shapes was not found; put it into ./data")

    bare = {name: content for name, content in files.items() if not name.startswith("firmware/")}
    write_bundle(tmp_path / "best", relisted(bare, firmware=False, measurement=None, unverified="no compiler"))
    found = list(verify_bundle(tmp_path / "best", absent, processes=1))
    assert [one.outcome for one in found] == ["holds", "holds", "holds", "not checked", "not checked"]
    assert "no compiler" in found[3].told and "was not found" in found[4].told


def test_a_bundle_without_its_model_is_told(files: Files, tmp_path: Path) -> None:
    bare = {name: content for name, content in files.items() if name != "model_int8.tflite"}
    found = findings(relisted(bare), tmp_path)
    assert list(found) == ["files"] and "no model_int8.tflite" in found["files"].told


def test_a_program_of_this_host_is_no_firmware_of_the_board(tmp_path: Path) -> None:
    deployer = Deployer(test_deployer.BOARD, prover_for(test_deployer.BOARD, ProverSettings(link="host")))
    built = dict(test_deployer.deploy(deployer).files)
    assert "firmware/network.c" in built and not [name for name in built if name.endswith((".elf", ".bin"))]
    assert b".elf" not in built["model_card.md"]
    assert findings(built, tmp_path)["firmware"].outcome == "not checked"


def test_firmware_that_takes_too_long_for_its_many_samples_ends(files: Files) -> None:
    class Slow:
        def __init__(self) -> None:
            self.asked = 0

        def identify(self) -> Identity:
            return Identity("5" * 64, 1, 1, 1, 1)

        def infer(self, inputs: bytes) -> Inference:
            self.asked += 1
            time.sleep(0.02)
            return Inference(b"\0", 1)

        def statistics(self) -> Statistics:
            return Statistics(1, 2, 3)

    slow, zeros = Slow(), np.zeros((100_000, 1), np.uint8)
    run = run_samples(slow, "5" * 64, Samples(zeros, zeros), limit_seconds=0.1)
    assert run.checked == run.matching == slow.asked and 1 <= slow.asked <= 6
    assert run_samples(slow, "5" * 64, Samples(zeros, zeros), limit_seconds=0).checked == 1


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"files": 3}', b"\xff", b'{"schema_version": 2}', b"[" * 9_999]
)
def test_damaged_evidence_is_a_typed_error(files: Files, tmp_path: Path, content: bytes) -> None:
    write_bundle(tmp_path / "best", {**files, EVIDENCE: content})
    with pytest.raises(OutputError, match=r"evidence\.json is damaged"):
        list(verify_bundle(tmp_path / "best", test_images, processes=1))
