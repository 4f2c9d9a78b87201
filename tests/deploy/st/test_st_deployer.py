"""Bundles by ST's own route, with the fake `stedgeai` of `test_route.py`."""

from pathlib import Path

import numpy as np
import pytest

from automcu.architecture import Task
from automcu.deploy.bundle import EVIDENCE, read_bundle, write_bundle
from automcu.deploy.choice import LinkName, ProverSettings
from automcu.deploy.deployer import DeployedBundle
from automcu.deploy.evidence import StCode, read_evidence
from automcu.deploy.st.deployer import StDeployer
from automcu.deploy.st.profile import read_profile
from automcu.deploy.verify import verify_bundle
from automcu.errors import CandidateFailure, DataError
from tests.deploy.st.test_profile import DEVICE
from tests.deploy.st.test_route import BOARD, PROFILE, SOURCES, Fake, fake, report
from tests.deploy.test_deployer import deploy

__all__ = ["fake"]

GENERATE = f"""
if command == "generate":
{"".join(f"    {line}" + chr(10) for line in SOURCES.strip().splitlines())}"""


def bundle(fake: Fake, behaviour: str, link: LinkName = "serial") -> DeployedBundle:
    settings = ProverSettings(link, port="/dev/ttyACM0" if link == "serial" else None)
    return deploy(StDeployer(BOARD, fake.route(behaviour), settings))


def generate() -> str:
    return GENERATE + f"    {report()}"


def on_board(behaviour: str) -> str:
    return f"{generate()}else:\n    {behaviour}"


def test_a_bundle_holds_sts_code_and_what_its_tool_measured(fake: Fake, tmp_path: Path) -> None:
    made = bundle(fake, on_board(PROFILE))
    code = {name for name in made.files if name.startswith("st/")}
    assert code == {f"st/{name}" for name in ("Makefile", "network.c", "network.h", "network_data.c", "network_data.h")}
    assert not any(name.startswith("firmware/") for name in made.files)
    evidence = read_evidence(made.files[EVIDENCE])
    assert evidence.st == StCode("2.2.0-20266 (X-CUBE-AI 10)", read_profile(DEVICE))
    assert evidence.measurement is None and not evidence.firmware and code < set(evidence.files)
    assert made.deployment.measurement is None and "13.51 ms" in made.deployment.unverified
    assert "compared no outputs" in made.deployment.unverified
    card = made.files["model_card.md"].decode()
    assert "13.512 ms, mean of 10 (13.509 to 13.518), measured" in card and "ST Edge AI 2.2.0-20266" in card
    assert "**Outputs not compared**" in card and "byte for byte, by" not in card
    assert [run["arguments"][0] for run in fake.runs()] == ["generate", "validate"]
    write_bundle(tmp_path / "best", made.files)
    assert read_bundle(tmp_path / "best.zip") == made.files


def test_without_a_board_the_code_alone_is_made(fake: Fake) -> None:
    made = bundle(fake, generate(), link="virtual")
    assert "st/network.c" in made.files and "real board only" in made.deployment.unverified
    assert [run["arguments"][0] for run in fake.runs()] == ["generate"]
    assert "**Not run on any board**" in made.files["model_card.md"].decode()


@pytest.mark.parametrize("told", ["E801(HwIOError): No SERIAL COM port detected", "INTERNAL ERROR: x"])
def test_a_board_that_fails_costs_the_measurement_alone(fake: Fake, told: str) -> None:
    made = bundle(fake, on_board(f"print({told!r}); sys.exit(1)"))
    evidence = read_evidence(made.files[EVIDENCE])
    assert "st/network.c" in made.files and evidence.st is not None and evidence.st.profile is None
    assert told.partition(": ")[2] in made.deployment.unverified


@pytest.mark.parametrize(
    "behaviour, told",
    [("print('E102(CliArgumentError): x'); sys.exit(1)", "refused"), ("write('odd name.c', '')", "'odd name.c'")],
)
def test_a_tool_that_fails_costs_the_code_alone(fake: Fake, behaviour: str, told: str) -> None:
    made = bundle(fake, f"{behaviour}\n{generate()}")
    assert "model_int8.tflite" in made.files and not any(name.startswith("st/") for name in made.files)
    assert told in made.deployment.unverified and read_evidence(made.files[EVIDENCE]).st is None


def test_a_network_that_the_tool_does_not_take_fails_the_candidate(fake: Fake) -> None:
    with pytest.raises(CandidateFailure, match="gelu_3"):
        bundle(fake, "print('NOT IMPLEMENTED: unsupported layer gelu_3'); sys.exit(1)")


def no_images(task: Task) -> tuple[np.ndarray, np.ndarray]:
    raise DataError("there are none; get them")


def test_such_a_bundle_is_verified_but_for_its_firmware(fake: Fake, tmp_path: Path) -> None:
    write_bundle(tmp_path / "best", bundle(fake, generate(), link="virtual").files)
    found = {finding.claim: finding for finding in verify_bundle(tmp_path / "best", no_images, 1)}
    assert found["files"].outcome == found["model"].outcome == "holds"
    assert found["firmware"].outcome == "not checked" and "real board only" in found["firmware"].told
