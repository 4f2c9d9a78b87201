"""Memory of concurrent trials: is the data set held once per machine, or once per trial?

    python -m benchmarks.trial_memory [--trials 4]

A data set of CIFAR-10's size (50,000 random images, 154 MB) is put into Ray's object store, as a run does, and trained
on by so many trials at once, for a few steps of a small network each. Printed: the private memory (USS) of the trials
and what they share; then the same with a tenth of the data. What a trial held for itself would be missing in the second
line.
"""

import argparse
import time
from pathlib import Path

import automcu.actors  # noqa: F401  (before Ray, which reads its settings when it is imported)

# isort: split
import numpy as np
import ray

from automcu.actors.cluster import start_local, stop_local
from automcu.training.data import TrainingData
from automcu.training.recipe import Recipe
from automcu.training.trainer import TorchTrainer
from benchmarks.training import resnet8

MB = 1_000_000


def memory_mb() -> dict[str, float]:
    """Of this process: private memory, and its mapping of shared memory that it has touched."""
    rollup = Path("/proc/self/smaps_rollup").read_text()
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in rollup.splitlines()[1:]}
    private = kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]
    return {"private": private * 1024 / MB, "shared": (kilobytes["Rss"] - private) * 1024 / MB}


@ray.remote(num_cpus=0)
def trial(data: TrainingData, seconds: float, begin: float) -> dict[str, float]:
    """Train for `seconds` together with the others, and tell how much memory that took."""
    network, trainer = resnet8(), TorchTrainer(Recipe(epochs=1, batch_size=128, flip=True, crop_padding=4), 1)
    time.sleep(max(0.0, begin - time.time()))
    trainer.train(network, data, seed=0, seconds=seconds, on_epoch=lambda point: None)
    return memory_mb()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=4)
    asked = parser.parse_args()
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (50_000, 32, 32, 3), np.uint8), rng.integers(0, 10, 50_000)
    start_local(cpus=None, gpus=0, object_store_bytes=500 * MB, boards={})
    try:
        for count in (50_000, 5_000):
            show(images[:count], labels[:count], asked.trials)
    finally:
        stop_local()


def show(images: np.ndarray, labels: np.ndarray, trials: int) -> None:
    size, validation = (images.nbytes + labels.nbytes) / MB, len(images) // 10
    data = TrainingData(
        images[validation:], labels[validation:], images[:validation], labels[:validation], tuple("abcdefghij")
    )
    held, begin = ray.put(data), time.time() + 20
    told = ray.get([trial.remote(held, 15.0, begin) for _ in range(trials)])
    private = [found["private"] for found in told]
    shared = [found["shared"] for found in told]
    print(
        f"data set of {size:.0f} MB, {trials} trials at once: private {min(private):.0f} to {max(private):.0f} MB "
        f"each, shared {min(shared):.0f} to {max(shared):.0f} MB"
    )


if __name__ == "__main__":
    main()
