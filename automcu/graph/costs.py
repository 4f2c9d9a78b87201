"""What a graph's operators cost in multiply-accumulates and in constant bytes."""

from dataclasses import dataclass
from math import prod

from automcu.graph.int8 import BIAS_BYTES, Int8Graph, Operator


@dataclass(frozen=True, slots=True)
class Costs:
    """Costs of the operators of one graph, in their order.

    `macs` counts the multiply-accumulates of convolutions and fully connected operators, padding counted as work, as
    is usual; other operators have none. `weights_bytes` are the int8 weights with their int32 biases: an operator's
    constants as they lie in Flash.
    """

    macs: tuple[int, ...]
    weights_bytes: tuple[int, ...]

    @property
    def total_macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(self.macs)

    @property
    def total_weights_bytes(self) -> int:
        """Bytes of all weights and biases."""
        return sum(self.weights_bytes)


def costs(graph: Int8Graph) -> Costs:
    """MACs, weights and biases of every operator of `graph`."""
    return Costs(
        macs=tuple(_macs(graph, operator) for operator in graph.operators),
        weights_bytes=tuple(prod(op.weights) + BIAS_BYTES * op.bias if op.weights else 0 for op in graph.operators),
    )


def _macs(graph: Int8Graph, operator: Operator) -> int:
    if not operator.weights:
        return 0
    outputs = prod(graph.tensors[operator.output].shape)
    if operator.kind == "DEPTHWISE_CONV_2D":  # one input channel to an output value
        return outputs * operator.weights[1] * operator.weights[2]
    return outputs * prod(operator.weights[1:])
