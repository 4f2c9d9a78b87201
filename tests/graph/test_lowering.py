import pytest

from automcu.errors import InvalidArchitecture
from automcu.graph.int8 import Window
from automcu.graph.lowering import lower
from automcu.graph.network import (
    INPUT,
    Add,
    Concat,
    Conv,
    Dense,
    DepthwiseConv,
    GlobalAveragePool,
    Layer,
    Network,
    Pool,
)


def kinds(*layers: Layer, shape: tuple[int, int, int] = (8, 8, 3)) -> list[str]:
    return [operator.kind for operator in lower(Network(shape, layers)).operators]


STEM = Conv("stem", INPUT, 4, 3, 1, "relu")
HEAD = (GlobalAveragePool("pool", "last"), Dense("logits", "pool", 5, "none"))


def test_a_separable_network() -> None:
    graph = lower(
        Network(
            (9, 7, 3), (STEM, DepthwiseConv("dw", "stem", 3, 2, "relu6"), Conv("last", "dw", 6, 1, 1, "none"), *HEAD)
        )
    )
    stem, depthwise, pointwise, pool, logits = graph.operators
    assert [tensor.shape for tensor in graph.tensors] == [
        (1, 9, 7, 3),
        (1, 9, 7, 4),
        (1, 5, 4, 4),
        (1, 5, 4, 6),
        (1, 1, 1, 6),
        (1, 5),
    ]
    assert (stem.kind, stem.weights, stem.bias, stem.activation) == ("CONV_2D", (4, 3, 3, 3), 4, "RELU")
    assert (depthwise.kind, depthwise.weights, depthwise.bias) == ("DEPTHWISE_CONV_2D", (1, 3, 3, 4), 4)
    assert depthwise.window == Window((3, 3), (2, 2), "SAME")
    assert (pointwise.weights, pointwise.activation) == ((6, 1, 1, 4), "NONE")
    assert (pool.kind, pool.window) == ("AVERAGE_POOL_2D", Window((5, 4), (5, 4), "VALID"))
    assert (logits.kind, logits.weights, logits.bias, logits.inputs) == ("FULLY_CONNECTED", (5, 6), 5, (4,))
    assert graph.inputs == (0,) and graph.outputs == (5,)


def test_flattening_is_an_operator_unless_the_map_is_one_pixel() -> None:
    assert kinds(STEM, Dense("logits", "stem", 5, "none")) == ["CONV_2D", "RESHAPE", "FULLY_CONNECTED"]
    assert kinds(STEM, Dense("logits", "stem", 5, "none"), shape=(1, 1, 3)) == ["CONV_2D", "FULLY_CONNECTED"]


def test_averaging_one_pixel_is_nothing() -> None:
    last = Conv("last", "stem", 4, 3, 8, "relu")
    assert kinds(STEM, last, *HEAD) == ["CONV_2D", "CONV_2D", "FULLY_CONNECTED"]


def test_joining_one_map_is_nothing() -> None:
    assert kinds(STEM, Concat("last", ("stem",)), *HEAD) == ["CONV_2D", "AVERAGE_POOL_2D", "FULLY_CONNECTED"]


def test_layers_without_effect_are_dropped() -> None:
    dead = Conv("dead", "stem", 4, 3, 1, "relu")
    assert kinds(STEM, dead, Conv("last", "stem", 4, 1, 1, "relu"), *HEAD).count("CONV_2D") == 2


def test_equal_parameter_free_layers_are_one() -> None:
    pools = [Pool(name, "stem", "max", 3, 1) for name in ("p", "q")]
    graph = lower(Network((8, 8, 3), (STEM, *pools, Add("last", "p", "q", "none"), *HEAD)))
    assert [operator.name for operator in graph.operators] == ["stem", "p", "last", "pool", "logits"]
    assert graph.operators[2].inputs == (2, 2)
    different = Pool("q", "stem", "average", 3, 1)
    assert kinds(STEM, pools[0], different, Add("last", "p", "q", "none"), *HEAD).count("MAX_POOL_2D") == 1


def test_operators_keep_the_order_of_the_layers() -> None:
    layers = (
        STEM,
        Conv("b1", "stem", 4, 3, 1, "relu"),
        Conv("a1", "stem", 4, 3, 1, "relu"),
        Conv("b2", "b1", 4, 3, 1, "relu"),
        Conv("a2", "a1", 4, 3, 1, "relu"),
        Concat("last", ("b2", "a2")),
        *HEAD,
    )
    assert [operator.name for operator in lower(Network((8, 8, 3), layers)).operators] == [
        layer.name for layer in layers
    ]


@pytest.mark.parametrize(
    "layers",
    [
        (Dense("d", "stem", 4, "none"), Dense("logits", "d", 4, "none")),
        (Dense("d", "stem", 4, "relu"), Conv("last", "d", 4, 1, 1, "none")),
        (Add("x", "stem", "stem", "none"), Add("y", "stem", "stem", "relu"), Concat("last", ("x", "y")), *HEAD),
        (Concat("x", (INPUT, "stem")), Conv("last", "x", 4, 1, 1, "none"), *HEAD),
        (Pool("p", INPUT, "max", 3, 1), Concat("last", ("stem", "p")), *HEAD),
    ],
)
def test_what_the_converter_would_rewrite_is_refused(layers: tuple[Layer, ...]) -> None:
    with pytest.raises(InvalidArchitecture, match=";"):
        lower(Network((8, 8, 3), (STEM, *layers)))


def test_a_network_without_operators_is_refused() -> None:
    with pytest.raises(InvalidArchitecture, match="computes nothing"):
        kinds(GlobalAveragePool("pool", INPUT), shape=(1, 1, 3))
