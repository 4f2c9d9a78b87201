"""The space `nasbench201`: the 15,625 cells of NAS-Bench-201 (Dong and Yang 2020, arXiv:2001.00326), without those that
compute a constant.

A cell is a graph of four nodes with an operation on each of its six edges; a node is the sum of what its edges bring.
The network is the benchmark's, from AutoMCU's own layers: stem, three stages of five cells of 16, 32 and 64 channels, a
residual block between stages, global average pooling and a dense layer. Where the benchmark applies ReLU before a
convolution and batch normalisation after, here both come after, which a converter can fold; weights and maps are the
same.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import product
from random import Random
from typing import ClassVar

from automcu.architecture import Architecture, Shape
from automcu.errors import InvalidArchitecture
from automcu.graph.network import INPUT, Add, Conv, Dense, GlobalAveragePool, Layer, Network, Pool

Cell = tuple[str, ...]
"""The operations of the edges, in the order of `EDGES`, by their names in the benchmark."""

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""From which node to which, in the benchmark's order."""
_MEANINGS = (
    "brings nothing",
    "passes its input on",
    "1x1 convolution, batch normalisation, ReLU",
    "3x3 convolution, batch normalisation, ReLU",
    "3x3 average pooling",
)
"""Of `OPERATIONS`; all of stride 1, all keep the number of channels."""
_KEYS = tuple(f"edge_{source}_{target}" for source, target in EDGES)
_PATHS = ((3,), (0, 4), (1, 5), (0, 2, 5))
"""The ways from node 0 to node 3, as places in `EDGES`."""
_WAYS = tuple(way for length in range(4) for way in product(OPERATIONS[2:], repeat=length))
"""What lies along a way: the operations that compute something, in order."""
_CELL_COUNT = 5**6  # operations, edges
_CELLS = 5
_CHANNELS = (16, 32, 64)


