"""A `Network` as JSON-able data and back, for the way into another process."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, get_args

from automcu.graph.network import Layer, Network


def network_to_json(network: Network) -> dict[str, Any]:
    """Plain lists and dictionaries; each layer carries its class name as `layer`."""
    return {
        "input_shape": list(network.input_shape),
        "layers": [{"layer": type(layer).__name__, **asdict(layer)} for layer in network.layers],
    }


def network_from_json(data: Mapping[str, Any]) -> Network:
    """The inverse of `network_to_json`. Raises `KeyError` or pydantic's `ValidationError` on other data."""
    from pydantic import TypeAdapter

    kinds = {kind.__name__: kind for kind in get_args(Layer)}
    layers = []
    for layer in data["layers"]:
        fields = {name: value for name, value in layer.items() if name != "layer"}
        layers.append(TypeAdapter(kinds[layer["layer"]]).validate_python(fields))
    height, width, channels = data["input_shape"]
    return Network((height, width, channels), tuple(layers))
