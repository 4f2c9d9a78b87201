import pytest
import tflite

from automcu.graph.costs import costs
from automcu.graph.int8 import Int8Graph, Operator, Tensor
from automcu.graph.lowering import lower
from automcu.graph.network import INPUT, Add, Conv, Dense, DepthwiseConv, GlobalAveragePool, Network
from automcu.graph.tflite.reader import UnsupportedModel, read_tflite
from tests.graph.shared_models import DATA, shared


def test_costs_by_hand() -> None:
    network = Network(
        (8, 8, 3),
        (
            Conv("stem", INPUT, 4, 3, 2, "relu"),
            DepthwiseConv("dw", "stem", 3, 1, "relu"),
            Add("sum", "dw", "stem", "none"),
            GlobalAveragePool("pool", "sum"),
            Dense("logits", "pool", 10, "none"),
        ),
    )
    found = costs(lower(network))
    assert found.macs == (16 * 4 * 27, 16 * 4 * 9, 0, 0, 40)
    assert found.weights_bytes == (4 * 27 + 16, 4 * 9 + 16, 0, 0, 40 + 40)
    assert found.biases_bytes == (16, 16, 0, 0, 40)
    assert found.total_biases_bytes == 72
    assert found.total_macs == sum(found.macs)
    assert found.total_weights_bytes == sum(found.weights_bytes)


def test_a_constant_operand_is_stored_and_does_no_multiply_accumulates() -> None:
    tensors = (Tensor("in", (1, 4, 4, 8), "int8"), Tensor("out", (1, 4, 4, 8), "int8"))
    found = costs(Int8Graph(tensors, (Operator("scale", "MUL", (0,), 1, weights=(8,)),), (0,), (1,)))
    assert (found.macs, found.weights_bytes, found.biases_bytes) == ((0,), (8,), (0,))


WITH_WEIGHTS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


@pytest.mark.parametrize("path", sorted(str(path.relative_to(DATA)) for path in DATA.rglob("*.tflite")))
def test_weights_and_biases_are_the_constants_of_the_file(path: str) -> None:
    data = shared(path).read_bytes()
    try:
        graph = read_tflite(data)
    except UnsupportedModel as error:
        pytest.skip(str(error))
    found = costs(graph)
    counted = [index for index, operator in enumerate(graph.operators) if operator.kind in WITH_WEIGHTS]
    assert (
        sum(found.weights_bytes[index] - found.biases_bytes[index] for index in counted),
        sum(found.biases_bytes),
    ) == constant_bytes(data)


def constant_bytes(data: bytes) -> tuple[int, int]:
    """Bytes of all weights and of all biases of a file, each constant tensor counted once."""
    model = tflite.Model.GetRootAs(data, 0)
    graph = model.Subgraphs(0)
    constants: list[set[int]] = [set(), set()]
    for position in range(graph.OperatorsLength()):
        operator = graph.Operators(position)
        code = model.OperatorCodes(operator.OpcodeIndex())
        if max(code.BuiltinCode(), code.DeprecatedBuiltinCode()) in [
            getattr(tflite.BuiltinOperator, kind) for kind in WITH_WEIGHTS
        ]:
            for tensors, tensor in zip(constants, operator.InputsAsNumpy()[1:], strict=False):
                tensors.update({int(tensor)} - {-1})
    weights, biases = (
        sum(model.Buffers(graph.Tensors(index).Buffer()).DataLength() for index in tensors) for tensors in constants
    )
    return weights, biases
