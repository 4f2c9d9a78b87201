"""What tells which networks of `mcu_cnn` are alike, as figures of about unit spread."""

import math
from math import prod
from typing import get_args

from automcu.graph.network import GlobalAveragePool, Network
from automcu.spaces.mcu_cnn.description import STAGE_TYPES, McuCnn, PoolStage, WeightedStage

_BLOCKS = tuple(block for block, kind in STAGE_TYPES.items() if kind in get_args(WeightedStage))


def features(cnn: McuCnn, network: Network) -> tuple[float, ...]:
    """Size, work, depth and width on logarithmic scales, where maps are halved, and what the work is done by."""
    stages = [stage for stage in cnn.stages if not isinstance(stage, PoolStage)]
    work = dict.fromkeys(range(len(cnn.stages)), 0)
    weights = layers = 0
    by_kernel = 0.0
    for name, shape in network.parameter_shapes.items():
        layer, part = name.rsplit(".", 1)
        if part != "kernel":
            continue
        height, width, _ = network.shapes[layer]
        weights += prod(shape)
        layers += 1
        if layer.startswith("stage"):
            place = int(layer.removeprefix("stage").split("_")[0])
            work[place] += prod(shape) * height * width
    total = sum(work.values())
    by_block = dict.fromkeys(_BLOCKS, 0.0)
    for place, stage in enumerate(cnn.stages):
        if not isinstance(stage, PoolStage):
            by_block[stage.block] += work[place] / total
            by_kernel += stage.kernel * work[place] / total
    pooled = next(layer for layer in network.layers if isinstance(layer, GlobalAveragePool))
    last = min(network.shapes[pooled.source][:2])
    return (
        math.log2(weights) / 2,
        math.log2(total) / 2,
        math.log2(layers),
        math.log2(stages[0].channels),
        math.log2(stages[-1].channels),
        math.log2(last),
        by_kernel / 2,
        math.log2(1 + cnn.hidden_units) / 4,
        sum(stage.activation == "relu6" for stage in stages) / len(stages),
        sum(isinstance(stage, PoolStage) for stage in cnn.stages) / 2,
        *(2 * share for share in by_block.values()),
    )
