"""Images a second of a training: AutoMCU's loop beside what a user would write instead.

    python -m benchmarks.training [--repeats 3] [--threads 2] [--seconds 10]

ResNet-8 (MLPerf Tiny's, without its softmax) on 32 x 32 x 3 random images, batches of 128, SGD with momentum, random
crops and flips, in processes of their own one after the other, in turn. `automcu` is `TorchTrainer`'s loop in float32,
`automcu bfloat16` the same where the processor is faster in it (else it is the same as float32). `DataLoader` is a
plain PyTorch loop, the network as one would write it, with torchvision's transforms on PIL images, without workers and
with two.
`Keras fit` trains the same network on arrays without any augmentation. Printed: the median of the repeats with the
least and the most, and the ratio of the medians to the best DataLoader.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np

from automcu.graph.network import Network
from automcu.spaces.mcu_cnn import McuCnnSpace

BATCH = 128
IMAGES = 12_800


def resnet8() -> Network:
    """16, 32 and 64 channels, one residual pair each."""
    plain = {"kernel": 3, "repeats": 1, "activation": "relu"}
    stages = [
        {"block": "conv", "channels": 16, "stride": 1, **plain},
        *({"block": "residual", "channels": 16 * 2**i, "stride": 1 + (i > 0), **plain} for i in range(3)),
    ]
    space = McuCnnSpace((32, 32, 3), 10)
    return space.build(space.parse({"stages": stages, "hidden_units": 0}))


def images() -> tuple[np.ndarray, np.ndarray]:
    """Random images (uint8, NHWC) and labels."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (IMAGES, 32, 32, 3), np.uint8), rng.integers(0, 10, IMAGES)


def rate_of(steps: Iterator[object], seconds: float) -> float:
    """Images a second over `seconds` of steps, after ten that do not count."""
    for _ in range(10):
        next(steps)
    began, count = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        next(steps)
        count += 1
    return count * BATCH / (time.monotonic() - began)


def automcu(seconds: float, bfloat16: bool) -> float:
    import torch

    from automcu.training.loop import State, on_device
    from automcu.training.recipe import Recipe

    recipe = Recipe(epochs=1000, batch_size=BATCH, flip=True, crop_padding=4, bfloat16=bfloat16)
    pixels, labels = images()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    state, data = State(resnet8(), recipe, labels, 0, device), on_device(pixels, labels, device)

    def steps() -> Iterator[object]:
        while True:
            yield from state.epoch(data)

    return rate_of(steps(), seconds)


def data_loader(seconds: float, workers: int) -> float:
    import torch
    import torch.nn.functional as F
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset
    from torchvision import transforms

    class Block(torch.nn.Module):
        def __init__(self, entry: int, channels: int, stride: int) -> None:
            super().__init__()
            self.first = torch.nn.Conv2d(entry, channels, 3, stride, 1, bias=False)
            self.first_norm = torch.nn.BatchNorm2d(channels)
            self.second = torch.nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
            self.second_norm = torch.nn.BatchNorm2d(channels)
            self.shortcut = torch.nn.Sequential()
            if stride > 1:
                self.shortcut.append(torch.nn.Conv2d(entry, channels, 1, stride, bias=False))
                self.shortcut.append(torch.nn.BatchNorm2d(channels))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = F.relu(self.first_norm(self.first(x)))
            return F.relu(self.second_norm(self.second(y)) + self.shortcut(x))

    pixels, labels = images()
    transform = transforms.Compose(
        [
            transforms.RandomCrop(32, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize((0.5,) * 3, (0.5,) * 3),
        ]
    )

    class Images(Dataset[tuple[torch.Tensor, int]]):
        """As torchvision's CIFAR10 gives them."""

        def __len__(self) -> int:
            return IMAGES

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            return transform(Image.fromarray(pixels[index])), int(labels[index])

    loader = DataLoader(
        Images(), BATCH, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, 1, 1, bias=False), torch.nn.BatchNorm2d(16), torch.nn.ReLU(),
        Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(64, 10),
    ).to(device)  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)

    def steps() -> Iterator[object]:
        model.train()
        while True:
            for batch, targets in loader:
                optimizer.zero_grad()
                F.cross_entropy(model(batch.to(device)), targets.to(device)).backward()
                optimizer.step()
                yield None

    return rate_of(steps(), seconds)


def keras_fit(seconds: float, threads: int) -> float:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    keras, layers = tf.keras, tf.keras.layers

    def block(x: object, channels: int, stride: int) -> object:
        y = layers.Conv2D(channels, 3, stride, "same", use_bias=False)(x)
        y = layers.ReLU()(layers.BatchNormalization()(y))
        y = layers.BatchNormalization()(layers.Conv2D(channels, 3, 1, "same", use_bias=False)(y))
        if stride > 1:
            x = layers.BatchNormalization()(layers.Conv2D(channels, 1, stride, "same", use_bias=False)(x))
        return layers.ReLU()(layers.Add()([x, y]))

    entry = keras.Input((32, 32, 3))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(16, 3, 1, "same", use_bias=False)(entry)))
    for channels, stride in ((16, 1), (32, 2), (64, 2)):
        x = block(x, channels, stride)
    model = keras.Model(entry, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True), keras.losses.SparseCategoricalCrossentropy(True)
    )
    pixels, labels = images()
    floats = (pixels.astype(np.float32) - 128) / 128
    model.fit(floats, labels, BATCH, epochs=1, verbose=0)  # builds its graph
    began, epochs = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        model.fit(floats, labels, BATCH, epochs=1, verbose=0)
        epochs += 1
    return epochs * IMAGES / (time.monotonic() - began)


CONTENDERS: dict[str, Callable[[float, int], float]] = {
    "automcu": lambda seconds, threads: automcu(seconds, False),
    "automcu bfloat16": lambda seconds, threads: automcu(seconds, True),
    "DataLoader": lambda seconds, threads: data_loader(seconds, 0),
    "DataLoader, 2 workers": lambda seconds, threads: data_loader(seconds, 2),
    "Keras fit": keras_fit,
}


def measure(contender: str, seconds: float, threads: int) -> float:
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", "benchmarks.training", "--contender", contender, "--seconds", str(seconds),
               "--threads", str(threads)]  # fmt: skip
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    return float(json.loads(told.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.contender:
        print(json.dumps(CONTENDERS[asked.contender](asked.seconds, asked.threads)))
        return
    rates: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for _ in range(asked.repeats):
        for name, found in rates.items():
            found.append(measure(name, asked.seconds, asked.threads))
    best = max(statistics.median(found) for name, found in rates.items() if name.startswith("DataLoader"))
    print(f"ResNet-8, batches of {BATCH}, {asked.threads} threads, {asked.repeats} repeats of {asked.seconds:g} s")
    for name, found in rates.items():
        median = statistics.median(found)
        print(f"{name:24}{median:8.0f} images/s   ({min(found):.0f} .. {max(found):.0f})   {median / best:.2f} x")


if __name__ == "__main__":
    main()