@dataclass(frozen=True, slots=True)
class NasBench201Space:
    """The cells as networks for one input shape and number of classes; see `Space`.

    `names` are what the operations, in the order of `OPERATIONS`, are called in architectures and words: other names
    than the benchmark's keep a language model from recalling what it has read about it. `explained` says whether the
    description tells what they do.
    """

    name: ClassVar[str] = "nasbench201"
    input_shape: Shape
    class_count: int
    names: tuple[str, ...] = OPERATIONS
    explained: bool = True

    @property
    def json_schema(self) -> Mapping[str, object]:
        """See `Space`."""
        return {
            "type": "object",
            "properties": {key: {"type": "string", "enum": sorted(self.names)} for key in _KEYS},
            "required": list(_KEYS),
            "additionalProperties": False,
        }

    def describe(self) -> str:
        """See `Space`."""
        height, width, channels = self.input_shape
        meanings = dict(zip(self.names, _MEANINGS, strict=True))
        told = (f"{name} ({meanings[name]})" if self.explained else name for name in sorted(self.names))
        return (
            f"An architecture is a cell that is used {_CELLS * len(_CHANNELS)} times in a network from a "
            f"{height}x{width}x{channels} input to {self.class_count} classes: a 3x3 convolution, then "
            f"{len(_CHANNELS)} stages of {_CELLS} cells of {', '.join(map(str, _CHANNELS))} channels, with a residual "
            "block that halves the image between stages, then global average pooling and a dense layer. A cell has "
            "nodes 0 (its input) to 3 (its output). Each later node is the sum of one operation on each earlier node: "
            f"edge_1_2 is the operation from node 1 to node 2. It is a JSON object with {', '.join(_KEYS)}, each one "
            f"of {', '.join(told)}. "
            f"Rule: some way from node 0 to node 3 must be free of {self._named('none')}."
        )

    def summary(self, architecture: Architecture) -> str:
        """See `Space`."""
        cell = self.cell(architecture)
        return ", ".join(f"{key} {self._named(operation)}" for key, operation in zip(_KEYS, cell, strict=True))

    def describe_edit(self, before: Architecture, after: Architecture) -> str:
        """See `Space`."""
        pairs = zip(_KEYS, self.cell(before), self.cell(after), strict=True)
        return ", ".join(f"{key}: {self._named(old)} -> {self._named(new)}" for key, old, new in pairs if old != new)

    def build(self, architecture: Architecture) -> Network:
        """See `Space`."""
        return network_of(self.cell(architecture), self.input_shape, self.class_count)

    def parse(self, description: object) -> Architecture:
        """See `Space`."""
        cell = _read(self.names, description)
        network_of(cell, self.input_shape, self.class_count)
        return self.architecture(cell)

    def random(self, rng: Random) -> Architecture:
        """See `Space`."""
        while True:
            cell = tuple(rng.choices(OPERATIONS, k=len(EDGES)))
            if computes(cell):
                return self.architecture(cell)

    def neighbours(self, architecture: Architecture, rng: Random) -> Iterator[Architecture]:
        """See `Space`."""
        cell = self.cell(architecture)
        edits = [
            (*cell[:place], operation, *cell[place + 1 :])
            for place, old in enumerate(cell)
            for operation in OPERATIONS
            if operation != old
        ]
        rng.shuffle(edits)
        return (self.architecture(edited) for edited in edits if computes(edited))

    def smallest(self) -> Architecture:
        """See `Space`."""
        return self.architecture(("none", "none", "none", "skip_connect", "none", "none"))

    def features(self, architecture: Architecture) -> Sequence[float]:
        """See `Space`: how often each sequence of operations leads from input to output, and each operation occurs."""
        return _features(self.cell(architecture))

    def families(self) -> Mapping[str, Sequence[Sequence[Architecture]]]:
        """See `Space`: none, all cells are of one width."""
        return {}

    def architecture(self, cell: Cell) -> Architecture:
        """A cell as a point of this space."""
        return _architecture(self.names, cell)

    def cell(self, architecture: Architecture) -> Cell:
        """The cell of an architecture of this space. Raises `InvalidArchitecture` when it is none."""
        return _decoded(self.names, architecture)

    def _named(self, operation: str) -> str:
        return self.names[OPERATIONS.index(operation)]


# Looked up millions of times in a benchmark, and there are but 15,625.
@lru_cache(maxsize=_CELL_COUNT)
def _architecture(names: tuple[str, ...], cell: Cell) -> Architecture:
    named = (names[OPERATIONS.index(operation)] for operation in cell)
    return Architecture.of(NasBench201Space.name, dict(zip(_KEYS, named, strict=True)))


@lru_cache(maxsize=_CELL_COUNT)
def _decoded(names: tuple[str, ...], architecture: Architecture) -> Cell:
    space = NasBench201Space.name
    if architecture.space != space:
        raise InvalidArchitecture(f"architecture of space {architecture.space!r:.40}; give one of {space}")
    try:
        cell = _read(names, json.loads(architecture.text))
    except (ValueError, RecursionError):
        raise InvalidArchitecture("the architecture's text is no JSON; make architectures with parse") from None
    if _architecture(names, cell) != architecture:
        raise InvalidArchitecture("the architecture's text is not canonical; make architectures with parse")
    return cell


def _read(names: tuple[str, ...], description: object) -> Cell:
    if not isinstance(description, dict) or set(description) != set(_KEYS):
        raise InvalidArchitecture(f"the architecture should be an object with exactly {', '.join(_KEYS)}")
    cell = []
    for key in _KEYS:
        name = description[key]
        if not isinstance(name, str) or name not in names:
            raise InvalidArchitecture(f"{key} should be one of {', '.join(sorted(names))}")
        cell.append(OPERATIONS[names.index(name)])
    return tuple(cell)


