"""The space `nasbench201`: the contract of spaces, the benchmark's cells one by one, and hidden names."""

import json
import random
from collections import Counter
from itertools import product

import pyarrow.parquet as pq
import pytest

from automcu.errors import InvalidArchitecture
from automcu.graph.network import Add, Conv, Pool
from automcu.spaces.nasbench201 import EDGES, OPERATIONS, NasBench201Space, cell_of, computes
from automcu.training.weights import parameter_count
from tests.contracts.space import SpaceContract
from tests.graph.shared_models import shared

SPACE = NasBench201Space((32, 32, 3), 10)
HIDDEN = NasBench201Space((32, 32, 3), 10, ("op_c", "op_a", "op_e", "op_b", "op_d"))


class TestNasBench201Space(SpaceContract):
    spread = 8  # from a cell without weights to one with a convolution on each edge it is a factor of 16

    def make(self, input_shape, class_count):
        return NasBench201Space(input_shape, class_count)


def test_the_space_holds_each_cell_of_the_benchmark_that_computes_something_once():
    cells = [cell for cell in product(OPERATIONS, repeat=len(EDGES)) if computes(cell)]
    assert len(cells) == 15_625 - 341  # 341 rebuild to a constant: experiments/filter_audit
    assert len({SPACE.architecture(cell) for cell in cells}) == len(cells)


def test_networks_have_the_parameters_of_the_benchmark():
    table = pq.read_table(shared("nasbench201.parquet"), columns=["arch_str", "cifar10_params_m"]).slice(0, 400)
    judged = 0
    for row in table.to_pylist():
        cell = cell_of(row["arch_str"])
        if "none" not in cell:  # else convolutions may be dead, which the benchmark counts all the same
            # The benchmark normalises before the classifier (2 * 64), and not after a block's skip (2 * (32 + 64)).
            known = round(row["cifar10_params_m"] * 1e6) - 128 + 192
            assert parameter_count(SPACE.build(SPACE.architecture(cell))) == known
            judged += 1
    assert judged > 80


def test_a_cell_becomes_the_layers_it_describes():
    cell = cell_of("|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|avg_pool_3x3~1|nor_conv_3x3~2|")
    layers = [layer for layer in SPACE.build(SPACE.architecture(cell)).layers if layer.name.startswith("cell1_4_")]
    assert layers == [
        Conv("cell1_4_0_1", "cell1_3_2_3_sum", 32, 3, 1, "relu"),
        Conv("cell1_4_1_2", "cell1_4_0_1", 32, 1, 1, "relu"),
        Pool("cell1_4_1_3", "cell1_4_0_1", "average", 3, 1),
        Add("cell1_4_1_3_sum", "cell1_3_2_3_sum", "cell1_4_1_3", "none"),
        Conv("cell1_4_2_3", "cell1_4_1_2", 32, 3, 1, "relu"),
        Add("cell1_4_2_3_sum", "cell1_4_1_3_sum", "cell1_4_2_3", "none"),
    ]


@pytest.mark.parametrize(
    "dead",
    [
        "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",
        "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|nor_conv_3x3~2|",
    ],
)
def test_a_constant_cell_is_outside(dead):
    description = json.loads(SPACE.architecture(cell_of(dead)).text)
    with pytest.raises(InvalidArchitecture, match="connect them"):
        SPACE.parse(description)


def test_hidden_names_change_the_words_and_nothing_else():
    rng, counts = random.Random(3), Counter()
    for _ in range(50):
        architecture = HIDDEN.random(rng)
        twin = SPACE.architecture(HIDDEN.cell(architecture))
        assert HIDDEN.build(architecture) == SPACE.build(twin)
        assert HIDDEN.parse(json.loads(architecture.text)) == architecture
        edited = next(HIDDEN.neighbours(architecture, rng))
        said = [HIDDEN.summary(architecture), HIDDEN.describe_edit(architecture, edited), architecture.text]
        assert not any(operation in text for text in (*said, HIDDEN.describe()) for operation in OPERATIONS)
        counts.update(HIDDEN.cell(architecture))
        with pytest.raises(InvalidArchitecture):
            SPACE.parse(json.loads(architecture.text))
    assert set(counts) == set(OPERATIONS)
