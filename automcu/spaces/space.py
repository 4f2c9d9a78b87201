"""The seam between the search and what it searches: a space of architectures for one task."""

from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Protocol

from automcu.architecture import Architecture, Shape
from automcu.graph.network import Network


class Space(Protocol):
    """A set of architectures, bound to an input shape and a number of classes.

    Stateless: the same arguments give the same answer, and all chance comes from the `rng` handed in. Contract suite:
    `tests/contracts/space.py`.
    """

    @property
    def name(self) -> str:
        """What `Architecture.space` holds."""
        ...

    @property
    def input_shape(self) -> Shape:
        """Height, width, channels of the input."""
        ...

    @property
    def class_count(self) -> int:
        """Units of the output layer."""
        ...

    @property
    def json_schema(self) -> Mapping[str, object]:
        """Schema of what `parse` takes, fit for strict structured output of language models: every key required, no
        others allowed, every value an enumeration, no references. It cannot say the rules that span stages."""
        ...

    def describe(self) -> str:
        """The space in plain text for the prompt of a language model: fields, allowed values, rules."""
        ...

    def summary(self, architecture: Architecture) -> str:
        """An architecture of this space in a few plain words, on one line: different for any two. Raises
        `InvalidArchitecture` when it is none."""
        ...

    def describe_edit(self, before: Architecture, after: Architecture) -> str:
        """What turns `before` into `after`, one of its `neighbours`, in a few plain words on one line: different for
        any two neighbours. Raises `InvalidArchitecture` when either is no architecture of this space."""
        ...

    def build(self, architecture: Architecture) -> Network:
        """The network of an architecture. Raises `InvalidArchitecture` when it lies outside this space."""
        ...

    def parse(self, description: object) -> Architecture:
        """The architecture of an untrusted JSON-like value, inside this space and in canonical form.

        Raises `InvalidArchitecture`, with the path to the first thing wrong, for anything else."""
        ...

    def random(self, rng: Random) -> Architecture:
        """A random architecture, sizes spread over orders of magnitude."""
        ...

    def neighbours(self, architecture: Architecture, rng: Random) -> Iterator[Architecture]:
        """All architectures one edit away, lazily and in random order: inside the space, never the one given, no
        repeats. Raises `InvalidArchitecture` when `architecture` is none of this kind of space."""
        ...

    def smallest(self) -> Architecture:
        """The architecture that needs least RAM and Flash: a budget too small for it is too small for all."""
        ...

    def features(self, architecture: Architecture) -> Sequence[float]:
        """A fixed number of figures, each of about unit spread, by which networks that are alike lie close together.
        Raises `InvalidArchitecture` when it is no architecture of this space."""
        ...

    def families(self) -> Mapping[str, Sequence[Sequence[Architecture]]]:
        """Known good shapes of network, by name, each as a grid of its widths: row by row wider towards the input,
        along a row wider towards the output. The widest may lie outside the space, as `build` tells. Empty where the
        space knows none."""
        ...
