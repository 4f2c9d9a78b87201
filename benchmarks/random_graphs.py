"""Random architectures of the search spaces, as int8 graphs: what the benchmarks of feasibility judge."""

from collections.abc import Iterator
from random import Random

from automcu.graph.int8 import Int8Graph
from automcu.graph.lowering import lower
from automcu.spaces import make_space

TASKS = (((32, 32, 3), 10), ((28, 28, 1), 10), ((49, 10, 1), 12), ((96, 96, 3), 2), ((8, 8, 1), 10))
"""Input shapes and numbers of classes: small pictures, digits, spectrograms of words, larger pictures, tiny ones."""


def random_graphs(space_name: str, count: int, seed: int) -> Iterator[Int8Graph]:
    """The int8 graphs of `count` random architectures, all different, with the tasks in turn."""
    rng = Random(seed)
    spaces = [make_space(space_name, shape, classes) for shape, classes in TASKS]
    seen: set[str] = set()
    while len(seen) < count:
        space = spaces[len(seen) % len(spaces)]
        graph = lower(space.build(space.random(rng)))
        if graph.fingerprint not in seen:
            seen.add(graph.fingerprint)
            yield graph
