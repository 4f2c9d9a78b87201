"""Which layer makes the RAM peak by ST's own placement, in terms of AutoMCU's graph."""

from collections.abc import Iterator, Sequence
from itertools import takewhile

from automcu.feasibility.st.reports import StBuffer, StLayer, StReport
from automcu.graph.int8 import Int8Graph


def binding_by_st(graph: Int8Graph, report: StReport) -> str | None:
    """The layer of `graph` that makes the RAM peak in ST's own placement, with the bytes of its buffers.

    That is the layer where the buffers alive (its inputs, outputs and scratch, and what later layers still read) reach
    as far as the tool's figure for activations; of several, the one with most bytes. As buffers may overlay each other,
    the bytes may add up to more than that figure. None when the report does not tell the placement, when it reaches
    elsewhere, or when the layer does not match the graph: the operator at its index must have as large an output.

    For example `stage2_conv1 (in 35,344 B + out 15,488 B + scratch 9,024 B, by ST Edge AI)`.
    """
    peaks = []
    for position, alive in enumerate(_alive(report.layers)):
        ends = [0 if buffer.offset_bytes is None else buffer.offset_bytes + buffer.bytes for buffer in alive]
        if max(ends, default=0) == report.activations_bytes:
            peaks.append((sum(buffer.bytes for buffer in alive), position))
    if not peaks:
        return None
    total, position = max(peaks, key=lambda peak: peak[0])
    layer = report.layers[position]
    operator = _operator_of(graph, report.layers, position)
    if operator is None:
        return None
    parts = [f"in {buffer.bytes:,} B" for buffer in layer.inputs]
    parts += [f"out {buffer.bytes:,} B" for buffer in layer.outputs]
    if layer.scratch:
        parts.append(f"scratch {sum(buffer.bytes for buffer in layer.scratch):,} B")
    own = {buffer.name: buffer.bytes for buffer in (*layer.inputs, *layer.outputs, *layer.scratch)}
    if total > sum(own.values()):
        parts.append(f"{total - sum(own.values()):,} B kept for later layers")
    return f"{graph.operators[operator].name} ({' + '.join(parts)}, by ST Edge AI)"


def _alive(layers: Sequence[StLayer]) -> Iterator[list[StBuffer]]:
    """The buffers alive at each layer: a tensor lives from the layer that makes it, or the start, to its last reader;
    an output of the network to the end."""
    last = {buffer.name: position for position, layer in enumerate(layers) for buffer in layer.inputs}
    made = {buffer.name for layer in layers for buffer in layer.outputs}
    alive = {buffer.name: buffer for layer in layers for buffer in layer.inputs if buffer.name not in made}
    for position, layer in enumerate(layers):
        alive.update((buffer.name, buffer) for buffer in layer.outputs)
        yield [*alive.values(), *layer.scratch]
        for buffer in (*layer.inputs, *layer.outputs):
            if last.get(buffer.name, position) <= position and buffer.kind != "output":
                alive.pop(buffer.name, None)


def _operator_of(graph: Int8Graph, layers: Sequence[StLayer], position: int) -> int | None:
    """The operator that a layer of ST's stands for: of several that it fuses, the one with weights, if any."""
    node = layers[position].node
    nodes = {layer.node for layer in layers}
    if node is None or any(index is not None and index >= len(graph.operators) for index in nodes):
        return None  # the file's numbers are not those of the graph, which leaves out arithmetic on shapes
    parts = takewhile(lambda layer: layer.node == node, layers[position:])  # such as padding before a convolution
    *_, end = parts
    if sum(buffer.bytes for buffer in end.outputs) != graph.tensors[graph.operators[node].output].bytes:
        return None
    makers = {operator.output: position for position, operator in enumerate(graph.operators)}
    index = node
    while not graph.operators[index].weights:
        inputs = graph.operators[index].inputs
        before = makers.get(inputs[0]) if len(inputs) == 1 else None
        if before is None or before in nodes:  # a layer of its own: not fused
            return node
        index = before
    return index
