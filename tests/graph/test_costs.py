from automcu.graph.costs import costs
from automcu.graph.lowering import lower
from automcu.graph.network import INPUT, Add, Conv, Dense, DepthwiseConv, GlobalAveragePool, Network


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
    assert found.total_macs == sum(found.macs)
    assert found.total_weights_bytes == sum(found.weights_bytes)
