"""Calls of the portable kernels that pool, reduce or move: pooling, means, softmax, padding, reshaping."""

from math import prod

from automcu.deploy.emit.kernel_set import Call, Fields, Layer, portable_files
from automcu.graph.int8 import ELEMENT_BYTES
from automcu.graph.requantize import INT8_RANGE, activation_range

_MAX_AXES = 4
_SOFTMAX_CLASSES = 8_191
_SOFTMAX_BITS = 5
"""Integer bits of SOFTMAX's scaled inputs."""


def average_pool(layer: Layer) -> Call:
    """AVERAGE_POOL_2D."""
    return _pool(layer, "automcu_average_pool")


def max_pool(layer: Layer) -> Call:
    """MAX_POOL_2D."""
    return _pool(layer, "automcu_max_pool")


def reduce_max(layer: Layer) -> Call:
    """REDUCE_MAX over the whole map: a window as large as the map."""
    if layer.source != layer.target:
        raise layer.refuse("changes the scale or the zero point", "convert the network again")
    *steps, depth = layer.inputs[0].shape[1:]
    steps = [1] * (2 - len(steps)) + steps
    return _window(layer, "automcu_max_pool", (*steps, depth), (1, 1), (steps[0], steps[1]), (1, 1), (0, 0), INT8_RANGE)


def _pool(layer: Layer, kernel: str) -> Call:
    window = layer.operator.window
    assert window is not None
    _, height, width, depth = layer.inputs[0].shape
    made = layer.output.shape[1:3]
    limits = activation_range(layer.operator.activation, layer.target)
    sizes = (height, width, depth)
    return _window(layer, kernel, sizes, (made[0], made[1]), window.kernel, window.stride, layer.padding, limits)


def _window(
    layer: Layer,
    kernel: str,
    size: tuple[int, ...],
    made: tuple[int, int],
    window: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    limits: tuple[int, int],
) -> Call:
    names = (
        *("input_height", "input_width", "depth", "output_height", "output_width"),
        *("kernel_height", "kernel_width", "stride_height", "stride_width", "top", "left", "minimum", "maximum"),
    )
    fields = dict(zip(names, (*size, *made, *window, *stride, *padding, *limits), strict=True))
    return _call(layer, kernel, "automcu_pool_parameters", fields)


def mean(layer: Layer) -> Call:
    """MEAN over the whole map: one multiplication scales a sum and divides it by its count."""
    sizes, (multiplier, shift) = mean_of(layer)
    fields: Fields = {**sizes, "rescaling": f"{{{multiplier}, {shift}, {layer.target.zero_point}, -128, 127}}"}
    return _call(layer, "automcu_mean", "automcu_mean_parameters", fields)


