import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tflite as schema

from automcu.architecture import Task
from automcu.board import Board, Budget, MemoryRegion
from automcu.deploy.bundle import EVIDENCE, digests, verify_bundle, write_bundle
from automcu.deploy.c_array import c_source
from automcu.deploy.deployer import DeployedBundle, Deployer, validate_on_host
from automcu.errors import CandidateFailure
from automcu.results import Evaluation
from tests import builders
from tests.export.small import SMALL, SMALL_TFLITE, random_images

BOARD = Board(
    name="nucleo_f446re",
    part="STM32F446RE",
    core="Cortex-M4F",
    clock_hz=180_000_000,
    regions=(MemoryRegion("FLASH", "flash", 0x08000000, 524_288), MemoryRegion("RAM", "ram", 0x20000000, 131_072)),
    reserved_ram_bytes=8_192,
    reserved_flash_bytes=32_768,
    stedgeai_target="stm32f4",
    source="RM0390",
)
TASK = Task("shapes", "shapes|`", SMALL.input_shape, 5, "Tell <script>five</script> shapes\napart.")


def evaluation() -> Evaluation:
    sha256 = hashlib.sha256(SMALL_TFLITE).hexdigest()
    vendor = replace(builders.report(), tier="stedgeai", tool="ST Edge AI Core", tool_version="3.0.0")
    return replace(
        builders.evaluation(0.625), tflite_sha256=sha256, tflite_bytes=len(SMALL_TFLITE), vendor_report=vendor
    )


def deploy(measured: Evaluation) -> DeployedBundle:
    return Deployer(BOARD).deploy(
        builders.candidate(7),
        measured,
        builders.test_result(0.5),
        builders.trial(),
        SMALL_TFLITE,
        random_images(SMALL, 3, 4),
        TASK,
        Budget(64_000, 128_000, None),
        {"seed": "3", "tensorflow": "2.21.0"},
    )


@pytest.fixture(scope="module")
def bundle() -> DeployedBundle:
    return deploy(evaluation())


def test_a_bundle_is_whole_and_its_evidence_covers_it(bundle: DeployedBundle, tmp_path: Path) -> None:
    assert sorted(bundle.files) == [
        "architecture.json",
        EVIDENCE,
        "model.c",
        "model.h",
        "model_card.md",
        "model_int8.tflite",
        "samples.npz",
    ]
    others = {name: content for name, content in bundle.files.items() if name != EVIDENCE}
    evidence = json.loads(bundle.files[EVIDENCE])
    assert evidence["files"] == digests(others)
    assert evidence["evaluation"]["tflite_sha256"] == evidence["files"]["model_int8.tflite"]["sha256"]
    assert evidence["provenance"]["seed"] == "3" and evidence["hardware_validation"] is None
    assert bundle.deployment.evidence_sha256 == hashlib.sha256(bundle.files[EVIDENCE]).hexdigest()
    assert (bundle.deployment.checked, bundle.deployment.matching, bundle.deployment.board) == (4, 4, BOARD.name)
    write_bundle(tmp_path / "best", bundle.files)
    verify_bundle(tmp_path / "best")


def test_the_samples_are_pixel_minus_128_and_need_no_pickle(bundle: DeployedBundle) -> None:
    with np.load(io.BytesIO(bundle.files["samples.npz"]), allow_pickle=False) as samples:
        np.testing.assert_array_equal(samples["inputs"].astype(int), random_images(SMALL, 3, 4).astype(int) - 128)
        assert samples["outputs"].shape == (4, 5) and samples["outputs"].dtype == np.int8


def test_the_model_card_tells_figures_tiers_and_what_was_not_checked(bundle: DeployedBundle) -> None:
    card = bundle.files["model_card.md"].decode()
    for told in (
        "Not verified on hardware yet",
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


def test_equal_work_gives_equal_files_but_for_the_seconds(bundle: DeployedBundle) -> None:
    assert deploy(evaluation()).files == bundle.files


def test_a_file_that_was_not_evaluated_is_refused() -> None:
    with pytest.raises(CandidateFailure, match="not the one that was evaluated"):
        deploy(replace(evaluation(), tflite_sha256="0" * 64))


def test_one_wrong_byte_in_the_array_or_the_samples_fails_the_validation(bundle: DeployedBundle) -> None:
    with np.load(io.BytesIO(bundle.files["samples.npz"])) as samples:
        inputs, outputs = samples["inputs"], samples["outputs"].copy()
    outputs[2, 1] ^= 1
    buffer = io.BytesIO()
    np.savez(buffer, inputs=inputs, outputs=outputs)
    with pytest.raises(CandidateFailure, match="only 3 of 4"):
        validate_on_host({**bundle.files, "samples.npz": buffer.getvalue()})

    changed = bytearray(SMALL_TFLITE)
    changed[changed.index(_dense_kernel(SMALL_TFLITE))] ^= 0x40
    with pytest.raises(CandidateFailure, match="of 4 outputs of the bundle's C array"):
        validate_on_host({**bundle.files, "model.c": c_source(bytes(changed)).encode()})


def _dense_kernel(tflite: bytes) -> bytes:
    model = schema.Model.GetRootAs(tflite, 0)
    graph = model.Subgraphs(0)
    dense = graph.Operators(graph.OperatorsLength() - 1)
    kernel: np.ndarray = model.Buffers(graph.Tensors(dense.Inputs(1)).Buffer()).DataAsNumpy()
    return kernel.tobytes()
