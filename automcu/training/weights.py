"""Weights on their way between frameworks, processes and files: float32 arrays by name, as safetensors."""

from collections.abc import Mapping
from math import prod

import numpy as np

from automcu.errors import OutputError
from automcu.graph.network import Network

Weights = Mapping[str, np.ndarray]
"""Float32 arrays with the names and shapes of `Network.parameter_shapes`."""

_STATISTICS = (".mean", ".variance")


def parameter_count(network: Network) -> int:
    """Number of trainable parameters: all but the batch normalisations' statistics."""
    return sum(prod(shape) for name, shape in network.parameter_shapes.items() if not name.endswith(_STATISTICS))


def check_weights(network: Network, weights: Weights) -> None:
    """Raise `OutputError` unless `weights` has exactly the names and shapes that `network` asks for."""
    found = {name: array.shape for name, array in weights.items()}
    wrong = sorted(found.items() ^ network.parameter_shapes.items())
    if wrong:
        raise OutputError(
            f"the weights do not belong to this network: {wrong[0][0]} is missing, unknown or of another shape; "
            "use the weights that were written for it"
        )


def weights_to_bytes(weights: Weights) -> bytes:
    """The weights as a safetensors file."""
    from safetensors.numpy import save

    data: bytes = save({name: np.ascontiguousarray(array, dtype=np.float32) for name, array in weights.items()})
    return data


def weights_from_bytes(data: bytes) -> dict[str, np.ndarray]:
    """The float32 weights that a safetensors file holds. Raises `OutputError` when it is none."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        weights: dict[str, np.ndarray] = load(data)
    # safetensors reports a data type that numpy lacks as a KeyError.
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise OutputError(f"the weights file is no valid safetensors file ({error}); train the network again") from None
    for name, array in weights.items():
        if array.dtype != np.float32:
            raise OutputError(f"weights {name} are {array.dtype}, not float32; train the network again")
    return weights
