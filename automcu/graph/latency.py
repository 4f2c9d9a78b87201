"""A fast estimate of the clock cycles that an int8 graph takes: microseconds for a layer, no firmware built.

It counts what each operator has to do (`WORK`) and adds what that costs on a core by a runtime (`CYCLES`). The costs
are fitted on measured boards, for AutoMCU's own runtime on its instructions by a timing table; how, and how far off an
estimate is, stands in `experiments/latency`. Clock, Flash wait states and caches differ between boards of one core, so
an estimate is good for ranking networks and for a first idea of milliseconds, and must be called an estimate.
"""

from collections.abc import Mapping
from math import prod
from typing import Literal

from automcu.errors import ConfigError
from automcu.graph.int8 import Int8Graph, Operator

Runtime = Literal["automcu", "st", "tflm"]
"""`automcu`: the firmware of `automcu deploy`, with the kernels of `kernel_set_for`. `st`: X-CUBE-AI 9 and later, ST
Edge AI Core. `tflm`: TensorFlow Lite Micro and microTVM on CMSIS-NN."""

WORK = (
    "conv_macs",
    "pointwise_macs",
    "depthwise_3x3_macs",
    "depthwise_macs",
    "narrow_depthwise_macs",
    "dense_macs",
    "gathered",
    "taps",
    "outputs",
    "depthwise_outputs",
    "elements",
    "pooled",
    "pool_outputs",
    "moved",
    "exponentials",
    "operators",
)
"""Kinds of work: multiply-accumulates of convolutions with larger kernels, of 1x1 ones, of depthwise 3x3 ones, of other
depthwise ones, of those with fewer than four channels (too few for a word), and of fully connected operators (each of
their MACs reads a weight of its own from Flash); input values gathered for a convolution's windows, once for all of its
output channels; places of a larger kernel times outputs, each of which adds a product for every input channel; values
requantized by convolutions and fully connected operators, and by depthwise ones that are not 3x3 (there they are a
ninth of the MACs); values that elementwise operators put out; values that pooling and means read, and put out; values
copied; values that SOFTMAX puts out; operators that do anything."""
_PLACE = {kind: place for place, kind in enumerate(WORK)}

_NOTHING = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS"})
_POOLING = frozenset({"AVERAGE_POOL_2D", "MAX_POOL_2D"})
_REDUCING = frozenset({"MEAN", "REDUCE_MAX"})
_MOVING = frozenset({"PAD", "CONCATENATION", "TRANSPOSE", "RESIZE_NEAREST_NEIGHBOR"})


def work(graph: Int8Graph, operator: Operator) -> tuple[float, ...]:
    """What `operator` of `graph` has to do, by the kinds of `WORK` in turn."""
    done = [0.0] * len(WORK)
    if operator.kind in _NOTHING:
        return tuple(done)
    made = prod(graph.tensors[operator.output].shape)
    done[_PLACE["operators"]] = 1
    match operator.kind:
        case "CONV_2D":
            channels, height, width, taken = operator.weights
            window = height * width * taken
            if height == width == 1:
                done[_PLACE["pointwise_macs"]] = made * taken
            else:
                done[_PLACE["conv_macs"]] = made * window
                done[_PLACE["taps"]] = made * height * width
            done[_PLACE["gathered"]] = made * window / channels
            done[_PLACE["outputs"]] = made
        case "DEPTHWISE_CONV_2D":
            _, height, width, channels = operator.weights
            if channels >= 4 and height == width == 3:
                done[_PLACE["depthwise_3x3_macs"]] = made * 9
            else:
                done[_PLACE["depthwise_macs" if channels >= 4 else "narrow_depthwise_macs"]] = made * height * width
                done[_PLACE["depthwise_outputs"]] = made
        case "FULLY_CONNECTED":
            done[_PLACE["dense_macs"]] = made * operator.weights[1]
            done[_PLACE["outputs"]] = made
        case kind if kind in _POOLING and operator.window is not None:
            done[_PLACE["pooled"]] = made * prod(operator.window.kernel)
            done[_PLACE["pool_outputs"]] = made
        case kind if kind in _REDUCING:
            done[_PLACE["pooled"]] = prod(graph.tensors[operator.inputs[0]].shape)
            done[_PLACE["pool_outputs"]] = made
        case kind if kind in _MOVING:
            done[_PLACE["moved"]] = made
        case "SOFTMAX":
            done[_PLACE["exponentials"]] = made
        case _:
            done[_PLACE["elements"]] = made
    return tuple(done)


