"""Int8 arithmetic simulated in training (arXiv 1712.05877): weights and activations are rounded to what an int8 file
can hold, and gradients pass the rounding as if it were not there.

Batch normalisation is folded into the kernels with its statistics as they are, as the converter does. Kernels are
rounded per output channel, symmetrically; feature maps per layer, between the least and the greatest value seen.
"""

import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from automcu.errors import CandidateFailure
from automcu.graph.network import Add, Concat, Layer, Network
from automcu.results import LayerError
from automcu.training.augment import batch_of
from automcu.training.data import TrainingData
from automcu.training.loop import memory_guard, on_device
from automcu.training.model import ConvBlock, DenseBlock, TorchNetwork, normalise
from automcu.training.optimizer import NesterovSGD, share_of_peak
from automcu.training.processor import prepare
from automcu.training.recipe import Recipe

_CALIBRATION_BATCH = 100
_LOOK_AT_TIME = 0.1
"""Share of the time after which a fine-tuning is shortened to what there is time for."""
_FORGET = 0.99
"""Share that a range keeps of its old ends at each batch of a fine-tuning."""


class QuantizedNetwork(nn.Module):
    """A trained network computed as its int8 file would, as far as rounding goes. `observe` first."""

    def __init__(self, model: TorchNetwork) -> None:
        super().__init__()
        self.model = model
        self._ranges: dict[str, tuple[Tensor, Tensor]] = {}

    def forward(self, images: Tensor) -> Tensor:
        """Logits of a batch; in training mode the ranges follow the batch."""
        return self.model.walk(images, self.compute)

    @torch.no_grad()
    def observe(self, images: Tensor) -> None:
        """Take the ranges of all feature maps from normalised images, as calibration does."""
        for batch in torch.split(images, _CALIBRATION_BATCH):
            self.model.walk(batch, self._observe)

    def _observe(self, layer: Layer, block: nn.Module, maps: list[Tensor]) -> Tensor:
        output = _folded(block, maps, rounded=False) if isinstance(block, ConvBlock | DenseBlock) else block(*maps)
        if _has_range(layer, block):
            low, high = self._ranges.get(layer.name, (output.new_zeros(()), output.new_zeros(())))
            self._ranges[layer.name] = (torch.minimum(low, output.min()), torch.maximum(high, output.max()))
        return output

    def compute(self, layer: Layer, block: nn.Module, maps: list[Tensor]) -> Tensor:
        """The output of one layer, rounded; for `TorchNetwork.walk`."""
        output = _folded(block, maps, rounded=True) if isinstance(block, ConvBlock | DenseBlock) else block(*maps)
        if not _has_range(layer, block):
            return output  # pooling keeps the scale of what it reads
        if self.training:
            with torch.no_grad():
                low, high = self._ranges[layer.name]
                zero = output.new_zeros(())
                low = torch.lerp(torch.minimum(output.min(), zero), low, _FORGET)
                high = torch.lerp(torch.maximum(output.max(), zero), high, _FORGET)
                self._ranges[layer.name] = low, high
        low, high = self._ranges[layer.name]
        scale = ((high - low) / 255).clamp(min=1e-8)
        zero_point = (-128 - torch.round(low / scale)).clamp(-128, 127).int()
        return torch.fake_quantize_per_tensor_affine(output, scale, zero_point, -128, 127)


def _has_range(layer: Layer, block: nn.Module) -> bool:
    return isinstance(block, ConvBlock | DenseBlock) or isinstance(layer, Add | Concat)


def _folded(block: ConvBlock | DenseBlock, maps: list[Tensor], *, rounded: bool) -> Tensor:
    """The block's output with normalisation folded into its kernel."""
    (entry,) = maps
    if isinstance(block, DenseBlock):
        kernel = _rounded(block.linear.weight) if rounded else block.linear.weight
        flat = entry.permute(0, 2, 3, 1).flatten(1)
        return block.activation(F.linear(flat, kernel, block.linear.bias))[:, :, None, None]
    conv, norm = block.conv, block.norm
    statistics = dict(norm.named_buffers())
    factor = norm.weight / torch.sqrt(statistics["running_var"] + norm.eps)
    kernel = conv.weight * factor[:, None, None, None]
    bias = norm.bias - statistics["running_mean"] * factor
    kernel = _rounded(kernel) if rounded else kernel
    padded = block.padding(entry, 0.0)
    return block.activation(F.conv2d(padded, kernel, bias, conv.stride, conv.padding, 1, conv.groups))


