"""A `Network` as a Keras model with the trained weights, and that model as an int8 .tflite file.

Imports tensorflow: use it through `automcu.export.converter`, which keeps tensorflow in a process of its own.

The batch is fixed to 1, which keeps SHAPE, STRIDED_SLICE and PACK out of the file. Layers are named by their place in
the network, by which the converter's operators are put into the network's order: the converter's own order of branches
follows from names of variables, and with the order changes the memory that a network needs.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, assert_never

import numpy as np
import tensorflow as tf

from automcu.errors import CandidateFailure
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
    Network,
    Pool,
)
from automcu.graph.tflite.order import in_order

_keras = tf.keras
_layers = tf.keras.layers


def build(network: Network, weights: Mapping[str, np.ndarray]) -> Any:
    """The Keras model of batch 1, from float images `(pixel - 128) / 128` to logits.

    `weights` are named and shaped as `Network.parameter_shapes` says.
    """
    _keras.backend.clear_session()
    maps = {INPUT: _keras.Input(batch_shape=(1, *network.input_shape), name="pixels")}

    def feature_map(source: str) -> Any:
        tensor = maps[source]
        return tensor if len(tensor.shape) == 4 else _layers.Reshape((1, 1, tensor.shape[1]))(tensor)

    def convolve(layer: Conv | DepthwiseConv, convolution: Any, axes: tuple[int, ...]) -> Any:
        norm = _layers.BatchNormalization(epsilon=BATCH_NORM_EPSILON, name=f"{convolution.name}_norm")
        tensor = norm(convolution(feature_map(layer.source)))
        convolution.set_weights([weights[f"{layer.name}.kernel"].transpose(axes)])
        norm.set_weights([weights[f"{layer.name}.{part}"] for part in ("gamma", "beta", "mean", "variance")])
        return _activate(tensor, layer.activation, convolution.name)

    for place, layer in enumerate(network.layers):
        name = f"l{place:04d}"
        match layer:
            case Conv(_, _, channels, kernel, stride):
                convolution = _layers.Conv2D(channels, kernel, stride, "same", use_bias=False, name=name)
                made = convolve(layer, convolution, (2, 3, 1, 0))
            case DepthwiseConv(_, _, kernel, stride):
                convolution = _layers.DepthwiseConv2D(kernel, stride, "same", use_bias=False, name=name)
                made = convolve(layer, convolution, (2, 3, 0, 1))
            case Pool(_, source, kind, kernel, stride):
                pool = _layers.MaxPooling2D if kind == "max" else _layers.AveragePooling2D
                made = pool(kernel, stride, "same", name=name)(feature_map(source))
            case GlobalAveragePool(_, source):
                made = _global_average(feature_map(source), name)
            case Add(_, left, right, activation):
                total = _add(feature_map(left), feature_map(right), name)
                made = _activate(total, activation, name)
            case Concat(_, names):
                joined = [feature_map(source) for source in names]
                made = _layers.Concatenate(name=name)(joined) if len(joined) > 1 else joined[0]
            case Dense(_, source, units, activation):
                dense = _layers.Dense(units, name=name)
                logits = dense(_layers.Flatten(name=f"{name}_flat")(maps[source]))
                dense.set_weights([weights[f"{layer.name}.kernel"].T, _kept(weights[f"{layer.name}.bias"])])
                made = _activate(logits, activation, name)
            case _:
                assert_never(layer)
        maps[layer.name] = made
    return _keras.Model(maps[INPUT], maps[network.output], name="network")


def _activate(tensor: Any, activation: Activation, name: str) -> Any:
    if activation == "none":
        return tensor
    return _layers.ReLU(max_value=6.0 if activation == "relu6" else None, name=f"{name}_{activation}")(tensor)


def _add(left: Any, right: Any, name: str) -> Any:
    # Keras' own addition takes a sum of 1 x 1 maps for a bias and puts a RESHAPE in front of it.
    return _layers.Lambda(lambda maps: tf.add(*maps), name=name)([left, right])


def _kept(bias: np.ndarray) -> np.ndarray:
    # The converter leaves out a bias of zeros, but the graph must not depend on the weights. This is 0 once quantized.
    return bias if bias.any() else np.full_like(bias, 1e-30)


def _global_average(tensor: Any, name: str) -> Any:
    # A pool of the whole map: GlobalAveragePooling2D becomes MEAN, and on a 1 x 1 map there is nothing to do.
    _, height, width, _ = tensor.shape
    if (height, width) == (1, 1):
        return tensor
    return _layers.AveragePooling2D((height, width), name=name)(tensor)


def normalise(images: np.ndarray) -> np.ndarray:
    """Pixels (uint8) as the network's float input: (pixel - 128) / 128."""
    return (images.astype(np.float32) - 128) / 128


def outputs(model: Any, images: np.ndarray) -> np.ndarray:
    """Float outputs (float32, images x outputs) of uint8 NHWC images."""
    function = tf.function(lambda image: model(image, training=False))
    found: np.ndarray = np.stack([function(image[None]).numpy().ravel() for image in normalise(images)])
    return found


def convert(model: Any, calibration_images: np.ndarray) -> bytes:
    """The model as a full int8 .tflite file, its activations' ranges taken from `calibration_images` (uint8, NHWC).

    One pixel is made 0 and one 255, so that the input's range is [-1, 127/128]: scale 1/128, zero point 0.
    """
    images = calibration_images.copy()
    images.reshape(-1)[[0, -1]] = 0, 255

    def representative() -> Iterator[list[np.ndarray]]:
        for image in normalise(images):
            yield [image[None]]

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    converter.representative_dataset = representative
    return in_order(bytes(converter.convert()), _place)


def _place(tensor: str) -> float:
    """The place in the network of the layer whose output `tensor` is, by the name that `build` gave the layer."""
    found = re.search(r"/l(\d{4})", tensor)
    if found is None:
        raise CandidateFailure(f"the converter named a tensor {tensor!r} after no layer; report this as a bug")
    return int(found[1])
