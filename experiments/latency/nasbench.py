"""NAS-Bench-201's networks for CIFAR-10 as int8 graphs, operator for operator as they were run on the nRF5340.

Unlike `experiments.filter_audit.nasbench`, which rebuilds them from AutoMCU's own layers, ReLU comes before each
convolution here, as in the benchmark: an operator of its own where the tensor has another reader, otherwise part of
what makes the tensor. Batch normalisation is folded into its convolution.
"""

from collections.abc import Callable
from dataclasses import replace
from math import prod

from automcu.graph.int8 import Int8Graph, Operator, Tensor, Window

CELLS = 5
CHANNELS = (16, 32, 64)
CLASSES = 10


def graph_of(description: str) -> Int8Graph | None:
    """The network of a cell such as `|skip_connect~0|+|none~0|nor_conv_3x3~1|+|...|`; None where no path leads from
    the cell's input to its output, so that the network computes a constant."""
    nodes = [[edge.split("~") for edge in node.strip("|").split("|")] for node in description.split("+")]
    builder = _Builder()
    source = builder.conv(0, CHANNELS[0], 3)
    for stage, channels in enumerate(CHANNELS):
        if stage:
            inner = builder.conv(builder.relu(source), channels, 3, stride=2)
            inner = builder.conv(builder.relu(inner), channels, 3)
            skip = builder.conv(builder.pool(source, 2, 2), channels, 1)
            source = builder.add(inner, skip)
        for _ in range(CELLS):
            output = _cell(builder, nodes, source, channels)
            if output is None:
                return None
            source = output
    return builder.finished(source)


def _cell(builder: "_Builder", nodes: list[list[list[str]]], source: int, channels: int) -> int | None:
    """Append what a cell's output depends on; returns its output, None where that is zero."""
    make: dict[str, Callable[[int], int]] = {
        "skip_connect": lambda read: read,
        "avg_pool_3x3": lambda read: builder.pool(read, 3, 1),
        "nor_conv_1x1": lambda read: builder.conv(builder.relu(read), channels, 1),
        "nor_conv_3x3": lambda read: builder.conv(builder.relu(read), channels, 3),
    }

    def value(node: int) -> int | None:
        if node not in values:
            total: int | None = None
            for operation, origin in nodes[node - 1]:
                read = None if operation == "none" else value(int(origin))
                if read is not None:
                    made = make[operation](read)
                    total = made if total is None else builder.add(total, made)
            values[node] = total
        return values[node]

    values: dict[int, int | None] = {0: source}
    return value(len(nodes))


class _Builder:
    """Appends operators; as a converter does, shares equal ones, and fuses a ReLU into the operator that makes its
    input where nothing else reads that."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = [(1, 32, 32, 3)]
        self.operators: list[Operator] = []
        self._shared: dict[tuple[str, int], int] = {}

    def _append(self, kind: str, inputs: tuple[int, ...], shape: tuple[int, ...], **rest: object) -> int:
        output = len(self.shapes)
        self.shapes.append(shape)
        made = Operator(f"{kind.lower()}_{output}", kind, inputs, output)
        self.operators.append(replace(made, **rest))  # type: ignore[arg-type]
        return output

    def conv(self, source: int, channels: int, kernel: int, stride: int = 1) -> int:
        _, height, width, taken = self.shapes[source]
        return self._append(
            "CONV_2D",
            (source,),
            (1, -(-height // stride), -(-width // stride), channels),
            weights=(channels, kernel, kernel, taken),
            bias=channels,
            window=Window((kernel, kernel), (stride, stride), "SAME"),
        )

    def pool(self, source: int, kernel: int, stride: int) -> int:
        _, height, width, channels = self.shapes[source]
        shape = (1, -(-height // stride), -(-width // stride), channels)
        window = Window((kernel, kernel), (stride, stride), "SAME")
        key = (f"pool{kernel}", source)
        if key not in self._shared:
            self._shared[key] = self._append("AVERAGE_POOL_2D", (source,), shape, window=window)
        return self._shared[key]

    def add(self, first: int, second: int) -> int:
        return self._append("ADD", (first, second), self.shapes[first])

    def relu(self, source: int) -> int:
        key = ("relu", source)
        if key not in self._shared:
            self._shared[key] = self._append("RELU", (source,), self.shapes[source])
        return self._shared[key]

    def finished(self, source: int) -> Int8Graph:
        """Append the last batch normalisation, ReLU, global pooling and the classifier; fuse what can be fused."""
        channels = CHANNELS[-1]
        if self.operators[-1].kind != "CONV_2D":
            source = self._append("MUL", (source,), self.shapes[source], weights=(channels,))
        source = self._append("ADD", (source,), self.shapes[source], weights=(channels,), activation="RELU")
        source = self._append("MEAN", (source,), (1, channels))
        source = self._append("FULLY_CONNECTED", (source,), (1, CLASSES), weights=(CLASSES, channels), bias=CLASSES)
        source = self._append("SOFTMAX", (source,), (1, CLASSES))
        return self._fused(source)

    def _fused(self, output: int) -> Int8Graph:
        readers = [index for operator in self.operators for index in operator.inputs]
        fusing = {"CONV_2D", "ADD", "AVERAGE_POOL_2D"}
        maker = {operator.output: operator for operator in self.operators}
        operators: dict[int, Operator] = {}
        for operator in self.operators:
            before = operator.inputs[0]
            if operator.kind == "RELU" and readers.count(before) == 1 and maker[before].kind in fusing:
                operators.pop(before)
                operator = replace(maker[before], output=operator.output, activation="RELU")
            operators[operator.output] = operator
        used = sorted({0} | set(operators))
        place = {old: new for new, old in enumerate(used)}
        return Int8Graph(
            tuple(Tensor(f"t{old}", self.shapes[old], "int8") for old in used),
            tuple(
                replace(op, inputs=tuple(place[i] for i in op.inputs), output=place[op.output])
                for op in operators.values()
            ),
            (0,),
            (place[output],),
        )


def parameters(graph: Int8Graph) -> int:
    """Trained parameters as the benchmark counts them: a batch normalisation has two a channel where the graph has a
    bias, the convolution on a residual block's shortcut (the only 1x1 ones that change the width) has none."""
    total = 2 * CHANNELS[-1]
    for operator in graph.operators:
        if operator.kind == "FULLY_CONNECTED":
            total += prod(operator.weights) + operator.bias
        elif operator.kind == "CONV_2D":
            shortcut = operator.weights[1] == 1 and operator.weights[0] != operator.weights[3]
            total += prod(operator.weights) + (0 if shortcut else 2 * operator.bias)
    return total
