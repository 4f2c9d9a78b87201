"""Whether networks just over a limit would have been better than those just under it: both are trained, for real."""

import random
from dataclasses import dataclass
from pathlib import Path

from automcu.architecture import Task
from automcu.board import Budget
from automcu.board_table import load_board
from automcu.feasibility.planner_tier import PlannerTier
from automcu.graph.lowering import lower
from automcu.proposal import Proposal
from automcu.proposers.random_search import RandomSearch
from automcu.spaces import make_space
from automcu.training.data import load_training
from automcu.training.recipe import Recipe
from automcu.training.trainer import TorchTrainer
from experiments.filter_audit.targets import ALL, Target

BOARD = "nucleo_l053r8"
"""8 KiB of RAM and 64 KiB of Flash: small enough to matter for images of 8 x 8."""
DIGITS = Task("digits", "digits", (8, 8, 1), 10, "Tell apart ten handwritten digits in 8 x 8 grey images.")
RECIPE = Recipe(epochs=8, batch_size=32, learning_rate=0.2, weight_decay=5e-4, label_smoothing=0.1)
"""As `conf/training/digits.yaml`."""
NEAR = 1.25
DRAWN = 3_000
_TIME_LIMIT_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Trained:
    """One training: `fullness` is the share of the scarcer limit that the network takes, above 1 it was rejected."""

    fingerprint: str
    fullness: float
    fits: bool
    scarcer: str
    macs: int
    seed: int
    validation_accuracy: float


def train_near_limit(seed: int, each: int, repeats: int) -> list[Trained]:
    """`each` networks that the planner just admits and as many that it just rejects, drawn at random from those within
    a factor `NEAR` of the limits of `BOARD`, each trained `repeats` times."""
    target = Target(BOARD, load_board(BOARD), Budget(ALL, ALL, None))
    space, planner = make_space("mcu_cnn", DIGITS.input_shape, DIGITS.class_count), PlannerTier()
    networks = {}
    for item in RandomSearch(space, seed).propose(DRAWN):
        if isinstance(item, Proposal):
            network = space.build(item.architecture)
            report = planner.report(lower(network), Path)
            if 1 / NEAR <= target.fullness(report) <= NEAR:
                networks[item.architecture.fingerprint] = network, report
    rng = random.Random(seed)
    data = load_training(DIGITS, (), validation_share=0.15, max_images=None, seed=seed)
    trainer = TorchTrainer(RECIPE, threads=1)
    found = []
    for fits in (True, False):
        group = [key for key, (_, report) in networks.items() if target.fits(report) is fits]
        for key in rng.sample(group, min(each, len(group))):
            network, report = networks[key]
            for repeat in range(repeats):
                trained = trainer.train(
                    network, data, seed=seed + repeat, seconds=_TIME_LIMIT_SECONDS, on_epoch=lambda point: None
                )
                found.append(
                    Trained(
                        key,
                        target.fullness(report),
                        fits,
                        target.scarcer(report),
                        report.macs,
                        seed + repeat,
                        trained.trial.validation_accuracy,
                    )
                )
    return found