def graph_work(graph: Int8Graph) -> tuple[float, ...]:
    """What the whole graph has to do, by the kinds of `WORK` in turn."""
    return tuple(map(sum, zip(*(work(graph, operator) for operator in graph.operators), strict=True)))


_AUTOMCU = {
    "cortex-m0": (4.72, 5.01, 37.2, 17.7, 51.9, 11.8, 3.19, 1.04, 137, 212, 164, 18.5, 116, 4.98, 660, 438),
    "cortex-m0+": (4.51, 4.77, 35.9, 17.2, 50.1, 11.3, 3.04, 1.04, 133, 205, 157, 17.1, 104, 4.56, 634, 400),
    "cortex-m3": (3.92, 4.22, 25.6, 11.9, 32, 9.76, 2.75, 1.08, 81, 159, 127, 11.3, 54.9, 4.75, 413, 262),
    "cortex-m4f": (1.02, 0.888, 4.86, 1.22, 36.2, 2.54, 6.76, 0.907, 22.5, 53.9, 12.6, 2.59, 67.9, 4.69, 333, 304),
    "cortex-m7f": (0.619, 0.564, 3.41, 0.784, 16.7, 1.28, 3.6, 0.531, 15.1, 35.2, 10.8, 1.66, 36.1, 1.99, 198, 134),
    "cortex-m33f": (0.786, 0.683, 4.38, 0.984, 24.7, 2.01, 5.24, 0.705, 21, 46.1, 14.7, 2.11, 52.5, 3.49, 302, 229),
}
_ST = {
    "cortex-m4f": (1.11, 1.2, 5.25, 12.5, 11.1, 2.06, 1.86, 0.382, 26.7, 18.2, 51.7, 5.04, 17.6, 2.36, 223, 560),
    "cortex-m7f": (0.761, 0.82, 3.6, 8.56, 7.61, 1.41, 1.27, 0.262, 18.3, 12.5, 35.5, 3.46, 12.1, 1.62, 153, 384),
    "cortex-m33f": (0.984, 1.06, 4.66, 11.1, 9.84, 1.83, 1.65, 0.339, 23.7, 16.2, 45.9, 4.47, 15.6, 2.1, 198, 497),
}
_TFLM = {
    "cortex-m4f": (2.79, 2.44, 11.7, 25.8, 27.9, 3.41, 4.76, 1.03, 55.8, 45.3, 188, 11.3, 42.2, 5.75, 561, 1400),
    "cortex-m33f": (2.44, 2.13, 10.2, 22.5, 24.4, 2.98, 4.16, 0.896, 48.7, 39.6, 164, 9.86, 36.8, 5.02, 489, 1220),
}
CYCLES: Mapping[Runtime, Mapping[str, tuple[float, ...]]] = {"automcu": _AUTOMCU, "st": _ST, "tflm": _TFLM}
"""Clock cycles for one of each kind of `WORK`, in turn, by runtime and core. Those of `automcu` are fitted on executed
instructions that went through a timing table (`python -m experiments.latency.profile`, then `.own`), those of `st` and
`tflm` on measured boards (`python -m experiments.latency.judge`). What no board measured has no figures: M0, M0+ and M3
by these two, the M7 by `tflm`."""


def operator_cycles(graph: Int8Graph, core: str, runtime: Runtime = "automcu") -> tuple[float, ...]:
    """Estimated clock cycles of each operator of `graph`, in their order, on `core` such as `cortex-m4f`.

    Raises `ConfigError` for a core without figures for that runtime.
    """
    costs = CYCLES[runtime].get(core)
    if costs is None:
        known = ", ".join(CYCLES[runtime])
        raise ConfigError(f"core {core} has no latency estimate for the runtime {runtime}; use one of: {known}")
    return tuple(
        sum(cost * amount for cost, amount in zip(costs, work(graph, operator), strict=True))
        for operator in graph.operators
    )


def estimate_cycles(graph: Int8Graph, core: str, runtime: Runtime = "automcu") -> int:
    """Estimated clock cycles of one inference; `board.clock_hz` makes seconds of them. See `operator_cycles`."""
    return round(sum(operator_cycles(graph, core, runtime)))
