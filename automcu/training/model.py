"""A `Network` as a torch module, in TensorFlow's semantics to the pixel: padding, pooling, flattening.

Inside, feature maps are NCHW tensors in channels_last memory; a dense layer's output is (N, units, 1, 1).
"""

from collections.abc import Callable
from typing import assert_never

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from automcu.architecture import Shape
from automcu.graph.network import (
    BATCH_NORM_EPSILON,
    INPUT,
    Activation,
    Add,
    Concat,
    Conv,
    Dense,
    DepthwiseConv,
    GlobalAveragePool,
    Layer,
    Network,
    Pool,
    sources,
)
from automcu.training.depthwise import depthwise
from automcu.training.weights import Weights, check_weights

# In place: a fresh map for every activation costs more than the activation itself. Safe, as each one follows an
# operation whose output nothing else reads.
_ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "relu": F.relu_,
    "relu6": lambda x: F.relu6(x, inplace=True),
}
_FORWARD_BATCH = 256


def normalise(images: Tensor) -> Tensor:
    """Pixels (uint8, NHWC) as the network's float input (NCHW): (pixel - 128) / 128.

    A convention of the project: with input scale 1/128 and zero point 0 the int8 input of the shipped file is
    pixel - 128, so a microcontroller needs no float arithmetic before the network.
    """
    return (images.permute(0, 3, 1, 2).float() - 128) / 128


class TorchNetwork(nn.Module):
    """The network with trainable weights: from normalised images (N, C, H, W) to logits (N, classes)."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.blocks = nn.ModuleList(_block(layer, network) for layer in network.layers)
        self._last_reader = {source: layer.name for layer in network.layers for source in sources(layer)}
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of a batch."""
        return self.walk(images, lambda layer, block, maps: block(*maps))

    def walk(self, images: Tensor, compute: Callable[[Layer, nn.Module, list[Tensor]], Tensor]) -> Tensor:
        """Logits of a batch, where `compute` gives the output of a layer from its block and the maps that it reads."""
        maps = {INPUT: images}
        for layer, block in zip(self.network.layers, self.blocks, strict=True):
            read = set(sources(layer))
            maps[layer.name] = compute(layer, block, [maps[source] for source in sources(layer)])
            for source in read:
                if self._last_reader[source] == layer.name:
                    del maps[source]
        return maps[self.network.output].permute(0, 2, 3, 1).flatten(1)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw all weights anew: kernels from He's normal distribution (arXiv 1502.01852), the rest neutral."""
        for block in self.blocks:
            if isinstance(block, ConvBlock):
                nn.init.kaiming_normal_(block.conv.weight, mode="fan_out", nonlinearity="relu", generator=generator)
                block.norm.reset_parameters()
            elif isinstance(block, DenseBlock):
                nn.init.kaiming_normal_(block.linear.weight, nonlinearity="linear", generator=generator)
                nn.init.zeros_(block.linear.bias)

    def parameters_by_name(self) -> dict[str, np.ndarray]:
        """A copy of all weights, with the names and shapes of `Network.parameter_shapes`."""
        return {
            name: np.array(tensor.detach().cpu().numpy(), dtype=np.float32, order="C")
            for name, tensor in self._tensors().items()
        }

    def load(self, weights: Weights) -> None:
        """Take over `weights`. Raises `OutputError` when they do not belong to this network."""
        check_weights(self.network, weights)
        with torch.no_grad():
            for name, tensor in self._tensors().items():
                tensor.copy_(torch.tensor(weights[name]))

    def _tensors(self) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for layer, block in zip(self.network.layers, self.blocks, strict=True):
            if isinstance(block, ConvBlock | DenseBlock):
                found.update({f"{layer.name}.{part}": tensor for part, tensor in block.tensors().items()})
        return found


def forward(network: Network, weights: Weights, images: np.ndarray) -> np.ndarray:
    """Logits (float32, N x classes) of uint8 NHWC images, in evaluation mode on the CPU."""
    model = TorchNetwork(network)
    model.load(weights)
    model.eval()
    batches = [images[start : start + _FORWARD_BATCH] for start in range(0, len(images), _FORWARD_BATCH)]
    with torch.inference_mode():
        return np.concatenate([model(normalise(torch.tensor(batch))).numpy() for batch in batches])


def _block(layer: Layer, network: Network) -> nn.Module:
    match layer:
        case Conv(_, source, channels, kernel, stride, activation):
            return ConvBlock(network.shapes[source], channels, 1, kernel, stride, activation)
        case DepthwiseConv(_, source, kernel, stride, activation):
            channels = network.shapes[source][2]
            return ConvBlock(network.shapes[source], channels, channels, kernel, stride, activation)
        case Pool(_, source, kind, kernel, stride):
            pool = _MaxPool if kind == "max" else _AveragePool
            return pool(network.shapes[source], kernel, stride)
        case GlobalAveragePool():
            return _GlobalAveragePool()
        case Add():
            return _Add(layer.activation)
        case Concat():
            return _Concat()
        case Dense(_, source, units, activation):
            return DenseBlock(network.shapes[source], units, activation)
        case _:
            assert_never(layer)


