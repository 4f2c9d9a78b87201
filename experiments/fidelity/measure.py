"""How well do short trainings predict how networks rank after a long one?

    python -m experiments.fidelity.measure [--networks 20] [--worker 0/1] [--work DIR]

Networks are drawn from `mcu_cnn` for CIFAR-10 at 256 KB of RAM, 512 KB of Flash and 15 M multiply-accumulates, spread
evenly over the logarithm of their MACs. Each is trained by several schedules of the search and by a long one; the row
of a training holds its whole curve. What is in the Parquet files is not trained again, and a training that was stopped
goes on from its last epoch (checkpoints in `--work`). Several workers (0/2, 1/2, ...) share the networks.
"""

import argparse
import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from automcu.architecture import Architecture
from automcu.board import Budget
from automcu.feasibility.gate import Gate
from automcu.feasibility.planner_tier import PlannerTier
from automcu.spaces import make_space
from automcu.task_table import load_tasks
from automcu.training.data import data_roots, load_training
from automcu.training.recipe import Recipe
from automcu.training.trainer import TorchTrainer
from experiments.fidelity.proxies import proxies_of

HERE = Path(__file__).parent
BUDGET = Budget(ram_bytes=256_000, flash_bytes=512_000, macs=15_000_000)
LEAST_MACS = 300_000
SEED = 0


@dataclass(frozen=True, slots=True)
class Schedule:
    """A recipe, and how many images it sees."""

    recipe: Recipe
    images: int | None


def _search(epochs: int, images: int, **changed: object) -> Schedule:
    """As conf/training/cifar.yaml trains, for so many epochs."""
    return Schedule(Recipe(epochs=epochs, bfloat16=True, flip=True, crop_padding=4, **changed), images)  # type: ignore[arg-type]


SCHEDULES = {
    "12 epochs of 20,000": _search(12, 20_000),  # its first epochs are what ASHA sees
    "12 epochs of 5,000": _search(12, 5_000),
    "12 epochs, 5,000 to 20,000": _search(12, 20_000, shares=(0.25, 0.25, 0.5, 0.5)),
    "long": Schedule(
        Recipe(epochs=20, batch_size=128, schedule="cosine", averaging=0.999, bfloat16=True, flip=True, crop_padding=4),
        None,
    ),
}


def networks(count: int) -> list[Architecture]:
    """`count` feasible networks, one from each of as many bands of MACs, bands equal on a logarithmic scale."""
    task = next(task for task in load_tasks() if task.name == "cifar10")
    space = make_space("mcu_cnn", task.input_shape, task.class_count)
    gate, rng = Gate(space, BUDGET, [PlannerTier()]), random.Random(SEED)
    ratio = (BUDGET.macs or 0) / LEAST_MACS
    found: dict[int, Architecture] = {}
    while len(found) < count:
        architecture = space.random(rng)
        verdict = gate.check(architecture)
        for band in range(count):
            low, high = (LEAST_MACS * ratio ** (place / count) for place in (band, band + 1))
            if not verdict.violations and low <= verdict.report.macs < high:
                found.setdefault(band, architecture)
    return [found[band] for band in range(count)]


def trainings(architectures: list[Architecture], path: Path, work: Path) -> Iterator[None]:
    """Add the rows that `path` lacks, network by network: what has been measured so far can be looked at."""
    task = next(task for task in load_tasks() if task.name == "cifar10")
    space = make_space("mcu_cnn", task.input_shape, task.class_count)
    gate = Gate(space, BUDGET, [PlannerTier()])
    rows = pq.read_table(path).to_pylist() if path.exists() else []
    done = {(row["fingerprint"], row["schedule"]) for row in rows}
    data = {
        images: load_training(task, data_roots(None), validation_share=0.1, max_images=images, seed=SEED).for_search()
        for images in {schedule.images for schedule in SCHEDULES.values()}
    }
    for architecture in architectures:
        for name, schedule in SCHEDULES.items():
            if (architecture.fingerprint, name) in done:
                continue
            network, began = space.build(architecture), time.process_time()
            checkpoint = work / f"{architecture.fingerprint}-{name.replace(' ', '_')}.safetensors"
            trained = TorchTrainer(schedule.recipe, 1).train(
                network, data[schedule.images], seed=SEED, seconds=1e6, on_epoch=lambda point: None,
                checkpoint=checkpoint,
            )  # fmt: skip
            report = gate.check(architecture).report
            rows.append(
                {
                    "fingerprint": architecture.fingerprint,
                    "architecture": architecture.text,
                    "schedule": name,
                    "seed": SEED,
                    "macs": report.macs,
                    "weights_bytes": report.weights_bytes,
                    "curve": [point.validation_accuracy for point in trained.trial.curve],
                    "accuracy": trained.trial.validation_accuracy,
                    "cpu_seconds": time.process_time() - began,
                    "proxies": json.dumps(proxies_of(network, data[20_000], SEED)) if name == "long" else None,
                }
            )
            pq.write_table(pa.Table.from_pylist(rows), path)
            checkpoint.unlink(missing_ok=True)
            print(f"{architecture.fingerprint} {name}: {trained.trial.validation_accuracy:.3f}", flush=True)
            yield


def main() -> None:
    """Train what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=20)
    parser.add_argument("--worker", default="0/1", help="which of how many")
    parser.add_argument("--work", type=Path, default=Path("outputs/fidelity"), help="folder of checkpoints")
    asked = parser.parse_args()
    number, workers = map(int, asked.worker.split("/"))
    mine = networks(asked.networks)[number::workers]
    for _ in trainings(mine, HERE / f"rows{number}.parquet", asked.work):
        pass


if __name__ == "__main__":
    main()
