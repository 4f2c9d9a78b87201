"""Calls of the kernels for cores with the DSP extension (Cortex-M4, M7, M33), and their orders of weights.

What they cannot compute exactly, or not faster, is left to the portable kernels.
"""

from collections.abc import Callable, Mapping
from math import prod

import numpy as np

from automcu.deploy.emit.convolutions import convolution_sizes
from automcu.deploy.emit.dsp_scaling import LARGEST_SHIFT, channels_of
from automcu.deploy.emit.elementwise import operands_of, spread, sum_scales
from automcu.deploy.emit.kernel_set import KERNELS, Call, Fields, Layer
from automcu.deploy.emit.portable import Portable
from automcu.deploy.emit.reductions import mean_of
from automcu.graph.kernel_sets import dsp_depthwise_kernel
from automcu.graph.requantize import INT8_RANGE, activation_range

_FOLDER = KERNELS / "dsp"
_GROUP = 4
"""Channels that the depthwise and pooling kernels take together."""
_HALF = (1 << 30, 0)
"""The scale 1/2 as multiplier and shift."""
_LARGEST_DIFFERENCE = 255
"""Between two int8."""
_LARGEST_SUM = 1 << 23
"""256 times a smaller sum fits in 32 bits."""


class Dsp:
    """The kernels of `kernels/dsp`, and the portable ones for the rest."""

    supported = Portable.supported

    def __init__(self) -> None:
        self._portable = Portable()

    def call(self, layer: Layer) -> Call:
        """As `KernelCalls.call`."""
        kernel = _CALLS.get(layer.operator.kind)
        call = None if kernel is None else kernel(layer)
        return self._portable.call(layer) if call is None else call


def _conv(layer: Layer) -> Call | None:
    window = layer.operator.window
    assert window is not None
    if window.kernel == window.stride == (1, 1):
        return _dense(layer, prod(layer.output.shape[1:3]))
    sizes = convolution_sizes(layer)
    del sizes["output_depth"]
    return _matrix(layer, "automcu_dsp_conv", window.kernel[0], sizes)