class _SamePadding:
    """TensorFlow's padding `same` for one window: what an operator can do itself, or an explicit margin where the
    odd pixel makes the two sides unequal. `margin` is (left, right, top, bottom), as `F.pad` takes it."""

    def __init__(self, shape: Shape, kernel: int, stride: int) -> None:
        top, bottom = _same(shape[0], kernel, stride)
        left, right = _same(shape[1], kernel, stride)
        self.margin = (left, right, top, bottom)
        self.symmetric = top == bottom and left == right
        self.own = (top, left) if self.symmetric else (0, 0)

    def __call__(self, maps: Tensor, value: float) -> Tensor:
        return maps if self.symmetric else F.pad(maps, self.margin, value=value)


def _same(extent: int, kernel: int, stride: int) -> tuple[int, int]:
    """Padding before and after an extent (https://www.tensorflow.org/api_docs/python/tf/nn, notes on padding)."""
    total = max((-(-extent // stride) - 1) * stride + kernel - extent, 0)
    return total // 2, total - total // 2


class ConvBlock(nn.Module):
    """A convolution without bias, batch normalisation and an activation."""

    def __init__(
        self, shape: Shape, channels: int, groups: int, kernel: int, stride: int, activation: Activation
    ) -> None:
        super().__init__()
        self.padding = _SamePadding(shape, kernel, stride)
        self.stride = stride
        self.conv = nn.Conv2d(shape[2], channels, kernel, stride, self.padding.own, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(channels, eps=BATCH_NORM_EPSILON)
        self.activation = _ACTIVATIONS[activation]

    def forward(self, maps: Tensor) -> Tensor:
        """The activated output."""
        padded = self.padding(maps, 0.0)
        if self.conv.groups > 1 and maps.device.type == "cpu":
            # Processors compute depthwise convolutions in bfloat16 up to six times slower than in float32 (measured).
            with torch.autocast("cpu", enabled=False):
                convolved = depthwise(padded.float(), self.conv.weight, self.stride, self.padding.own)
        else:
            convolved = self.conv(padded)
        return self.activation(self.norm(convolved))

    def tensors(self) -> dict[str, Tensor]:
        """Live tensors, named as `Network.parameter_shapes` names the parts of a layer."""
        statistics = dict(self.norm.named_buffers())
        return {
            "kernel": self.conv.weight,
            "gamma": self.norm.weight,
            "beta": self.norm.bias,
            "mean": statistics["running_mean"],
            "variance": statistics["running_var"],
        }


class _MaxPool(nn.Module):
    def __init__(self, shape: Shape, kernel: int, stride: int) -> None:
        super().__init__()
        self.padding = _SamePadding(shape, kernel, stride)
        self.kernel, self.stride = kernel, stride

    def forward(self, maps: Tensor) -> Tensor:
        return F.max_pool2d(self.padding(maps, -torch.inf), self.kernel, self.stride, self.padding.own)


class _AveragePool(nn.Module):
    """The mean over the pixels that exist: a mean over all, divided by the share of each window that exists."""

    def __init__(self, shape: Shape, kernel: int, stride: int) -> None:
        super().__init__()
        self.padding = _SamePadding(shape, kernel, stride)
        self.kernel, self.stride = kernel, stride
        covered = self._mean(torch.ones(1, 1, *shape[:2]))
        self.register_buffer("covered", covered, persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        return self._mean(maps) / self.get_buffer("covered")

    def _mean(self, maps: Tensor) -> Tensor:
        return F.avg_pool2d(self.padding(maps, 0.0), self.kernel, self.stride, self.padding.own)


class _GlobalAveragePool(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean((2, 3), keepdim=True)


class _Add(nn.Module):
    def __init__(self, activation: Activation) -> None:
        super().__init__()
        self.activation = _ACTIVATIONS[activation]

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.activation(left + right)


class _Concat(nn.Module):
    def forward(self, *maps: Tensor) -> Tensor:
        return torch.cat(maps, dim=1)


class DenseBlock(nn.Module):
    """A dense layer and an activation."""

    def __init__(self, shape: Shape, units: int, activation: Activation) -> None:
        super().__init__()
        height, width, channels = shape
        self.linear = nn.Linear(height * width * channels, units)
        self.activation = _ACTIVATIONS[activation]

    def forward(self, maps: Tensor) -> Tensor:
        """The activated output, of height and width 1."""
        flat = maps.permute(0, 2, 3, 1).flatten(1)
        return self.activation(self.linear(flat))[:, :, None, None]

    def tensors(self) -> dict[str, Tensor]:
        """Live tensors, named as `Network.parameter_shapes` names the parts of a layer."""
        return {"kernel": self.linear.weight, "bias": self.linear.bias}
