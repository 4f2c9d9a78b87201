"""What is being searched for: an architecture, and a candidate that carries one through a run."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

Shape = tuple[int, int, int]
"""Height, width, channels of one image or feature map (NHWC without the batch)."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """A point of a search space, held as the canonical JSON of that space's own description.

    Two architectures are equal exactly when their `space` and `text` are. The search space named by `space` turns
    the text into a typed description and into a `Network`; see `automcu.spaces`. Make one with `of`, which puts the
    JSON into its canonical form (sorted keys, no blanks).
    """

    space: str
    text: str

    @classmethod
    def of(cls, space: str, description: Mapping[str, object]) -> "Architecture":
        """The architecture of a JSON-able description, in canonical form."""
        return cls(space, json.dumps(description, sort_keys=True, separators=(",", ":"), allow_nan=False))

    @property
    def fingerprint(self) -> str:
        """Content hash (16 hex digits) of space and text: what caches and duplicate tests go by."""
        return hashlib.sha256(f"{self.space}\n{self.text}".encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Candidate:
    """An architecture on its way through one run. `id` counts from 1 within the run; `origin` names its proposer."""

    id: int
    architecture: Architecture
    origin: str


@dataclass(frozen=True, slots=True)
class Task:
    """What the network must do: sort images of `input_shape` from the data set `dataset` into `class_count` classes."""

    name: str
    dataset: str
    input_shape: Shape
    class_count: int
    description: str
