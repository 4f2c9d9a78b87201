"""Ways through the space: a random network, and all networks one edit away from a given one."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any

from automcu.architecture import Shape
from automcu.spaces.mcu_cnn.description import (
    CHOICES,
    MAX_STAGES,
    STAGE_TYPES,
    Channels,
    HiddenUnits,
    McuCnn,
    PoolStage,
    Stage,
    WeightedStage,
    changed,
)

LARGE_INPUT = 48
_BODY_BLOCKS = {"conv": 1, "separable": 2, "inverted": 2, "residual": 2, "bottleneck": 1, "ghost": 1}


def draw(input_shape: Shape, rng: Random) -> McuCnn:
    """A random network for the input shape; it may break the limits on size.

    The width of the first stage is log-uniform and grows with every halving, so sizes spread over orders of magnitude.
    Maps end at a side of 2 to 12 where five halvings can bring that about, and large inputs are halved at once.
    """
    extent = min(input_shape[:2])
    most = min(5, max(0, math.floor(math.log2(extent / 2))))
    halvings = rng.randint(min(most, max(0, math.ceil(math.log2(extent / 12)))), most)
    count = rng.randint(max(1, halvings), min(7, MAX_STAGES - halvings))
    halving = set(rng.sample(range(count), halvings))
    if extent > LARGE_INPUT and 0 not in halving:
        halving = (halving - {min(halving)}) | {0}
    width, growth = 4 * 12 ** rng.random(), rng.uniform(1.2, 2.0)
    activation = rng.choice(("relu", "relu6"))
    pooled = rng.random() < 0.3

    stages: list[Stage] = []
    for i in range(count):
        halve = i in halving
        width *= growth if halve and i else 1
        block = "conv" if i == 0 and rng.random() < 0.7 else rng.choices(*zip(*_BODY_BLOCKS.items(), strict=True))[0]
        with_pool = halve and pooled and extent <= LARGE_INPUT
        stages.append(
            _stage(
                block,
                channels=width,
                kernel=rng.choice([k for k in (3, 3, 3, 5, 7) if k <= max(3, extent)]),
                stride=2 if halve and not with_pool else 1,
                expansion=rng.choice((1, 2, 3, 4, 6)),
                repeats=rng.choice((1, 1, 1, 1, 2, 2, 3, 4)) if i else 1,
                activation=activation,
            )
        )
        if with_pool:
            stages.append(_stage(rng.choice(("max_pool", "avg_pool")), kernel=2))
        extent = -(-extent // 2) if halve else extent
    hidden: HiddenUnits = 0 if rng.random() < 0.7 else rng.choice((16, 32, 64, 128, 256))
    return McuCnn(tuple(stages), hidden)


def smallest(input_shape: Shape) -> McuCnn:
    """The network of least RAM and, for up to 9 input channels, least Flash.

    RAM cannot fall below the input and the first layer's output. The least output is a pooled input, or 4 channels at
    stride 2 where the input has more than 4. The fewest weights are those of one 1 x 1 convolution to 4 channels.
    """
    extent, channels = min(input_shape[:2]), input_shape[2]
    stages: list[Stage] = []
    if extent > 1 and channels < 4:
        stages.append(_stage("max_pool", kernel=2))
        extent = -(-extent // 2)
    least: Channels = 4
    stages.append(_stage("conv", channels=least, kernel=1, stride=min(2, extent), repeats=1, activation="relu"))
    return McuCnn(tuple(stages), 0)


def edits(cnn: McuCnn, rng: Random) -> Iterator[McuCnn]:
    """Everything one edit away, whether or not it can be built; may repeat itself.

    First the kind of edit is drawn, then one of that kind. Drawn all alike, the many ways to add a stage would swamp
    the few ways to remove one, and a chain of random edits would drift to ever larger networks.
    """
    kinds = [kind for kind in _edits_by_kind(cnn).values() if kind]
    for kind in kinds:
        rng.shuffle(kind)
    while kinds:
        kind = rng.choice(kinds)
        yield kind.pop()()
        if not kind:
            kinds.remove(kind)


def _edits_by_kind(cnn: McuCnn) -> dict[str, list[Callable[[], McuCnn]]]:
    stages = cnn.stages
    found = defaultdict[str, list[Callable[[], McuCnn]]](list)

    def replacing(kind: str, start: int, stop: int, *new: Stage) -> None:
        found[kind].append(lambda: replace(cnn, stages=stages[:start] + new + stages[stop:]))

    for i, stage in enumerate(stages):
        for name, steps in _steps(stage).items():
            for value in steps:
                replacing(name, i, i + 1, changed(stage, **{name: value}))
        for block in STAGE_TYPES:
            if block != stage.block:
                replacing("block", i, i + 1, _recast(cnn, i, block))
        if len(stages) > 1:
            replacing("remove", i, i + 1)
        if i:
            replacing("swap", i - 1, i + 1, stage, stages[i - 1])
        if len(stages) < MAX_STAGES:
            replacing("add", i, i, stage)
    if len(stages) < MAX_STAGES:
        for i in range(len(stages) + 1):
            for block in STAGE_TYPES:
                replacing("add", i, i, _recast(cnn, i - 1, block, stride=1, repeats=1))
    for value in _steps(cnn)["hidden_units"]:
        found["hidden_units"].append(partial(replace, cnn, hidden_units=value))
    return found


def _steps(described: Stage | McuCnn) -> dict[str, tuple[Any, ...]]:
    """For each field, the allowed values just below and just above the present one."""
    found = {}
    for name, allowed in CHOICES[type(described)].items():
        if name != "block":
            at = allowed.index(getattr(described, name))
            found[name] = allowed[max(0, at - 1) : at] + allowed[at + 1 : at + 2]
    return found


def _recast(cnn: McuCnn, i: int, block: str, **given: int) -> Stage:
    """A stage of kind `block` with the values of stage `i`; what a pool lacks comes from the stages before it."""
    before = [stage for stage in cnn.stages[: i + 1] if isinstance(stage, WeightedStage)]
    model = before[-1] if before else next(stage for stage in cnn.stages if isinstance(stage, WeightedStage))
    values: dict[str, Any] = {"expansion": 4, **{name: getattr(model, name) for name in CHOICES[type(model)]}}
    if i >= 0 and isinstance(cnn.stages[i], PoolStage):
        values |= {"stride": 2, "repeats": 1}
    return _stage(block, **(values | given))


def _stage(block: str, /, **values: Any) -> Stage:
    """A stage whose fields have the allowed values nearest to those given; values it has no field for are ignored."""
    kind = STAGE_TYPES[block]
    fields = {name: _nearest(allowed, values[name]) for name, allowed in CHOICES[kind].items() if name != "block"}
    return kind(block=block, **fields)  # type: ignore[arg-type]


def _nearest(allowed: tuple[Any, ...], value: Any) -> Any:
    # Of equals the allowed one: 4.0 == 4, and the architecture's text must say 4.
    return allowed[allowed.index(value)] if value in allowed else min(allowed, key=lambda choice: abs(choice - value))
