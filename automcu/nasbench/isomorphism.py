"""Which cells of NAS-Bench-201 are the same network.

A node's value is a sum of terms: the cell's input, a convolution of an earlier node's value, or its average.
`skip_connect` passes terms on, `none` drops them, and an operation on nothing is nothing. A convolution has weights of
its own: one whose output is used twice is another network than two of them. Cells are the same when their outputs have
the same terms, whatever the convolutions are called.

15,625 cells are 5,260 different networks. The benchmark's authors count 6,466: their text keeps a mark for each thing
dropped, and the order in which sums were nested; but it does not tell one convolution used twice from two.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, permutations, product

from automcu.spaces.nasbench201 import EDGES, Cell


@dataclass(frozen=True, slots=True)
class Average:
    """Of a value."""

    of: "Value"


Value = tuple[int | Average | None, ...]
"""A sum: numbers are convolutions', None is the cell's input."""


@cache
def canonical(cell: Cell) -> str:
    """A text that is equal exactly for cells that are the same network."""
    output, convolutions = equations(cell)
    # By what each is made of, without regard to which is which: only those that are equal in it can be exchanged.
    made_of: dict[int, str] = {}
    for number, (operation, source) in convolutions.items():
        made_of[number] = f"{operation}({text_of(source, made_of)})"
    alike: dict[str, list[int]] = {}
    for number in sorted(made_of, key=made_of.__getitem__):
        alike.setdefault(made_of[number], []).append(number)
    orders = product(*map(permutations, alike.values()))
    return min(_written(output, convolutions, list(chain.from_iterable(order))) for order in orders)


Convolutions = dict[int, tuple[str, Value]]
"""By number, the operation and the value that it is applied to, which holds smaller numbers only."""


def equations(cell: Cell) -> tuple[Value, Convolutions]:
    """The output of a cell, and the convolutions that it depends on."""
    convolutions: Convolutions = {}
    nodes: list[Value] = [(None,)]
    for node in range(1, 4):
        value: Value = ()
        for (source, target), operation in zip(EDGES, cell, strict=True):
            if target != node or operation == "none" or not nodes[source]:
                continue
            if operation == "skip_connect":
                value += nodes[source]
            elif operation == "avg_pool_3x3":
                value += (Average(nodes[source]),)
            else:
                convolutions[len(convolutions)] = operation, nodes[source]
                value += (len(convolutions) - 1,)
        nodes.append(value)
    used = set(_convolutions_in(nodes[3]))
    for number in sorted(convolutions, reverse=True):
        if number in used:
            used |= set(_convolutions_in(convolutions[number][1]))
    return nodes[3], {number: one for number, one in convolutions.items() if number in used}


def _convolutions_in(value: Value) -> Iterator[int]:
    for term in value:
        if isinstance(term, Average):
            yield from _convolutions_in(term.of)
        elif term is not None:
            yield term


def text_of(value: Value, names: dict[int, str]) -> str:
    """A sum, its convolutions by `names`."""
    terms = (
        f"average({text_of(term.of, names)})" if isinstance(term, Average) else "in" if term is None else names[term]
        for term in value
    )
    return " + ".join(sorted(terms))


def _written(output: Value, convolutions: Convolutions, order: Sequence[int]) -> str:
    """The equations of a cell, its convolutions numbered in this order."""
    names = {number: f"#{place}" for place, number in enumerate(order)}
    lines = [
        f"{names[number]} = {convolutions[number][0]}({text_of(convolutions[number][1], names)})" for number in order
    ]
    return "; ".join([*lines, text_of(output, names)])