def _rounded(kernel: Tensor) -> Tensor:
    """A kernel (output channels first) as int8 with a scale for each output channel."""
    scale = (kernel.detach().flatten(1).abs().amax(1) / 127).clamp(min=1e-8)
    return torch.fake_quantize_per_channel_affine(
        kernel, scale, torch.zeros_like(scale, dtype=torch.int32), 0, -127, 127
    )


def layer_errors(
    network: Network, weights: Mapping[str, np.ndarray], calibration: np.ndarray, probe: np.ndarray
) -> tuple[LayerError, ...]:
    """How far int8 is from float after each layer on the `probe` images, with ranges from the `calibration` images;
    both uint8, NHWC. Errors of earlier layers are in those of later ones."""
    model = TorchNetwork(network)
    model.load(weights)
    quantized = QuantizedNetwork(model).eval()
    exact: dict[str, Tensor] = {}
    rounded: dict[str, Tensor] = {}

    def keep(layer: Layer, block: nn.Module, maps: list[Tensor]) -> Tensor:
        output: Tensor = block(*maps)
        exact[layer.name] = output.clone()
        return output

    def keep_rounded(layer: Layer, block: nn.Module, maps: list[Tensor]) -> Tensor:
        rounded[layer.name] = quantized.compute(layer, block, maps).clone()
        return rounded[layer.name].clone()

    with torch.inference_mode():
        quantized.observe(normalise(torch.tensor(calibration)))
        model.walk(normalise(torch.tensor(probe)), keep)
        model.walk(normalise(torch.tensor(probe)), keep_rounded)
        return tuple(LayerError(name, _decibels(output, rounded[name] - output)) for name, output in exact.items())


def _decibels(signal: Tensor, noise: Tensor) -> float:
    """Signal-to-noise ratio; 200 at most, which stands for no noise at all."""
    ratio = (signal.square().mean() + 1e-20) / (noise.square().mean() + 1e-20 * (1 + signal.square().mean()))
    return min(float(10 * torch.log10(ratio)), 200.0)


def fine_tuned(
    network: Network,
    weights: Mapping[str, np.ndarray],
    data: TrainingData,
    recipe: Recipe,
    *,
    calibration: np.ndarray,
    threads: int,
    seed: int,
    seconds: float,
) -> dict[str, np.ndarray]:
    """`weights` after `recipe.epochs` more epochs of training in simulated int8, or what `seconds` allow.

    Statistics of batch normalisation stay. The optimizer is SGD, whatever the recipe's. Where there is time enough,
    only the seed decides. Raises `CandidateFailure` when the loss is not finite, `OutOfMemory` when memory is short.
    """
    began = time.monotonic()
    prepare(threads)
    generator = torch.Generator().manual_seed(seed)
    model = TorchNetwork(network)
    model.load(weights)
    quantized = QuantizedNetwork(model)
    quantized.observe(normalise(torch.tensor(calibration)))
    quantized.train()
    model.eval()
    split = on_device(data.images, data.labels, torch.device("cpu"))
    batch = min(recipe.batch_size, len(data.labels))
    planned = steps = recipe.epochs * (len(data.labels) // batch)
    optimizer = NesterovSGD(model.parameters(), recipe.weight_decay)
    order, step = torch.empty(0, dtype=torch.int64), 0
    with memory_guard(recipe):
        while step < steps:
            if len(order) < batch:
                order = torch.randperm(len(data.labels), generator=generator)
            chosen, order = order[:batch], order[batch:]
            made = batch_of(split.images, split.labels, chosen, replace(recipe, mixup=0.0), generator)
            loss = F.cross_entropy(quantized(made.images), made.labels, label_smoothing=recipe.label_smoothing)
            if not torch.isfinite(loss):
                raise CandidateFailure(f"the int8 fine-tuning's loss became {loss.item()}; lower its learning rate")
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step(recipe.learning_rate * share_of_peak("cosine", step / steps), step + 1)
            step += 1
            spent = time.monotonic() - began
            if spent > _LOOK_AT_TIME * seconds:  # the first steps say little about the others
                steps = min(planned, int(step * seconds / spent))
    return model.parameters_by_name()
