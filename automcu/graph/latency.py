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
    "depthwise_macs",
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
"""Kinds of work: multiply-accumulates of convolutions with larger kernels, of 1x1 ones, of depthwise ones and of fully
connected operators (each of their MACs reads a weight of its own from Flash); input values gathered for a convolution's
windows, once for all of its output channels; places of a larger kernel times outputs, each of which adds a product for
every input channel; values requantized by convolutions and fully connected operators, and by depthwise ones; values
that elementwise operators put out; values that pooling and means read, and put out; values copied; values that SOFTMAX
puts out; operators that do anything."""
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
            done[_PLACE["depthwise_macs"]] = made * prod(operator.weights[1:3])
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


CYCLES: Mapping[Runtime, Mapping[str, tuple[float, ...]]] = {
    "automcu": {},
    "st": {
        "cortex-m4f": (1.13, 1.04, 6.03, 2.12, 1.83, 0.367, 17.7, 14.0, 71.9, 5.43, 17.5, 2.41, 239.0, 566.0),
        "cortex-m7f": (0.788, 0.728, 4.21, 1.48, 1.28, 0.256, 12.4, 9.76, 50.2, 3.79, 12.2, 1.68, 167.0, 396.0),
        "cortex-m33f": (1.0, 0.925, 5.35, 1.88, 1.63, 0.325, 15.7, 12.4, 63.8, 4.82, 15.5, 2.14, 212.0, 503.0),
    },
    "tflm": {
        "cortex-m4f": (2.82, 2.19, 11.5, 3.48, 4.9, 0.979, 45.3, 34.3, 202.0, 10.9, 40.6, 5.79, 591.0, 1410.0),
        "cortex-m33f": (2.45, 1.91, 10.0, 3.03, 4.27, 0.854, 39.5, 29.9, 176.0, 9.51, 35.4, 5.04, 515.0, 1230.0),
    },
}
"""Clock cycles for one of each kind of `WORK`, in turn, by runtime and core. `st` and `tflm` are fitted on measured
boards (`python -m experiments.latency.judge`). What no board measured has no figures: by those runtimes M0, M0+ and M3,
by `tflm` the M7."""


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
