"""What a graph's operators cost in multiply-accumulates and in constant bytes."""

from dataclasses import dataclass
from math import prod

from automcu.graph.int8 import BIAS_BYTES, Int8Graph


@dataclass(frozen=True, slots=True)
class Costs:
    """Costs of the operators of one graph, in their order.

    `macs` counts the multiply-accumulates of convolutions and fully connected operators, padding counted as work, as
    is usual; other operators have none. `weights_bytes` are an operator's constants as they lie in Flash: the int8
    weights, or the constant operand, with the int32 biases; what several operators share counts for each of them.
    `biases_bytes` is the share of these biases.
    """

    macs: tuple[int, ...]
    weights_bytes: tuple[int, ...]
    biases_bytes: tuple[int, ...]

    @property
    def total_macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(self.macs)

    @property
    def total_weights_bytes(self) -> int:
        """Bytes of all weights and biases."""
        return sum(self.weights_bytes)

    @property
    def total_biases_bytes(self) -> int:
        """Bytes of all biases."""
        return sum(self.biases_bytes)


def costs(graph: Int8Graph) -> Costs:
    """MACs, weights and biases of every operator of `graph`.

    A convolution does height x width x input channels of its kernel for each output value, a depthwise one height x
    width, a fully connected operator one for each input.
    """
    macs, weights, biases = [], [], []
    for operator in graph.operators:
        work = constants = bias = 0
        if operator.weights:
            bias = BIAS_BYTES * operator.bias
            constants = prod(operator.weights) + bias
            match operator.kind:
                case "CONV_2D" | "FULLY_CONNECTED":
                    work = prod(graph.tensors[operator.output].shape) * prod(operator.weights[1:])
                case "DEPTHWISE_CONV_2D":
                    work = prod(graph.tensors[operator.output].shape) * operator.weights[1] * operator.weights[2]
        macs.append(work)
        weights.append(constants)
        biases.append(bias)
    return Costs(tuple(macs), tuple(weights), tuple(biases))
