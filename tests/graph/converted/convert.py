"""Makes the .tflite files beside it, with TensorFlow 2.21: `python tests/graph/converted/convert.py`.

`rich_int8` holds what converters commonly write besides plain layers: constant operands, squeeze-and-excite, hard
swish, ReLUs that stand alone, a transposition, and a shape computed at run time. `varied_int8` holds the less common
ones: other activations, subtraction, resizing, maxima of whole maps, and a series. `mean_int8` and `reduce_max_int8`
are one operator each. The others are one small network in the precisions that are refused, and in those that are
accepted.
"""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers

HERE = Path(__file__).parent


def rich() -> keras.Model:
    image = keras.Input((16, 16, 3))
    x = layers.Rescaling(1 / 127.5, -1)(image)
    x = layers.Conv2D(8, 3, padding="same")(x)
    x = layers.Activation("hard_swish")(x)
    x = layers.MaxPooling2D(2)(x)
    x = layers.BatchNormalization(gamma_initializer="random_normal", beta_initializer="random_normal")(x)
    kept = layers.ReLU()(x)
    x = layers.Conv2D(8, 3, padding="same")(kept)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(4, 1, activation="relu")(gate)
    gate = layers.Conv2D(8, 1, activation="sigmoid")(gate)
    x = layers.Add()([layers.Multiply()([x, gate]), kept])
    x = layers.Conv2D(8, 3, strides=2, padding="same")(x)
    x = layers.Concatenate()([x, layers.ReLU()(x), layers.ReLU(6.0)(x)])
    x = layers.Permute((2, 1, 3))(x)
    x = layers.Flatten()(x)
    return keras.Model(image, layers.Dense(5, activation="softmax")(x))


def varied() -> keras.Model:
    image = keras.Input((16, 16, 3), batch_size=1)
    x = layers.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.1, 0.2, 0.3])(image)
    x = layers.LeakyReLU()(layers.Conv2D(8, 3, strides=2, padding="same")(x))
    x = layers.PReLU("random_uniform", shared_axes=[1, 2])(layers.Conv2D(8, 3, padding="same")(x))
    wide = layers.Resizing(16, 16, "bilinear")(x)
    sharp = layers.Resizing(16, 16, "nearest")(x)
    x = layers.Subtract()([wide, layers.Conv2D(8, 1, activation="tanh")(sharp)])
    top = layers.GlobalMaxPooling2D()(x)
    x = layers.Reshape((32, 64))(x)
    x = layers.Conv1D(12, 3, strides=2, activation="relu")(x)
    x = layers.Concatenate()([top, layers.GlobalMaxPooling1D()(x), layers.GlobalAveragePooling1D()(x)])
    return keras.Model(image, layers.Dense(5, activation="softmax")(x))


def alone(layer: keras.Layer) -> keras.Model:
    image = keras.Input((16, 16, 3), batch_size=1)
    return keras.Model(image, layer(image))


def plain() -> keras.Model:
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(48, 3, strides=2, padding="same", activation="relu")(image)
    x = layers.DepthwiseConv2D(3, padding="same")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(5)(x))


def convert(model: keras.Model, precision: str) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if precision != "float":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if precision.startswith("int"):
        images = np.random.default_rng(0).random((4, 1, 16, 16, 3), np.float32)
        converter.representative_dataset = lambda: ([image] for image in images)
    if precision == "int16":
        sixteen = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        converter.target_spec.supported_ops = [sixteen]
    if precision == "int8":
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


if __name__ == "__main__":
    keras.utils.set_random_seed(0)
    (HERE / "rich_int8.tflite").write_bytes(convert(rich(), "int8"))
    (HERE / "varied_int8.tflite").write_bytes(convert(varied(), "int8"))
    (HERE / "mean_int8.tflite").write_bytes(convert(alone(layers.GlobalAveragePooling2D()), "int8"))
    (HERE / "reduce_max_int8.tflite").write_bytes(convert(alone(layers.GlobalMaxPooling2D()), "int8"))
    network = plain()
    for name in ("float", "float16", "dynamic", "int16", "int8", "int8_float_ends"):
        (HERE / f"plain_{name}.tflite").write_bytes(convert(network, name))
