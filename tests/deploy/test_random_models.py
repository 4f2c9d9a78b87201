from collections import Counter

import numpy as np

from automcu.graph.tflite.constants import read_model
from automcu.graph.tflite.writer import write_model
from tests.deploy.oracle import Oracle
from tests.deploy.random_models import KINDS, random_inputs, random_model
from tests.graph.tflite.model_equality import require_equal

SEEDS = range(200)


def test_random_models_are_read_as_written_and_run_and_say_something() -> None:
    kinds: Counter[str] = Counter()
    distinct = []
    with Oracle() as oracle:
        for seed in SEEDS:
            model = random_model(seed)
            graph, data = model.graph, write_model(model)
            require_equal(read_model(data), model)
            kinds.update(operator.kind for operator in graph.operators)
            outputs = oracle.outputs(graph, data, random_inputs(model, seed, 4))
            begin = 0
            for index in graph.outputs:
                tensor = graph.tensors[index]
                part = outputs[:, begin : begin + tensor.bytes].ravel().view(tensor.dtype)
                begin += tensor.bytes
                distinct.append((len(set(part.tolist())), len(part)))
            assert begin == outputs.shape[1]
    assert kinds.keys() == KINDS
    assert np.mean([found == 1 for found, _ in distinct]) < 0.1
    assert np.median([found / min(count, 256) for found, count in distinct]) > 0.25


def test_what_the_random_models_vary() -> None:
    models = [random_model(seed) for seed in SEEDS]
    operators = [(model, operator) for model in models for operator in model.graph.operators]
    weighted = [
        (operator, constants)
        for model in models
        for operator, constants in zip(model.graph.operators, model.constants, strict=True)
        if constants is not None
    ]
    found = {
        "several inputs": any(len(model.graph.inputs) > 1 for model in models),
        "several outputs": any(len(model.graph.outputs) > 1 for model in models),
        "uint8 and float ends": {tensor.dtype for model in models for tensor in model.graph.tensors}
        == {"int8", "uint8", "float32"},
        "doubled": any(op.kind == "ADD" and len(op.inputs) == 2 and len(set(op.inputs)) == 1 for _, op in operators),
        "joined elsewhere": any(
            attributes.axis != len(model.graph.tensors[op.output].shape) - 1
            for model in models
            for op, attributes in zip(model.graph.operators, model.attributes, strict=True)
            if op.kind == "CONCATENATION"
        ),
        "multiplied depth": any(
            op.kind == "DEPTHWISE_CONV_2D" and op.weights[3] > model.graph.tensors[op.inputs[0]].shape[3]
            for model, op in operators
        ),
        "constant first": any(constants.first for _, constants in weighted),
        "no bias": any(op.window and constants.bias is None for op, constants in weighted),
        "per tensor": any(len(constants.scales) == 1 < op.bias for op, constants in weighted if op.bias),
        "strides": {op.window.stride for _, op in operators if op.window} >= {(1, 3), (2, 1), (3, 2)},
        "zero points": {given.zero_point for model in models for given in model.quantization if given}
        >= {-128, 0, 127},
    }
    assert found == dict.fromkeys(found, True)


def test_a_seed_is_a_model_and_kinds_can_be_chosen() -> None:
    require_equal(random_model(5), random_model(5))
    few = frozenset({"CONV_2D", "ADD", "MEAN"})
    kinds = {operator.kind for seed in range(30) for operator in random_model(seed, few).graph.operators}
    assert kinds == few
