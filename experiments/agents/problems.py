"""What is searched: a space, a budget, and what a network's accuracy is taken to be."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pyarrow.parquet as pq

from automcu.architecture import Architecture, Task
from automcu.board import Budget
from automcu.board_table import load_board
from automcu.feasibility.gate import Gate
from automcu.feasibility.planner_tier import PlannerTier
from automcu.graph.kernel_sets import kernel_set_for
from automcu.graph.lowering import lower
from automcu.proposal import Cost
from automcu.results import FeasibilityReport
from automcu.spaces import make_space
from automcu.spaces.nasbench201 import Cell, NasBench201Space, cell_of
from automcu.spaces.space import Space
from automcu.task_table import load_tasks
from automcu.training.data import TrainingData, load_training
from automcu.training.recipe import Recipe
from automcu.training.trainer import TorchTrainer
from automcu.training.weights import parameter_count

BOARD = "nucleo_l010rb"
"""18 KiB of RAM and 128 KiB of Flash for the network."""
SMALL_BOARD = "nucleo_l011k4"
"""1.5 KiB of RAM and 16 KiB of Flash: also for images of 8 x 8 most random networks are too large."""
ALL = 10**9
NASBENCH_BUDGET = Budget(512 * 1024, 2 * 1024 * 1024, None)
"""Every cell of NAS-Bench-201 fits: there, only accuracy is searched."""
RECIPE = Recipe(epochs=8, batch_size=32, learning_rate=0.2, weight_decay=5e-4, label_smoothing=0.1)
"""As `conf/training/digits.yaml`."""
_TRAINING_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Problem:
    """A search to be run, until there were `proposals` different ones. `accuracy` says what a network is worth (share):
    looked up, trained, or a stand-in, see `KINDS`."""

    name: str
    space: Space
    task: Task
    budget: Budget
    board: str
    cost: Cost
    gate: Gate
    accuracy: Callable[[Architecture], float]
    proposals: int


def problem(name: str, seed: int, data: Path) -> Problem:
    """The problem of that name, for one seed. `data` is the folder with the tables of NAS-Bench-201."""
    return KINDS[name](name, seed, data)


def _sizes(name: str, seed: int, data: Path) -> Problem:
    """Only what fits is searched: instead of a training, accuracy grows with the number of parameters."""
    task = _task(name)

    def accuracy(architecture: Architecture) -> float:
        parameters = parameter_count(space.build(architecture))
        return parameters / (parameters + 20_000)

    space = make_space("mcu_cnn", task.input_shape, task.class_count)
    return _on_board(name, BOARD, space, task, accuracy, 12)


def _trained(name: str, seed: int, data: Path) -> Problem:
    """Networks are trained on the real images; accuracy is the float network's on the validation split."""
    task = _task(name.removesuffix("_trained"))

    def accuracy(architecture: Architecture) -> float:
        return _train(architecture, seed)

    space = make_space("mcu_cnn", task.input_shape, task.class_count)
    return _on_board(name, SMALL_BOARD, space, task, accuracy, 16)


def _nasbench201(name: str, seed: int, data: Path) -> Problem:
    """Operations are renamed, differently for each seed; accuracy is on the validation images, after 200 epochs."""
    names = [f"op_{letter}" for letter in "abcde"]
    random.Random(seed).shuffle(names)
    space = NasBench201Space((32, 32, 3), 10, tuple(names))
    task = Task(
        "images", "hidden", space.input_shape, space.class_count, "Tell apart ten kinds of small colour images."
    )
    known = accuracies(data, "cifar10_valid_acc_200")
    tier = PlannerTier()

    def cost(architecture: Architecture) -> FeasibilityReport:
        return tier.report(lower(space.build(architecture)), _no_file)

    def accuracy(architecture: Architecture) -> float:
        return known[space.cell(architecture)]

    gate = Gate(space, NASBENCH_BUDGET, [tier])
    return Problem(name, space, task, NASBENCH_BUDGET, "hidden", cost, gate, accuracy, 24)


KINDS: Mapping[str, Callable[[str, int, Path], Problem]] = {
    "digits": _sizes,
    "cifar10": _sizes,
    "digits_trained": _trained,
    "nasbench201": _nasbench201,
}


@cache
def accuracies(data: Path, column: str) -> Mapping[Cell, float]:
    """A column of NAS-Bench-201 as shares, by cell."""
    table = pq.read_table(data / "nasbench201.parquet", columns=["arch_str", column]).to_pylist()
    return {cell_of(row["arch_str"]): row[column] / 100 for row in table}


def _on_board(
    name: str, board_name: str, space: Space, task: Task, accuracy: Callable[[Architecture], float], proposals: int
) -> Problem:
    board = load_board(board_name)
    budget, tier = Budget(ALL, ALL, None).on(board), PlannerTier(kernel_set_for(board.core))

    def cost(architecture: Architecture) -> FeasibilityReport:
        return tier.report(lower(space.build(architecture)), _no_file)

    gate = Gate(space, budget, [tier])
    return Problem(name, space, task, budget, board.name, cost, gate, accuracy, proposals)


@cache
def _task(name: str) -> Task:
    return next(task for task in load_tasks() if task.name == name)


@cache
def _digits() -> TrainingData:
    return load_training(_task("digits"), (), validation_share=0.15, max_images=None, seed=0)


@cache
def _train(architecture: Architecture, seed: int) -> float:
    space = make_space("mcu_cnn", (8, 8, 1), 10)
    trained = TorchTrainer(RECIPE, threads=1).train(
        space.build(architecture), _digits(), seed=seed, seconds=_TRAINING_SECONDS, on_epoch=lambda point: None
    )
    return trained.trial.validation_accuracy


def _no_file() -> Path:
    raise AssertionError("the planner tier needs no file")
