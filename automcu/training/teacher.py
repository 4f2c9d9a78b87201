"""A teacher: a trained network whose outputs another one learns to give (distillation, arXiv 1503.02531)."""

import hashlib
from dataclasses import dataclass

from automcu.graph.network import Network
from automcu.training.weights import Weights, weights_to_bytes


@dataclass(frozen=True, slots=True, eq=False)
class Teacher:
    """A network for the same images and classes, and its weights."""

    network: Network
    weights: Weights

    @property
    def fingerprint(self) -> str:
        """Tells teachers apart."""
        layers = f"{self.network.input_shape} {self.network.layers}".encode()
        return hashlib.sha256(layers + weights_to_bytes(self.weights)).hexdigest()
