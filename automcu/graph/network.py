"""A network as float layers: the one description that torch, Keras and the int8 lowering all build from.

A search space turns an `Architecture` into a `Network`; from there on no one needs to know the space. Layers name
their sources, so any acyclic wiring can be written down. Semantics follow TensorFlow: NHWC shapes, padding `same`
(at stride s an extent n becomes ceil(n / s), the odd pixel of padding goes to the bottom and the right), average
pooling over the pixels that exist. A convolution is always followed by batch normalisation (epsilon
`BATCH_NORM_EPSILON`) and then by its activation; none has a bias of its own.

Parameters cross between frameworks as a mapping from name to float32 array, see `Network.parameter_shapes`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import ceil, prod
from typing import Literal

from automcu.architecture import Shape
from automcu.errors import InvalidArchitecture

Activation = Literal["none", "relu", "relu6"]
BATCH_NORM_EPSILON = 1e-3
INPUT = "input"
"""The name by which layers refer to the network's input."""


@dataclass(frozen=True, slots=True)
class Conv:
    """Square 2-D convolution, batch normalisation, activation."""

    name: str
    source: str
    channels: int
    kernel: int
    stride: int
    activation: Activation


@dataclass(frozen=True, slots=True)
class DepthwiseConv:
    """Depthwise square convolution (multiplier 1), batch normalisation, activation."""

    name: str
    source: str
    kernel: int
    stride: int
    activation: Activation


@dataclass(frozen=True, slots=True)
class Pool:
    """Square max or average pooling, padding `same`."""

    name: str
    source: str
    kind: Literal["max", "average"]
    kernel: int
    stride: int


@dataclass(frozen=True, slots=True)
class GlobalAveragePool:
    """Mean over height and width; the output keeps them as 1 x 1."""

    name: str
    source: str


@dataclass(frozen=True, slots=True)
class Add:
    """Sum of two feature maps of one shape, then the activation."""

    name: str
    left: str
    right: str
    activation: Activation


@dataclass(frozen=True, slots=True)
class Concat:
    """Feature maps of one height and width, side by side along the channels."""

    name: str
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Dense:
    """Flatten (row-major, channels last), then a fully connected layer with bias, then the activation."""

    name: str
    source: str
    units: int
    activation: Activation


Layer = Conv | DepthwiseConv | Pool | GlobalAveragePool | Add | Concat | Dense


def sources(layer: Layer) -> tuple[str, ...]:
    """The names of the layers that `layer` reads."""
    match layer:
        case Add():
            return (layer.left, layer.right)
        case Concat():
            return layer.sources
        case _:
            return (layer.source,)


@dataclass(frozen=True)
class Network:
    """Layers in an order in which each comes after its sources; the last one is the output (logits, no softmax).

    Raises `InvalidArchitecture` from `shapes` when layers do not fit together.
    """

    input_shape: Shape
    layers: tuple[Layer, ...]

    @property
    def output(self) -> str:
        """Name of the output layer."""
        return self.layers[-1].name

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """Height, width, channels of the input and of every layer's output, by name. A dense layer is (1, 1, units)."""
        if min(self.input_shape) < 1:
            raise InvalidArchitecture(f"input shape {self.input_shape} is empty; give height, width and channels >= 1")
        known: dict[str, Shape] = {INPUT: self.input_shape}
        for layer in self.layers:
            if layer.name in known:
                raise InvalidArchitecture(f"two layers are named {layer.name}; give each layer its own name")
            for source in sources(layer):
                if source not in known:
                    raise InvalidArchitecture(
                        f"layer {layer.name} reads {source}, which does not come before it; reorder the layers"
                    )
            known[layer.name] = _shape(layer, known)
        if not self.layers:
            raise InvalidArchitecture("the network has no layers; give at least one")
        return known

    @cached_property
    def parameter_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Name and shape of every parameter, in layer order; the contract between torch, Keras and the weights file.

        A convolution `c` has `c.kernel` (out, in, height, width; depthwise: channels, 1, height, width) and the batch
        normalisation's `c.gamma`, `c.beta`, `c.mean`, `c.variance` (out). A dense layer `d` has `d.kernel` (out, in)
        and `d.bias` (out).
        """
        found: dict[str, tuple[int, ...]] = {}
        for layer in self.layers:
            match layer:
                case Conv(name, source, channels, kernel):
                    found[f"{name}.kernel"] = (channels, self.shapes[source][2], kernel, kernel)
                case DepthwiseConv(name, source, kernel):
                    channels = self.shapes[source][2]
                    found[f"{name}.kernel"] = (channels, 1, kernel, kernel)
                case Dense(name, source, units):
                    found[f"{name}.kernel"] = (units, prod(self.shapes[source]))
                    found[f"{name}.bias"] = (units,)
                    continue
                case _:
                    continue
            found.update({f"{name}.{part}": (channels,) for part in ("gamma", "beta", "mean", "variance")})
        return found


def _shape(layer: Layer, known: Mapping[str, Shape]) -> Shape:
    first = known[sources(layer)[0]]
    match layer:
        case Conv() | DepthwiseConv() | Pool():
            channels = layer.channels if isinstance(layer, Conv) else first[2]
            if min(channels, layer.kernel, layer.stride) < 1:
                raise InvalidArchitecture(f"layer {layer.name} needs channels, kernel and stride >= 1; raise them")
            return ceil(first[0] / layer.stride), ceil(first[1] / layer.stride), channels
        case GlobalAveragePool():
            return 1, 1, first[2]
        case Add(name, left, right):
            if known[left] != known[right]:
                raise InvalidArchitecture(
                    f"layer {name} adds {known[left]} and {known[right]}; make both branches one shape"
                )
            return first
        case Concat(name, names):
            if len({known[source][:2] for source in names}) != 1:
                raise InvalidArchitecture(f"layer {name} joins maps of different height or width; make them equal")
            return first[0], first[1], sum(known[source][2] for source in names)
        case Dense(name, _, units):
            if units < 1:
                raise InvalidArchitecture(f"layer {name} needs at least one unit; raise units")
            return 1, 1, units
