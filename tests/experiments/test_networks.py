"""The networks that experiments keep: each fits where its folder says, is the network of its architecture.json, and is
as right on the test set as its model card says."""

import json
import re
from pathlib import Path

import pytest

from automcu.cli import main
from automcu.export.interpreter import accuracy, images_to_int8, run_int8
from automcu.graph.lowering import lower
from automcu.graph.tflite.reader import read_tflite
from automcu.spaces import make_space
from automcu.task_table import load_tasks
from automcu.training.data import data_roots, find_shards, load_test

ROOT = Path(__file__).parents[2] / "experiments"
NETWORKS = {
    "cifar10": ("cifar10", "nucleo_f746zg", 256, 512),
    "cifar10_tight": ("cifar10", "nucleo_l432kc", 64, 64),
    "cifar100": ("cifar100", "nucleo_f746zg", 256, 512),
    "fashion_tight": ("fashion_mnist", "nucleo_l432kc", 64, 64),
    "mnist_tight": ("mnist", "nucleo_l432kc", 64, 64),
}
"""By folder: task, board, KB of RAM and of Flash."""


@pytest.mark.parametrize("name", NETWORKS)
def test_it_fits_and_is_the_network_of_its_architecture(name: str) -> None:
    task_name, board, ram, flash = NETWORKS[name]
    model = ROOT / name / "model_int8.tflite"
    assert main(["check", str(model), "--board", board, "--ram-kb", str(ram), "--flash-kb", str(flash)]) == 0
    task = next(task for task in load_tasks() if task.name == task_name)
    described = json.loads((ROOT / name / "architecture.json").read_text())
    space = make_space(described["space"], task.input_shape, task.class_count)
    graph = lower(space.build(space.parse(described["description"])))
    assert graph.fingerprint == read_tflite(model.read_bytes()).fingerprint


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_its_accuracy_is_what_the_model_card_says(name: str) -> None:
    task = next(task for task in load_tasks() if task.name == NETWORKS[name][0])
    if not any(find_shards(root / task.dataset, "test") for root in data_roots(None)):
        pytest.skip(f"{task.dataset} is not at hand")
    card = (ROOT / name / "model_card.md").read_text()
    found = re.search(r"\| test \| ([\d,]+) \| ([\d.]+)% \|", card)
    assert found is not None
    test = load_test(task, data_roots(None))
    assert len(test.images) == int(found[1].replace(",", ""))
    outputs = run_int8(
        (ROOT / name / "model_int8.tflite").read_bytes(), images_to_int8(test.images), processes=2, time_limit_s=1200
    )
    assert f"{accuracy(outputs, test.labels):.2%}" == f"{found[2]}%"