def mean_of(layer: Layer) -> tuple[dict[str, int], tuple[int, int]]:
    """The sizes of an `automcu_mean_parameters`, and the scale of its sums."""
    count, depth = prod(layer.inputs[0].shape[1:-1]), layer.inputs[0].shape[-1]
    multiplier, shift = layer.factor(layer.source.scale / layer.target.scale)
    bits = min(count.bit_length() - 1, 32, 31 + shift)
    sizes = {"count": count, "depth": depth, "offset": -layer.source.zero_point * count}
    return sizes, ((multiplier << bits) // count, shift - bits)


def softmax(layer: Layer) -> Call:
    """SOFTMAX along the last axis, of at most `_SOFTMAX_CLASSES`: more could overflow the kernel's sum."""
    if layer.output.shape[-1] > _SOFTMAX_CLASSES:
        raise layer.refuse(f"has more than {_SOFTMAX_CLASSES:,} classes", "leave it out: the largest is the same")
    if (layer.target.scale, layer.target.zero_point) != (1 / 256, INT8_RANGE[0]):
        raise layer.refuse("has an output scale other than 1/256 or zero point other than -128", "convert it again")
    real = layer.attributes.beta * layer.source.scale * 2.0 ** (31 - _SOFTMAX_BITS)
    if real <= 1:
        raise layer.refuse("has a vanishing input scale or beta", "convert the network again")
    # Beyond 2^30 one step of the input is more than the scaled range: all but the largest are -infinity.
    multiplier, shift = layer.factor(real) if real < 2.0**30 else (0, 31)
    *rows, depth = layer.output.shape
    # Inputs this far below the largest are taken as -infinity.
    radius = (((1 << _SOFTMAX_BITS) - 1) << (31 - _SOFTMAX_BITS)) >> shift
    fields = {"rows": prod(rows), "depth": depth, "multiplier": multiplier, "shift": shift, "lowest": -radius}
    return _call(layer, "automcu_softmax", "automcu_softmax_parameters", fields)


def reshape(layer: Layer) -> Call:
    """RESHAPE, SQUEEZE and EXPAND_DIMS: the same bytes, perhaps elsewhere."""
    if layer.input_pointer() == layer.output_pointer:
        return Call(())
    return Call((f"memcpy({layer.output_pointer}, {layer.input_pointer()}, {layer.output.bytes});",))


def concatenation(layer: Layer) -> Call:
    """CONCATENATION: stored values are copied, whatever their scales."""
    if layer.operator.activation != "NONE":
        raise layer.refuse(f"has the fused activation {layer.operator.activation}", "use none")
    axis = layer.attributes.axis
    rows, step = prod(layer.output.shape[:axis]), prod(layer.output.shape[axis:])
    statements = []
    offset = layer.plan.offsets[layer.operator.output]
    for position, tensor in enumerate(layer.inputs):
        run = prod(tensor.shape[axis:])
        statements.append(
            f"automcu_copy_rows({layer.input_pointer(position)}, {layer.pointer(offset)}, {rows}, {run}, {step});"
        )
        offset += run
    return Call(tuple(statements), portable_files("automcu_copy"))


def pad(layer: Layer) -> Call:
    """PAD, which fills with the zero point."""
    _require_bytes(layer)
    shape, pads = list(layer.inputs[0].shape), list(layer.operator.pads)
    # An axis that is not padded is one run of memory with the axis before it.
    while len(shape) > 1 and pads[-2:] == [0, 0]:
        run = shape.pop()
        shape[-1] *= run
        pads = [*pads[:-4], *(count * run for count in pads[-4:-2])]
    if len(shape) > _MAX_AXES:
        raise layer.refuse(f"pads {len(layer.inputs[0].shape)} axes", f"pad at most {_MAX_AXES}")
    missing = _MAX_AXES - len(shape)
    shape, pads = [1] * missing + shape, [0, 0] * missing + pads
    fields: Fields = {
        "sizes": f"{{{', '.join(map(str, shape))}}}",
        "before": f"{{{', '.join(map(str, pads[::2]))}}}",
        "after": f"{{{', '.join(map(str, pads[1::2]))}}}",
        "value": layer.target.zero_point,
    }
    return _call(layer, "automcu_pad", "automcu_pad_parameters", fields)


def transpose(layer: Layer) -> Call:
    """TRANSPOSE."""
    _require_bytes(layer)
    shape, order = layer.inputs[0].shape, layer.attributes.order
    if len(shape) > _MAX_AXES:
        raise layer.refuse(f"has {len(shape)} axes", f"use at most {_MAX_AXES}")
    missing = _MAX_AXES - len(shape)
    sizes = [1] * missing + [shape[axis] for axis in order]
    steps = [0] * missing + [prod(shape[axis + 1 :]) for axis in order]
    fields = {"sizes": f"{{{', '.join(map(str, sizes))}}}", "steps": f"{{{', '.join(map(str, steps))}}}"}
    return _call(layer, "automcu_transpose", "automcu_transpose_parameters", fields)


def _require_bytes(layer: Layer) -> None:
    if ELEMENT_BYTES[layer.output.dtype] != 1:
        raise layer.refuse(f"works on {layer.output.dtype}", "let it work on int8")


def _call(layer: Layer, kernel: str, struct: str, fields: Fields) -> Call:
    """A kernel of one input."""
    statement = f"{kernel}(&{layer.parameters}, {layer.input_pointer()}, {layer.output_pointer});"
    file = {"automcu_average_pool": "automcu_pool", "automcu_max_pool": "automcu_pool"}.get(kernel, kernel)
    return Call((statement,), portable_files(file), struct=struct, fields=fields)
