"""What a set of kernels asks of the memory plan: scratch buffers beside the tensors, by operator."""

from collections.abc import Callable
from math import ceil, prod
from typing import Literal

from automcu.graph.int8 import Int8Graph, Operator, Window

KernelSet = Literal["tflm", "portable", "dsp", "cmsis_nn"]
"""`tflm`: TensorFlow Lite Micro's reference kernels, the oracle. AutoMCU's own: `portable` (plain C99, any core) and
`dsp` (Cortex-M4, M7, M33: dual 16-bit multiply-accumulate). `cmsis_nn`: Arm's, for comparison."""
Scratch = Callable[[Int8Graph, Operator], tuple[int, ...]]
"""Sizes in bytes of the scratch buffers of one operator."""
_DSP_CORES = frozenset({"cortex-m4f", "cortex-m7f", "cortex-m33f"})


def kernel_set_for(core: str) -> KernelSet:
    """AutoMCU's own kernels for `core`, such as `cortex-m4f`: the fastest that it can run."""
    return "dsp" if core in _DSP_CORES else "portable"


def _tflm(graph: Int8Graph, operator: Operator) -> tuple[int, ...]:
    # MEAN sums in int32; both keep an index and the axes, which take 16 bytes each for up to 4 dimensions (all that
    # the reader takes).
    match operator.kind:
        case "MEAN":
            return 4 * prod(graph.tensors[operator.output].shape), 16, 16
        case "REDUCE_MAX":
            return 16, 16
    return ()


def _dsp(graph: Int8Graph, operator: Operator) -> tuple[int, ...]:
    output = graph.tensors[operator.output].shape
    match operator.kind:
        case "FULLY_CONNECTED":
            return (_columns(prod(output) // operator.weights[0], operator.weights[1]),)
        case "CONV_2D":
            _, height, width, depth = operator.weights
            rows, bytes_ = prod(output[:-1]), height * width * depth
            columns = _columns(rows, bytes_)
            return (columns, bytes_ * _at_once(rows)) if _reaches_over(graph, operator) else (columns,)
        case "DEPTHWISE_CONV_2D" if output[3] >= 4:
            return _dsp_depthwise(graph, operator)
    return ()


def dsp_depthwise_kernel(window: Window) -> Literal["depthwise", "depthwise_3x3", "depthwise_stride1"]:
    """The kernel of the `dsp` set, without its prefix, that computes a DEPTHWISE_CONV_2D with that window."""
    if window.kernel == (3, 3) and window.stride in ((1, 1), (2, 2)):
        return "depthwise_3x3"
    return "depthwise_stride1" if window.stride == (1, 1) and max(window.kernel) <= 8 else "depthwise"


def _dsp_depthwise(graph: Int8Graph, operator: Operator) -> tuple[int, ...]:
    window, output = operator.window, graph.tensors[operator.output].shape
    assert window is not None
    # The map's longer side is taken for columns; those of four channels are widened to pairs of rows.
    swapped = output[1] > output[2]
    rows, columns = reversed(window.kernel) if swapped else window.kernel
    made = max(output[1:3])
    match dsp_depthwise_kernel(window):
        case "depthwise_3x3":
            return (32 * ((ceil(made / 2) * 2 - 1) * window.stride[0] + 3),)
        case "depthwise_stride1":
            pairs = rows // 2 + 1
            return (16 * pairs * (ceil(made / 4) * 4 + columns - 1) + 80 + 32 * pairs * columns,)
    return (prod(operator.weights),) if _reaches_over(graph, operator) else ()


def _columns(rows: int, depth: int) -> int:
    """`depth` activations of the rows that are multiplied at once, widened to pairs of int16."""
    return 4 * ceil(depth / 2) * _at_once(rows)


def _at_once(rows: int) -> int:
    return 4 if rows >= 4 else 1


def _reaches_over(graph: Int8Graph, operator: Operator) -> bool:
    """Whether some window has rows or columns outside the map."""
    window = operator.window
    assert window is not None
    inside, made = (graph.tensors[tensor].shape[1:3] for tensor in (operator.inputs[0], operator.output))
    return window.padding == "SAME" and any(
        (count - 1) * stride + kernel > extent
        for extent, count, kernel, stride in zip(inside, made, window.kernel, window.stride, strict=True)
    )


def _cmsis_nn(graph: Int8Graph, operator: Operator) -> tuple[int, ...]:
    # The `..._get_buffer_size` functions of CMSIS-NN 4.0.0 for cores with the DSP extension.
    window = operator.window
    match operator.kind:
        case "CONV_2D" if window is not None and window.kernel != (1, 1):
            return (4 * prod(operator.weights[1:]),)
        case "DEPTHWISE_CONV_2D" if operator.weights[3] == graph.tensors[operator.inputs[0]].shape[3]:
            return (2 * prod(operator.weights),)
        case "AVERAGE_POOL_2D":
            return (4 * graph.tensors[operator.output].shape[3],)
    return ()


def _none(graph: Int8Graph, operator: Operator) -> tuple[int, ...]:
    return ()


SCRATCH: dict[KernelSet, Scratch] = {"tflm": _tflm, "portable": _none, "dsp": _dsp, "cmsis_nn": _cmsis_nn}
"""The scratch rule of each set."""
