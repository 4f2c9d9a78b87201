"""Puts the operators of a freshly converted .tflite file into an order of our own.

The TensorFlow converter writes independent branches in an order that hangs on the names of its variables, and with the
order changes the memory that a network needs. Only 4-byte offsets and tensor numbers are exchanged, in place: the file
keeps its length, its constants and their alignment.
"""

import heapq
import math
import struct
from collections.abc import Callable

import tflite


def in_order(data: bytes, rank: Callable[[str], float]) -> bytes:
    """The converter's file `data`, with operators by ascending `rank` of their output tensor's name as far as the flow
    of data allows, and activations numbered in the order in which they are made. The model's output comes last.

    The file is trusted: one graph with one input and one output, which the converter has numbered last, and operators
    with one output each.
    """
    buffer = bytearray(data)
    graph = tflite.Model.GetRootAs(buffer, 0).Subgraphs(0)
    operators = [graph.Operators(i) for i in range(graph.OperatorsLength())]
    outputs = [operator.Outputs(0) for operator in operators]
    made_by = {tensor: position for position, tensor in enumerate(outputs)}
    last = graph.Outputs(0)
    ranks = [
        (math.inf if tensor == last else rank(graph.Tensors(tensor).Name().decode()), position)
        for position, tensor in enumerate(outputs)
    ]
    waits = [{made_by[t] for t in operator.InputsAsNumpy().tolist() if t in made_by} for operator in operators]
    ready = [ranks[position] for position, wait in enumerate(waits) if not wait]
    heapq.heapify(ready)
    order: list[int] = []
    while ready:
        done = heapq.heappop(ready)[1]
        order.append(done)
        for position, wait in enumerate(waits):
            if done in wait:
                wait.remove(done)
                if not wait:
                    heapq.heappush(ready, ranks[position])
    renumbered = dict(zip((outputs[position] for position in order), sorted(outputs), strict=True))
    for operator in operators:
        for numbers in (operator.InputsAsNumpy(), operator.OutputsAsNumpy()):
            numbers[:] = [renumbered.get(number, number) for number in numbers.tolist()]
    _rearrange(buffer, graph._tab.Vector(graph._tab.Offset(_OPERATORS)), dict(enumerate(order)))
    moved = {new: old for old, new in renumbered.items()}
    _rearrange(buffer, graph._tab.Vector(graph._tab.Offset(_TENSORS)), moved)
    return bytes(buffer)


_TENSORS, _OPERATORS = 4, 10
"""Places of two vectors in the vtable of the schema's SubGraph."""


def _rearrange(buffer: bytearray, vector: int, sources: dict[int, int]) -> None:
    """Let entry `i` of a vector of tables refer to the table of entry `sources[i]`; offsets count from their place."""
    tables = {i: vector + 4 * i + struct.unpack_from("<I", buffer, vector + 4 * i)[0] for i in sources.values()}
    for i, source in sources.items():
        struct.pack_into("<I", buffer, vector + 4 * i, tables[source] - (vector + 4 * i))
