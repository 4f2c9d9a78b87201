"""Which cells of NAS-Bench-201 are the same network: 15,625 cells are 4,930 different ones.

A node's value is a sum of terms, an operation on an earlier value each; `skip_connect` passes terms on, `none` drops
them, and an operation on nothing is nothing. Cells with the same terms at the output compute the same. The benchmark's
authors count 6,466: their text keeps a mark for each thing dropped, and the order in which sums were nested.
"""

from functools import cache

from automcu.spaces.nasbench201 import EDGES, Cell


@cache
def canonical(cell: Cell) -> str:
    """A text that is equal exactly for cells that are the same network."""
    nodes: list[tuple[str, ...]] = [("in",)]
    for node in range(1, 4):
        terms: list[str] = []
        for (source, target), operation in zip(EDGES, cell, strict=True):
            if target != node or operation == "none" or not nodes[source]:
                continue
            if operation == "skip_connect":
                terms += nodes[source]
            else:
                terms.append(f"{operation}({' + '.join(nodes[source])})")
        nodes.append(tuple(sorted(terms)))
    return " + ".join(nodes[3])
