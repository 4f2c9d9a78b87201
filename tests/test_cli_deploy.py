"""`automcu deploy` and `automcu verify` on the command line."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.command_line import Capture, refused, told
from tests.export.small import SMALL, SMALL_TFLITE, random_images


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "small.tflite").write_bytes(SMALL_TFLITE)
    return tmp_path / "small.tflite"


def test_a_users_model_is_deployed_and_its_bundle_verifies(capsys: Capture, model: Path, tmp_path: Path) -> None:
    inputs, labels = tmp_path / "x.npy", tmp_path / "y.npy"
    np.save(inputs, random_images(SMALL, 1, 6).astype(int).astype(np.int8))
    np.save(labels, np.zeros(6, int))
    bundle = tmp_path / "bundle"
    code, text = told(capsys, "deploy", model, "--board", "NUCLEO-G071RB", "--inputs", inputs, "--labels", labels,
                         "--out", bundle)  # fmt: skip
    assert code == 0
    for part in ("Bit-exact: 6 of 6 outputs", "instructions an inference", "portable kernels", "int8 accuracy",
                 "estimate", f"automcu verify {bundle}"):  # fmt: skip
        assert part in text
    code, text = told(capsys, "verify", f"{bundle}.zip")
    assert code == 0 and [line.split()[:2] for line in text.splitlines()] == [
        ["ok", "files"],
        ["ok", "fit"],
        ["ok", "model"],
        ["ok", "firmware"],
        ["--", "accuracy"],
    ]
    (bundle / "model_card.md").write_text("better")
    code, text = told(capsys, "verify", bundle, "--json")
    document = json.loads(text)
    assert code == 1 and document["holds"] is False and document["findings"][0]["outcome"] == "fails"


def test_json_has_the_measurement(capsys: Capture, model: Path) -> None:
    code, text = told(capsys, "deploy", model, "--board", "nucleo_f446re", "--samples", "2", "--json")
    document = json.loads(text)
    assert code == 0 and document["measurement"]["matching"] == document["measurement"]["checked"] == 2
    assert document["measurement"]["kernels"] == "dsp" and document["bundle"] is None
    assert document["measurement"]["latency_ms"] > 0 and "estimate" in document["measurement"]["latency_source"]


def test_what_does_not_fit_is_told_with_figures(capsys: Capture, tmp_path: Path) -> None:
    from automcu.graph.lowering import lower
    from automcu.graph.network import INPUT, Conv, GlobalAveragePool, Network
    from automcu.graph.tflite.writer import write_tflite

    layers = (Conv("wide", INPUT, 64, 3, 1, "relu"), GlobalAveragePool("pool", "wide"))
    (tmp_path / "wide.tflite").write_bytes(write_tflite(lower(Network((32, 32, 3), layers)), 0))
    code, text = told(capsys, "deploy", tmp_path / "wide.tflite", "--board", "nucleo_g071rb")
    assert code == 1 and "Does not run: the image exceeds sram by " in text
    code, text = told(capsys, "deploy", tmp_path / "wide.tflite", "--board", "nucleo_g071rb", "--json")
    assert code == 1 and "exceeds sram" in json.loads(text)["failure"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--board", "nucleo_f446re", "--link", "qemu"), "qemu-system-arm"),
        (("--board", "nucleo_f446re", "--port", "/dev/ttyACM0"), "use link serial"),
        (("--board", "nucleo_f446re", "--link", "host", "--kernels", "dsp"), "cannot run dsp kernels"),
        (("--board", "nowhere"), "no board is named"),
        (("--board", "nucleo_f446re", "--inputs", "absent.npy"), "absent.npy"),
        (("--board", "nucleo_f446re", "--samples", "0"), "--samples"),
        ((), "--board"),
    ],
)
def test_what_cannot_be_tried_is_one_sentence(
    capsys: Capture, model: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], reason: str
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert reason in refused(capsys, "deploy", model, *arguments)


def test_there_is_no_bundle(capsys: Capture, tmp_path: Path) -> None:
    assert "give the folder or the zip file of a bundle" in refused(capsys, "verify", tmp_path / "none")