@cache
def _features(cell: Cell) -> tuple[float, ...]:
    ways = Counter(
        tuple(cell[edge] for edge in path if cell[edge] != "skip_connect")
        for path in _PATHS
        if all(cell[edge] != "none" for edge in path)
    )
    return (*(ways[way] for way in _WAYS), *(cell.count(operation) / 2 for operation in OPERATIONS))


def cell_of(arch_str: str) -> Cell:
    """The cell that the benchmark writes as `|skip_connect~0|+|none~0|nor_conv_3x3~1|+|...|`. Raises
    `InvalidArchitecture` for any other text."""
    edges = [edge.split("~") for node in arch_str.split("+") for edge in node.strip("|").split("|")]
    cell = tuple(edge[0] for edge in edges)
    if len(cell) != len(EDGES) or not set(cell) <= set(OPERATIONS) or text_of(cell) != arch_str:
        raise InvalidArchitecture(f"{arch_str!r:.120} is no cell of NAS-Bench-201; write one such as {_EXAMPLE}")
    return cell


def text_of(cell: Cell) -> str:
    """A cell as the benchmark writes it."""
    nodes = (
        "".join(f"|{operation}~{source}" for (source, to), operation in zip(EDGES, cell, strict=True) if to == node)
        for node in (1, 2, 3)
    )
    return "|+".join(nodes) + "|"


_EXAMPLE = "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|"


@cache
def computes(cell: Cell) -> bool:
    """Whether a path leads from the input of the cell to its output, so that the network computes no constant."""
    reached = {0}
    for (source, target), operation in zip(EDGES, cell, strict=True):
        if source in reached and operation != "none":
            reached.add(target)
    return 3 in reached


def network_of(cell: Cell, input_shape: Shape, class_count: int) -> Network:
    """The network of a cell. Raises `InvalidArchitecture` where it would compute a constant."""
    if not computes(cell):
        raise InvalidArchitecture("no way leads from node 0 to node 3, so the output is constant; connect them")
    layers: list[Layer] = [Conv("stem", INPUT, _CHANNELS[0], 3, 1, "none")]
    source = "stem"
    for stage, channels in enumerate(_CHANNELS):
        if stage:
            source = _reduction(layers, f"reduce{stage}", channels, source)
        for number in range(_CELLS):
            source = _cell(layers, f"cell{stage}_{number}", channels, cell, source)
    layers += [GlobalAveragePool("pool", source), Dense("logits", "pool", class_count, "none")]
    return Network(input_shape, tuple(layers))


def _reduction(layers: list[Layer], name: str, channels: int, source: str) -> str:
    """Append a residual block that halves the map; returns the name of its output."""
    layers += [
        Conv(f"{name}_a", source, channels, 3, 2, "relu"),
        Conv(f"{name}_b", f"{name}_a", channels, 3, 1, "none"),
        Pool(f"{name}_pool", source, "average", 2, 2),
        Conv(f"{name}_skip", f"{name}_pool", channels, 1, 1, "none"),
        Add(f"{name}_sum", f"{name}_b", f"{name}_skip", "none"),
    ]
    return f"{name}_sum"


def _cell(layers: list[Layer], name: str, channels: int, cell: Cell, source: str) -> str:
    """Append one cell that computes something; returns the name of its output."""
    outputs = {0: source}
    for (origin, target), operation in zip(EDGES, cell, strict=True):
        if origin not in outputs or operation == "none":
            continue
        made = f"{name}_{origin}_{target}"
        if operation == "skip_connect":
            made = outputs[origin]
        elif operation == "avg_pool_3x3":
            layers.append(Pool(made, outputs[origin], "average", 3, 1))
        else:
            layers.append(Conv(made, outputs[origin], channels, int(operation[-1]), 1, "relu"))
        if target in outputs:
            layers.append(Add(f"{name}_{origin}_{target}_sum", outputs[target], made, "none"))
            made = layers[-1].name
        outputs[target] = made
    return outputs[3]