def _fully_connected(layer: Layer) -> Call | None:
    return _dense(layer, prod(layer.output.shape) // layer.operator.weights[0])


def _dense(layer: Layer, rows: int) -> Call | None:
    return _matrix(layer, "automcu_dsp_dense", 1, {"rows": rows})


def _matrix(layer: Layer, function: str, rows: int, sizes: Fields) -> Call | None:
    """A call of a kernel whose parameters begin with an `automcu_dsp_matrix`; its windows have `rows` rows."""
    weights = layer.constants.weights.reshape(layer.operator.weights[0], -1)
    units, depth = weights.shape
    sums = _sums(weights, 1)
    channels = channels_of(layer, sums, left_shifts=False)
    if channels is None:
        return None
    weights = np.where(channels.constant[:, np.newaxis], 0, weights).astype(np.int8)
    upper = sums[:, 1::2]
    wide = bool((upper < -_LARGEST_SUM).any() or (upper >= _LARGEST_SUM).any() or (_borrowed(weights) < -128).any())
    table = np.stack([channels.bias.astype(np.int64) * 2, channels.multiplier, channels.right], axis=1)
    multiply1 = "automcu_dsp_multiply1_wide" if wide else "automcu_dsp_multiply1"
    symbols = (layer.array("weights"), layer.array("channels"), multiply1)
    matrix = (depth, units, 2 * layer.target.zero_point + 1, 1 if wide else 4, *symbols)
    files = ("automcu_dsp_expand.c", "automcu_dsp_multiply4.c", "automcu_dsp_multiply1.h", f"{multiply1}.c")
    arrays = {"weights": paired_weights(weights, rows, wide), "channels": table.astype(np.int32)}
    fields: Fields = {"matrix": f"{{{', '.join(map(str, matrix))}}}", **sizes}
    return _call(layer, function, f"{function}_parameters", fields, arrays, files)


def paired_weights(weights: np.ndarray, rows: int, wide: bool) -> np.ndarray:
    """Weights (units, depth), for windows of that many rows, as `automcu_dsp_matrix` has them: as many bytes, for two
    units at a time."""
    units, depth = weights.shape
    skipped = depth & 1
    order = _order(depth // rows, rows)
    given = np.concatenate([weights, np.zeros((units, 1), np.int8)], axis=1)[:, order]  # index -1: a zero, skipped
    made = given.copy()
    if not wide:
        made[1::2] = _borrowed(given)
    pairs = made[: units & ~1].reshape(units // 2, 2, len(order)).transpose(0, 2, 1)[:, skipped:]
    return np.concatenate([pairs.ravel(), made[units & ~1 :, skipped:].ravel()])


def _order(run: int, rows: int) -> list[int]:
    """The order in which `automcu_dsp_expand4` puts the activations of a window in pairs; -1 stands for none."""
    order = [-1, rows * run - 1] if rows * run & 1 else []
    begins = range(0, rows * run, run)
    for begin in begins:
        for first in range(begin, begin + run - 3, 4):
            order += [first, first + 2, first + 1, first + 3]
    if run & 2:
        for begin in begins:
            order += [begin + (run & ~3), begin + (run & ~3) + 1]
    if run & 1:
        order += [begin + run - 1 for begin in begins[: rows & ~1]]
    return order


def _borrowed(weights: np.ndarray) -> np.ndarray:
    """The upper bytes (as int16): weights of each second unit, less 1 where the byte below is negative, so that the
    half of a word is the sum of the one and 256 times the other."""
    upper: np.ndarray = weights[1::2].astype(np.int16)
    return upper - (weights[0::2][: len(upper)] < 0)


def _sums(weights: np.ndarray, axis: int) -> np.ndarray:
    """The lowest and the highest sum, over `axis`, of products of weights and int8 numbers."""
    products = weights.astype(np.int64)[np.newaxis] * np.array(INT8_RANGE)[:, np.newaxis, np.newaxis]
    return np.stack([products.min(0).sum(axis), products.max(0).sum(axis)])


def _depthwise_conv(layer: Layer) -> Call | None:
    window = layer.operator.window
    assert window is not None
    sizes = convolution_sizes(layer)
    depth = sizes.pop("input_depth")
    if depth != sizes.pop("output_depth") or depth < _GROUP:
        return None
    weights = layer.constants.weights.reshape(-1, depth)
    channels = channels_of(layer, _sums(weights, 0), left_shifts=True)
    if channels is None:
        return None
    weights = np.where(channels.constant, 0, weights).astype(np.int8)
    function = f"automcu_dsp_{dsp_depthwise_kernel(window)}"
    struct = f"{function}_parameters"
    if function != "automcu_dsp_depthwise":
        struct = "automcu_dsp_sliding_parameters"
        sizes, swapped = _rows_and_columns(sizes, depth)
        if swapped:
            weights = np.ascontiguousarray(weights.reshape(*window.kernel, depth).transpose(1, 0, 2))
    shifts = channels.right + 256 * (channels.left + 1)
    arrays = {"weights": weights, "channels": np.stack([channels.bias, channels.multiplier, shifts], axis=1)}
    fields: Fields = {
        "depth": depth,
        "rounding": 2 * layer.target.zero_point + 1,
        **{key: layer.array(key) for key in arrays},
        **sizes,
    }
    return _call(layer, function, struct, fields, arrays)


def _rows_and_columns(sizes: Mapping[str, int], depth: int) -> tuple[dict[str, int], bool]:
    """The sizes of an `automcu_dsp_sliding_parameters`, and whether its rows are the map's columns."""
    swapped = sizes["output_height"] > sizes["output_width"]
    row, column = ("width", "height") if swapped else ("height", "width")
    top, left = ("left", "top") if swapped else ("top", "left")
    made = {"stride": sizes["stride_height"], "kernel_rows": sizes[f"kernel_{row}"]}
    made |= {"kernel_columns": sizes[f"kernel_{column}"], "top": sizes[top], "left": sizes[left]}
    for side in ("input", "output"):
        steps = {"height": sizes[f"{side}_width"] * depth, "width": depth}
        made |= {f"{side}_rows": sizes[f"{side}_{row}"], f"{side}_columns": sizes[f"{side}_{column}"]}
        made |= {f"{side}_row_bytes": steps[row], f"{side}_column_bytes": steps[column]}
    return made | {"input_zero_point": sizes["input_zero_point"]}, swapped


def _add(layer: Layer) -> Call | None:
    if layer.operator.weights or layer.inputs[0].shape != layer.inputs[1].shape:
        return None
    sources = layer.sources
    scales, (multiplier, shift) = sum_scales(layer, [source.scale for source in sources])
    smaller = int(sources[0].scale >= sources[1].scale)
    equal = scales[smaller] == scales[1 - smaller] == _HALF
    if scales[1 - smaller] != _HALF or not (equal or scales[smaller][1] < 0) or not 0 < -shift <= LARGEST_SHIFT:
        return None
    whole_zero_point = sources[1 - smaller].zero_point + (sources[smaller].zero_point if equal else 0)
    fields: Fields = {
        "count": prod(layer.output.shape),
        "smaller_offset": -sources[smaller].zero_point << 21,
        "multiplier": scales[smaller][0],
        "shift": 0 if equal else -scales[smaller][1],
        "offset": -whole_zero_point << 20,
        "output_multiplier": multiplier,
        "output_shift": -shift - 1,
        "rounding": 2 * layer.target.zero_point + 1,
    }
    inputs = layer.input_pointer(1 - smaller), layer.input_pointer(smaller)
    return _call(layer, "automcu_dsp_add", "automcu_dsp_add_parameters", fields, inputs=inputs)


def _mul(layer: Layer) -> Call | None:
    operands, whole = operands_of(layer)
    scales = [operand.quantization.scale for operand in operands]
    multiplier, shift = layer.factor(scales[0] * scales[1] / layer.target.scale)
    other = operands[1 - whole]
    period, repeat = spread(layer, other.shape)
    if repeat > 1 or not 0 < -shift <= LARGEST_SHIFT:
        return None
    fields: Fields = {
        "count": prod(layer.output.shape),
        "period": period,
        "whole_zero_point": operands[whole].quantization.zero_point,
        "other_zero_point": other.quantization.zero_point,
        **_output_rule(layer, multiplier, shift),
    }
    arrays = {"constant": layer.constants.weights} if layer.operator.weights else {}
    inputs = operands[whole].address, other.address
    return _call(layer, "automcu_dsp_mul", "automcu_dsp_mul_parameters", fields, arrays, inputs=inputs)


def _mean(layer: Layer) -> Call | None:
    sizes, (multiplier, shift) = mean_of(layer)
    largest = sizes["count"] * _LARGEST_DIFFERENCE
    if sizes["depth"] < _GROUP or largest >= 1 << 30 or not 0 < -shift <= LARGEST_SHIFT:
        return None
    fields: Fields = {**sizes, **_output_rule(layer, multiplier, shift)}
    return _call(layer, "automcu_dsp_mean", "automcu_dsp_mean_parameters", fields, files=("automcu_dsp_sums.h",))


def _output_rule(layer: Layer, multiplier: int, shift: int) -> dict[str, int]:
    return {"multiplier": multiplier, "shift": -shift - 1, "rounding": 2 * layer.target.zero_point + 1}


def _average_pool(layer: Layer) -> Call | None:
    sizes = convolution_sizes(layer)
    depth = sizes.pop("input_depth")
    if depth < _GROUP:
        return None
    del sizes["output_depth"], sizes["input_zero_point"]
    fields: Fields = {"depth": depth, **sizes}
    return _call(
        layer, "automcu_dsp_average_pool", "automcu_dsp_pool_parameters", fields, files=("automcu_dsp_sums.h",)
    )


def _call(
    layer: Layer,
    function: str,
    struct: str,
    fields: Fields,
    arrays: Mapping[str, np.ndarray] | None = None,
    files: tuple[str, ...] = (),
    inputs: tuple[str, ...] = (),
) -> Call:
    """A call of `function` with `inputs` (addresses; else the one input) and scratch buffers (0 for one that it does
    not need), from the source of that name and `files`; then, for a range narrower than that of int8, the clamping to
    it."""
    scratch = [*layer.scratch_pointers, "0", "0"][: _SCRATCH.get(function, 0)]
    addresses = (*(inputs or (layer.input_pointer(),)), layer.output_pointer, *scratch)
    statements = [f"{function}(&{layer.parameters}, {', '.join(addresses)});"]
    names = ["automcu_dsp.h", f"{function}.c", *files]
    lowest, highest = activation_range(layer.operator.activation, layer.target)
    if (lowest, highest) != INT8_RANGE:
        count = prod(layer.output.shape)
        statements.append(f"automcu_dsp_clamp({layer.output_pointer}, {count}, {lowest}, {highest});")
        names.append("automcu_dsp_clamp.c")
    return Call(tuple(statements), tuple(_FOLDER / name for name in names), arrays, struct, fields)


_SCRATCH = {
    "automcu_dsp_conv": 2,
    "automcu_dsp_dense": 1,
    "automcu_dsp_depthwise": 1,
    "automcu_dsp_depthwise_3x3": 1,
    "automcu_dsp_depthwise_stride1": 1,
}
"""How many scratch buffers a kernel takes at most."""
_CALLS: dict[str, Callable[[Layer], Call | None]] = {
    "ADD": _add,
    "AVERAGE_POOL_2D": _average_pool,
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise_conv,
    "FULLY_CONNECTED": _fully_connected,
    "MEAN": _mean,
    "MUL": _mul,
}
