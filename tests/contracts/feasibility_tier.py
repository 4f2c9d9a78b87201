"""What every feasibility tier must keep. Inherit, and give the fixtures `tier` and `model_file`."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from automcu.feasibility.tier import FeasibilityTier
from automcu.graph.lowering import lower
from automcu.graph.network import INPUT, Add, Conv, Dense, GlobalAveragePool, Network

RESIDUAL = Network(
    (16, 16, 3),
    (
        Conv("stem", INPUT, 8, 3, 1, "relu"),
        Conv("inner", "stem", 8, 3, 1, "relu"),
        Add("sum", "inner", "stem", "relu"),
        GlobalAveragePool("pool", "sum"),
        Dense("logits", "pool", 4, "none"),
    ),
)


class FeasibilityTierContract:
    def test_it_reports_on_the_graph_it_was_given(self, tier: FeasibilityTier, model_file: Callable[[], Path]) -> None:
        graph = lower(RESIDUAL)
        report = tier.report(graph, model_file)
        assert report.graph_fingerprint == graph.fingerprint
        assert report.tier == tier.name
        assert report.tool and report.tool_version

    def test_its_figures_are_sound(self, tier: FeasibilityTier, model_file: Callable[[], Path]) -> None:
        report = tier.report(lower(RESIDUAL), model_file)
        for figure in (report.macs, report.weights_bytes, report.code_bytes, report.activations_bytes):
            assert figure > 0
        assert report.runtime_ram_bytes >= 0
        assert report.margin >= 0

    def test_it_names_layers_of_the_network(self, tier: FeasibilityTier, model_file: Callable[[], Path]) -> None:
        report = tier.report(lower(RESIDUAL), model_file)
        names = {layer.name for layer in RESIDUAL.layers}
        for text in (report.binding_layer, report.heaviest_layer, report.busiest_layer):
            assert text.split(" ")[0] in names

    def test_it_says_the_same_twice(self, tier: FeasibilityTier, model_file: Callable[[], Path]) -> None:
        graph = lower(RESIDUAL)
        again = replace(graph)
        assert tier.report(graph, model_file) == tier.report(again, model_file)
