"""From a `Network` to the int8 graph that its .tflite will hold.

It says what the TensorFlow 2.21 converter makes of the network's Keras twin (batch fixed at 1, int8 input and output),
as found by converting some hundred networks:

- batch normalisation and activation are folded into the convolution or the addition, padding is an attribute;
- global average pooling is AVERAGE_POOL_2D over the whole map, and nothing where the map is 1 x 1 already;
- flattening is a RESHAPE, and nothing where the map is 1 x 1;
- layers that the output does not depend on are dropped, a concatenation of one is its source, and of parameter-free
  layers that compute the same value only the first remains (addition takes its operands in either order).

Refused are the few wirings of which it makes something else: see `lower`.

The converter's order of independent branches is none to rely on: the exporter puts operators into the network's order
(`automcu.graph.tflite.order`), which is the order here.
"""

from functools import lru_cache
from math import prod
from typing import Literal

from automcu.architecture import Shape
from automcu.errors import InvalidArchitecture
from automcu.graph import int8
from automcu.graph.int8 import Int8Graph, Operator, Tensor
from automcu.graph.network import (
    INPUT,
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

_ACTIVATIONS: dict[str, int8.Activation] = {"none": "NONE", "relu": "RELU", "relu6": "RELU6"}


def lower(network: Network) -> Int8Graph:
    """The int8 graph of `network`; operators bear the names of their layers.

    Raises `InvalidArchitecture` when the layers do not fit together, and for what the converter would rewrite: a dense
    layer read by another kind of layer, or linear and read by another; the same maps added twice with different
    activations; the input image joined with other maps, which changes its scale.
    """
    lowering = _Lowering(network)
    for layer in _live_layers(network):
        lowering.add(layer)
    if not lowering.operators:
        raise InvalidArchitecture("the network computes nothing; add a convolution or a dense layer")
    return Int8Graph(tuple(lowering.tensors), tuple(lowering.operators), (0,), (lowering.tensor_of[network.output],))


def _live_layers(network: Network) -> list[Layer]:
    """The layers that the output depends on, in the network's order."""
    live = {network.output}
    found: list[Layer] = []
    for layer in reversed(network.layers):
        if layer.name in live:
            live.update(sources(layer))
            found.append(layer)
    found.reverse()
    return found


class _Lowering:
    def __init__(self, network: Network) -> None:
        self.shapes = network.shapes
        self.tensors = [Tensor(INPUT, (1, *network.input_shape), "int8")]
        self.operators: list[Operator] = []
        self.tensor_of = {INPUT: 0}
        self.images = {0}  # tensors that share the input's scale: itself, and what pooling makes of it
        self.dense: dict[str, Dense] = {}
        self.known: dict[tuple[object, ...], int] = {}

    def add(self, layer: Layer) -> None:
        """Append the operators of `layer`, whose sources have been added."""
        if self.dense:
            for source in sources(layer):
                if source in self.dense:
                    self._require_lowerable(layer, self.dense[source])
        shape = self.shapes[layer.name]
        match layer:
            case Conv(name, source, channels, kernel, stride, activation):
                weights = (channels, kernel, kernel, self.shapes[source][2])
                window = _window(kernel, kernel, stride, stride, "SAME")
                self.tensor_of[name] = self._append(
                    name,
                    "CONV_2D",
                    (self.tensor_of[source],),
                    shape,
                    weights,
                    channels,
                    window,
                    _ACTIVATIONS[activation],
                )
            case DepthwiseConv(name, source, kernel, stride, activation):
                weights = (1, kernel, kernel, shape[2])
                window = _window(kernel, kernel, stride, stride, "SAME")
                self.tensor_of[name] = self._append(
                    name,
                    "DEPTHWISE_CONV_2D",
                    (self.tensor_of[source],),
                    shape,
                    weights,
                    shape[2],
                    window,
                    _ACTIVATIONS[activation],
                )
            case Dense():
                self._append_dense(layer)
            case Pool(name, source, what, kernel, stride):
                window = _window(kernel, kernel, stride, stride, "SAME")
                kind = "MAX_POOL_2D" if what == "max" else "AVERAGE_POOL_2D"
                self._append_once(name, kind, (self.tensor_of[source],), shape, window)
            case GlobalAveragePool(name, source):
                height, width, _ = self.shapes[source]
                if height == width == 1:
                    self.tensor_of[name] = self.tensor_of[source]
                else:
                    window = _window(height, width, height, width, "VALID")
                    self._append_once(name, "AVERAGE_POOL_2D", (self.tensor_of[source],), shape, window)
            case Add(name, left, right, activation):
                operands = (self.tensor_of[left], self.tensor_of[right])
                self._append_once(name, "ADD", operands, shape, None, _ACTIVATIONS[activation])
            case Concat(name, names):
                inputs = tuple([self.tensor_of[source] for source in names])
                if len(inputs) == 1:
                    self.tensor_of[name] = inputs[0]
                elif not self.images.isdisjoint(inputs):
                    raise InvalidArchitecture(
                        f"layer {name} joins the input image with other maps, which would take its scale from it; "
                        "put a convolution between"
                    )
                else:
                    self._append_once(name, "CONCATENATION", inputs, shape)

    def _append(
        self,
        name: str,
        kind: str,
        inputs: tuple[int, ...],
        shape: tuple[int, ...],
        weights: tuple[int, ...] = (),
        bias: int = 0,
        window: int8.Window | None = None,
        activation: int8.Activation = "NONE",
    ) -> int:
        """Append an operator and its output, whose index it returns."""
        output = len(self.tensors)
        self.operators.append(Operator(name, kind, inputs, output, weights, bias, window, activation))
        self.tensors.append(Tensor(name, (1, *shape), "int8"))
        return output

    def _append_once(
        self,
        name: str,
        kind: str,
        inputs: tuple[int, ...],
        shape: Shape,
        window: int8.Window | None = None,
        activation: int8.Activation = "NONE",
    ) -> None:
        """Append an operator without parameters, unless the same value has been computed before."""
        value = (kind, tuple(sorted(inputs)) if kind == "ADD" else inputs, window)
        if value not in self.known:
            self.known[value] = len(self.operators)
            self.tensor_of[name] = output = self._append(name, kind, inputs, shape, (), 0, window, activation)
            if window is not None and inputs[0] in self.images:
                self.images.add(output)
            return
        first = self.operators[self.known[value]]
        if first.activation != activation:
            raise InvalidArchitecture(
                f"layers {first.name} and {name} add the same maps with different activations; keep one of them"
            )
        self.tensor_of[name] = first.output

    def _append_dense(self, layer: Dense) -> None:
        source = self.tensor_of[layer.source]
        values = prod(self.shapes[layer.source])
        if self.tensors[source].shape[-1] != values:
            source = self._append(f"{layer.name}_flatten", "RESHAPE", (source,), (values,))
        self.dense[layer.name] = layer
        weights, activation = (layer.units, values), _ACTIVATIONS[layer.activation]
        self.tensor_of[layer.name] = self._append(
            layer.name, "FULLY_CONNECTED", (source,), (layer.units,), weights, layer.units, None, activation
        )

    def _require_lowerable(self, layer: Layer, dense: Dense) -> None:
        if not isinstance(layer, Dense):
            raise InvalidArchitecture(
                f"layer {layer.name} reads the dense layer {dense.name}; let only dense layers follow a dense layer"
            )
        if dense.activation == "none":
            raise InvalidArchitecture(
                f"dense layer {dense.name} is linear and followed by dense layer {layer.name}; give {dense.name} an "
                "activation or remove it"
            )


@lru_cache(maxsize=1024)
def _window(height: int, width: int, stride_y: int, stride_x: int, padding: Literal["SAME", "VALID"]) -> int8.Window:
    return int8.Window((height, width), (stride_y, stride_x), padding)
