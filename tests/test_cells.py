"""Cells of NAS-Bench-201 as real networks: checked, trained, converted, deployed."""

import json

import pytest

from tests.test_launch import run

__all__ = ["run"]

CELL = {
    "edge_0_1": "nor_conv_3x3", "edge_0_2": "skip_connect", "edge_0_3": "avg_pool_3x3", "edge_1_2": "none",
    "edge_1_3": "nor_conv_1x1", "edge_2_3": "skip_connect",
}  # fmt: skip


@pytest.mark.slow
def test_a_cell_is_a_network_that_ships(run, tmp_path) -> None:
    file = tmp_path / "cell.json"
    file.write_text(json.dumps({"space": "nasbench201", "description": CELL}))
    result = run(
        "space=nasbench201", "task=digits", "board=nucleo_f746zg", "proposer=given", f"proposer.architectures=[{file}]",
        "training.recipe.epochs=4", "budget.minutes=5", "budget.candidates=1",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert "16 of 16 outputs equal tflite-micro's byte for byte" in result.out
    assert json.loads((result.folder / "best/architecture.json").read_text())["space"] == "nasbench201"
