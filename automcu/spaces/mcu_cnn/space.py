"""`mcu_cnn` as a `Space`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from random import Random
from typing import ClassVar

from automcu.architecture import Architecture, Shape
from automcu.errors import InvalidArchitecture
from automcu.graph.network import Network
from automcu.spaces.mcu_cnn import moves, words
from automcu.spaces.mcu_cnn.blocks import network_of
from automcu.spaces.mcu_cnn.description import CHOICES, MAX_STAGES, NAME, STAGE_TYPES, McuCnn, PoolStage, read, schema
from automcu.spaces.mcu_cnn.families import families
from automcu.spaces.mcu_cnn.features import features

MAX_PARAMETERS = 4_000_000
MAX_MACS = 500_000_000
"""Far beyond any board; they keep a hostile proposal from costing anything later on."""

_BLOCKS = {
    "conv": "convolution",
    "separable": "depthwise convolution, then 1x1 convolution (MobileNet)",
    "inverted": "1x1 to expansion * input channels, depthwise, linear 1x1; residual when stride 1 and channels stay "
    "(MobileNetV2)",
    "residual": "two convolutions, added to the input of the block (ResNet)",
    "bottleneck": "residual: 1x1 to channels / expansion, convolution, 1x1 to channels (ResNet)",
    "ghost": "1x1 convolution to channels / 2, depthwise convolution of it, both side by side (GhostNet)",
    "max_pool": "max pooling, halves height and width",
    "avg_pool": "average pooling, halves height and width",
}
_FIELDS = {
    "channels": "output channels of the stage",
    "kernel": "side of the filter or pooling window",
    "stride": "2 halves height and width in the first repeat",
    "expansion": "see the block",
    "repeats": "how often the block is applied in a row",
    "activation": "after each convolution that is not linear",
}


@lru_cache(maxsize=4096)
def decode(architecture: Architecture) -> McuCnn:
    """The typed form of an architecture of this space. Raises `InvalidArchitecture` when it is none, or its text is
    not canonical."""
    if architecture.space != NAME:
        raise InvalidArchitecture(f"architecture of space {architecture.space!r:.40}; give one of {NAME}")
    try:
        cnn = read(json.loads(architecture.text))
    except (ValueError, RecursionError):
        raise InvalidArchitecture("the architecture's text is no JSON; make architectures with parse") from None
    if cnn.architecture != architecture:
        raise InvalidArchitecture("the architecture's text is not canonical; make architectures with parse")
    return cnn


@dataclass(frozen=True, slots=True)
class McuCnnSpace:
    """The networks that `McuCnn` describes, for one input shape and number of classes; see `Space`.

    Inside are those that have a stage with weights, never halve a map that is only 1 high or wide, and keep
    `MAX_PARAMETERS` and `MAX_MACS`.
    """

    name: ClassVar[str] = NAME
    input_shape: Shape
    class_count: int

    @property
    def json_schema(self) -> Mapping[str, object]:
        """See `Space`."""
        return schema()

    def describe(self) -> str:
        """See `Space`."""
        height, width, channels = self.input_shape
        units = ", ".join(map(str, CHOICES[McuCnn]["hidden_units"]))
        lines = [
            f"An architecture is a JSON object with stages and hidden_units. The {height}x{width}x{channels} input "
            f"runs through 1 to {MAX_STAGES} stages in order, then global average pooling, a dense relu layer of "
            f"hidden_units (one of {units}; 0 leaves it out), and a dense layer to {self.class_count} classes.",
            "Blocks, each with exactly the fields in brackets:",
        ]
        for block, meaning in _BLOCKS.items():
            names = ", ".join(name for name in CHOICES[STAGE_TYPES[block]] if name != "block")
            lines.append(f"- {block} ({names}): {meaning}.")
        lines.append("Fields and their allowed values:")
        for name, meaning in _FIELDS.items():
            blocks_by_values: dict[tuple[object, ...], list[str]] = {}
            for block, kind in STAGE_TYPES.items():
                if name in CHOICES[kind]:
                    blocks_by_values.setdefault(CHOICES[kind][name], []).append(block)
            allowed = [
                ", ".join(map(str, values)) + (f" for {', '.join(blocks)}" if len(blocks_by_values) > 1 else "")
                for values, blocks in blocks_by_values.items()
            ]
            lines.append(f"- {name}: {meaning}; {'; '.join(allowed)}.")
        lines.append(
            "Rules: at least one stage is not a pool; halving rounds up, and a map 1 high or wide cannot be halved; at "
            f"most {MAX_PARAMETERS:,} parameters and {MAX_MACS:,} multiply-accumulates. Layer names in findings, such "
            "as stage2_block0_expand, count stages and repeats from 0."
        )
        return "\n".join(lines)

    def summary(self, architecture: Architecture) -> str:
        """See `Space`."""
        return words.summary(decode(architecture))

    def describe_edit(self, before: Architecture, after: Architecture) -> str:
        """See `Space`."""
        return words.edit_words(decode(before), decode(after))

    def build(self, architecture: Architecture) -> Network:
        """See `Space`."""
        return self._network(decode(architecture))

    def parse(self, description: object) -> Architecture:
        """See `Space`."""
        cnn = read(description)
        self._network(cnn)
        return cnn.architecture

    def random(self, rng: Random) -> Architecture:
        """See `Space`."""
        for _ in range(100):
            cnn = moves.draw(self.input_shape, rng)
            if self._holds(cnn):
                return cnn.architecture
        return self.smallest()  # an input so large that hardly any network keeps MAX_MACS

    def neighbours(self, architecture: Architecture, rng: Random) -> Iterator[Architecture]:
        """See `Space`."""
        cnn = decode(architecture)
        seen = {cnn}
        for edited in moves.edits(cnn, rng):
            if edited not in seen and self._holds(edited):
                yield edited.architecture
            seen.add(edited)

    def smallest(self) -> Architecture:
        """See `Space`."""
        return moves.smallest(self.input_shape).architecture

    def features(self, architecture: Architecture) -> Sequence[float]:
        """See `Space`."""
        return features(decode(architecture), self.build(architecture))

    def families(self) -> Mapping[str, Sequence[Sequence[Architecture]]]:
        """See `Space`."""
        return families(self.input_shape)

    def _holds(self, cnn: McuCnn) -> bool:
        try:
            self._network(cnn)
        except InvalidArchitecture:
            return False
        return True

    def _network(self, cnn: McuCnn) -> Network:
        return _network(cnn, self.input_shape, self.class_count)


@lru_cache(maxsize=4096)  # an edit is built when it is made, and again when its costs or features are asked for
def _network(cnn: McuCnn, input_shape: Shape, class_count: int) -> Network:
    """The network of `cnn`. Raises `InvalidArchitecture` when it breaks a rule of the space."""
    if all(isinstance(stage, PoolStage) for stage in cnn.stages):
        raise InvalidArchitecture("stages only pool; add a stage with weights, for example a conv")
    network = network_of(cnn, input_shape, class_count)
    parameters = macs = 0
    for name, shape in network.parameter_shapes.items():
        layer, part = name.rsplit(".", 1)
        parameters += prod(shape)
        if part == "kernel":
            height, width, _ = network.shapes[layer]
            macs += prod(shape) * height * width
    if parameters > MAX_PARAMETERS:
        raise InvalidArchitecture(
            f"the network has {parameters:,} parameters, over {MAX_PARAMETERS:,}; use fewer channels or repeats"
        )
    if macs > MAX_MACS:
        raise InvalidArchitecture(
            f"the network takes {macs:,} multiply-accumulates, over {MAX_MACS:,}; use fewer channels, halve earlier"
        )
    return network
