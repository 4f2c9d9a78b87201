"""The layer of the RAM peak by ST's placement: a captured report, and small placements whose peak is known."""

from dataclasses import replace

from automcu.feasibility.st.binding import binding_by_st
from automcu.feasibility.st.reports import StBuffer, StLayer, StReport, StVersion, read_c_info
from automcu.graph.int8 import Int8Graph, Operator, Tensor
from automcu.graph.lowering import lower
from automcu.graph.network import INPUT, Conv, Dense, GlobalAveragePool, Network
from tests.contracts.feasibility_tier import RESIDUAL
from tests.graph.shared_models import shared

CAPTURED = "stedgeai_reports/stedgeai-2.2.0_mobilenetv2-float-stm32f4-toobig/network_c_info.analyze.json"


def report_of(*layers: StLayer, activations_bytes: int) -> StReport:
    version = StVersion("4.0.1-20581", "")
    return StReport(version, "", 1, 1, activations_bytes, 0, None, None, (), layers)


def test_a_captured_placement_reaches_its_peak_at_one_layer() -> None:
    """Of the 100 layers of the captured MobileNetV2, one alone reaches the 4,917,696 B that the tool states."""
    report = read_c_info(shared(CAPTURED).read_text())
    # the network itself was not captured: a chain with its layers' names and output sizes stands for it
    nodes = {layer.node: layer for layer in report.layers if layer.node is not None}
    tensors = [Tensor("input", (1,), "int8")]
    operators = []
    for index in range(max(nodes) + 1):
        layer = nodes.get(index)
        size = 1 if layer is None else layer.outputs[0].bytes
        tensors.append(Tensor(str(index), (1, size), "int8"))
        name = f"unseen{index}" if layer is None else layer.name
        operators.append(Operator(name, "CONV_2D", (index,), index + 1, weights=(1, 1, 1, 1)))
    graph = Int8Graph(tuple(tensors), tuple(operators), (0,), (len(operators),))
    assert binding_by_st(graph, report) == (
        "block_1_expand (in 802,816 B + out 4,816,896 B + scratch 64 B, by ST Edge AI)"
    )
    assert binding_by_st(graph, replace(report, activations_bytes=4_917_697)) is None


IMAGE = StBuffer("image", 768, "input", 4_096)
STEM = StBuffer("stem_output", 2_048, "activations", 2_048)
INNER = StBuffer("inner_output", 2_048, "activations", 0)
SUM = StBuffer("sum_output", 2_048, "activations", 2_048)
POOL = StBuffer("pool_output", 8, "activations", 0)
LOGITS = StBuffer("logits_output", 4, "output", 8)
SCRATCH = StBuffer("inner_scratch0", 1_000, "scratch", 4_096)
LAYERS = (
    StLayer("stem", 0, (IMAGE,), (STEM,), ()),
    StLayer("inner", 1, (STEM,), (INNER,), (SCRATCH,)),
    StLayer("sum", 2, (INNER, STEM), (SUM,), ()),
    StLayer("pool", 3, (SUM,), (POOL,), ()),
    StLayer("logits", 4, (POOL,), (LOGITS,), ()),
)


def test_the_layer_that_reaches_the_peak_is_named() -> None:
    graph = lower(RESIDUAL)
    report = report_of(*LAYERS, activations_bytes=5_096)
    assert binding_by_st(graph, report) == "inner (in 2,048 B + out 2,048 B + scratch 1,000 B, by ST Edge AI)"
    assert (
        binding_by_st(graph, report_of(*LAYERS, activations_bytes=4_864))
        == "stem (in 768 B + out 2,048 B, by ST Edge AI)"
    )


def test_what_later_layers_still_read_is_told() -> None:
    """The input is kept for the last layer, and makes the peak wherever most else lives."""
    *most, logits = LAYERS
    kept = replace(logits, inputs=(POOL, IMAGE))
    found = binding_by_st(lower(RESIDUAL), report_of(*most, kept, activations_bytes=4_864))
    assert found == "sum (in 2,048 B + in 2,048 B + out 2,048 B + 768 B kept for later layers, by ST Edge AI)"


def test_a_placement_that_does_not_match_names_nothing() -> None:
    graph = lower(RESIDUAL)
    assert binding_by_st(graph, report_of(activations_bytes=5_096)) is None
    assert binding_by_st(graph, report_of(*LAYERS, activations_bytes=5_000)) is None
    nowhere = [replace(b, offset_bytes=None) for b in (STEM, INNER)]
    layer = StLayer("inner", 1, (nowhere[0],), (nowhere[1],), ())
    assert binding_by_st(graph, report_of(layer, activations_bytes=2_048)) is None
    for node in (None, 99, 4):  # no index, none of ours, one with another output
        moved = [replace(layer, node=node) if layer.name == "inner" else layer for layer in LAYERS]
        assert binding_by_st(graph, report_of(*moved, activations_bytes=5_096)) is None


def test_numbers_that_are_not_those_of_the_graph_name_nothing() -> None:
    """A file that computes shapes has operators which the graph leaves out: sizes may match by chance."""
    *most, logits = LAYERS
    report = report_of(*most, replace(logits, node=7), activations_bytes=5_096)
    assert binding_by_st(lower(RESIDUAL), report) is None


def test_fused_operators_bear_the_name_of_the_one_with_weights() -> None:
    layers = (
        Conv("stem", INPUT, 8, 3, 1, "relu"),
        GlobalAveragePool("pool", "stem"),
        Dense("logits", "pool", 4, "none"),
    )
    graph = lower(Network((16, 16, 3), layers))
    assert [operator.name for operator in graph.operators] == ["stem", "pool", "logits"]
    fused = StLayer("conv2d_0", 1, (IMAGE,), (POOL,), (SCRATCH,))
    last = StLayer("gemm_2", 2, (POOL,), (LOGITS,), ())
    found = binding_by_st(graph, report_of(fused, last, activations_bytes=5_096))
    assert found == "stem (in 768 B + out 8 B + scratch 1,000 B, by ST Edge AI)"
    alone = StLayer("conv2d_0", 0, (IMAGE,), (STEM,), ())
    pool = StLayer("pool_1", 1, (STEM,), (POOL,), (SCRATCH,))
    found = binding_by_st(graph, report_of(alone, pool, last, activations_bytes=5_096))
    assert found is not None and found.startswith("pool (in 2,048 B")


def test_padding_is_a_part_of_the_operator_that_it_stands_before() -> None:
    padded = StBuffer("inner_pad_before_output", 3_048, "activations", 2_048)
    pad = StLayer("inner_pad_before", 1, (STEM,), (padded,), ())
    layers = (LAYERS[0], pad, replace(LAYERS[1], inputs=(padded, STEM), scratch=()), *LAYERS[2:])
    found = binding_by_st(lower(RESIDUAL), report_of(*layers, activations_bytes=5_096))
    assert found is not None and found.startswith("inner (in 3,048 B + in 2,048 B + out 2,048 B")
    pad_peak = (LAYERS[0], pad, replace(LAYERS[1], inputs=(padded,), scratch=()), *LAYERS[2:])
    found = binding_by_st(lower(RESIDUAL), report_of(*pad_peak, activations_bytes=5_096))
    assert found is not None and found.startswith("inner (")
