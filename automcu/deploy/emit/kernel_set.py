"""The seam of kernel sets: a layer goes in, the C call that computes it comes out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from automcu.errors import CandidateFailure
from automcu.graph.int8 import Operator, Tensor
from automcu.graph.int8_model import Attributes, Constants, Int8Model, Quantization
from automcu.graph.planner import MemoryPlan
from automcu.graph.requantize import quantize_multiplier

KERNELS = Path(__file__).resolve().parents[1] / "kernels"
"""The folder of the C kernels; each set has a folder of its own in it, and file names are unique over all sets."""
PORTABLE = KERNELS / "portable"
PORTABLE_HEADER = PORTABLE / "automcu_kernels.h"
"""Declares all portable kernels, their parameters, and `automcu_requantize`."""


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One operator of the model, with its place in memory. `network` prefixes every symbol of the network."""

    model: Int8Model
    plan: MemoryPlan
    index: int
    network: str

    @property
    def operator(self) -> Operator:
        """The operator."""
        return self.model.graph.operators[self.index]

    @property
    def constants(self) -> Constants:
        """Its constant operand; only for operators that have `weights`."""
        constants = self.model.constants[self.index]
        assert constants is not None
        return constants

    @property
    def attributes(self) -> Attributes:
        """Its further attributes."""
        return self.model.attributes[self.index]

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The activations that it reads."""
        return tuple(self.model.graph.tensors[tensor] for tensor in self.operator.inputs)

    @property
    def output(self) -> Tensor:
        """The activation that it makes."""
        return self.model.graph.tensors[self.operator.output]

    @property
    def source(self) -> Quantization:
        """Quantization of the first input."""
        return self._quantization(self.operator.inputs[0])

    @property
    def sources(self) -> tuple[Quantization, ...]:
        """Quantization of every input."""
        return tuple(map(self._quantization, self.operator.inputs))

    @property
    def target(self) -> Quantization:
        """Quantization of the output."""
        return self._quantization(self.operator.output)

    @property
    def padding(self) -> tuple[int, int]:
        """Rows above and columns left of the map that the first window covers, by TensorFlow's rule."""
        window = self.operator.window
        assert window is not None
        if window.padding == "VALID":
            return 0, 0
        top, left = (
            max((made - 1) * stride + kernel - extent, 0) // 2
            for extent, made, kernel, stride in zip(
                self.inputs[0].shape[1:3], self.output.shape[1:3], window.kernel, window.stride, strict=True
            )
        )
        return top, left

    def input_pointer(self, position: int = 0) -> str:
        """C expression of the address of an input (`int8_t *`)."""
        return self.pointer(self.plan.offsets[self.operator.inputs[position]])

    @property
    def output_pointer(self) -> str:
        """C expression of the address of the output (`int8_t *`)."""
        return self.pointer(self.plan.offsets[self.operator.output])

    @property
    def scratch_pointers(self) -> tuple[str, ...]:
        """C expressions of the addresses of its scratch buffers, in the order of the scratch rule; 16-byte aligned."""
        return tuple(self.pointer(buffer.offset) for buffer in self.plan.scratch if buffer.operator == self.index)

    @property
    def parameters(self) -> str:
        """C symbol of the layer's parameters, when its call has some."""
        return f"{self.network}_{self.index}"

    def array(self, name: str) -> str:
        """C symbol of the layer's array `name`."""
        return f"{self.network}_{self.index}_{name}"

    def pointer(self, offset_bytes: int) -> str:
        """C expression of an address in the arena."""
        return f"{self.network}_arena + {offset_bytes}"

    def factor(self, real: float) -> tuple[int, int]:
        """Multiplier and shift of the scale `real`."""
        try:
            return quantize_multiplier(real)
        except CandidateFailure as error:
            raise self.refuse(f"has scales that differ by the factor {real:g}", "convert the network again") from error

    def refuse(self, what: str, remedy: str) -> CandidateFailure:
        """The error for a layer that cannot be emitted."""
        return CandidateFailure(f"{self.operator.kind} (layer {self.operator.name}) {what}; {remedy}")

    def _quantization(self, tensor: int) -> Quantization:
        quantization = self.model.quantization[tensor]
        if quantization is None:
            raise self.refuse("works on float32", "quantize the whole network to int8")
        return quantization


Fields = Mapping[str, int | str]
"""Members of a C struct, as numbers or C expressions."""


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """How a layer is computed: `statements` of C in order; `arrays` by name (their C symbol is `Layer.array(name)`, the
    element type follows from the values' dtype); `struct`, the type of the constant `Layer.parameters`, with its
    `fields`; `files`, all kernels' sources and headers that are needed, by their paths; `texts`, those which are not
    used as they lie on disk, by name."""

    statements: tuple[str, ...]
    files: tuple[Path, ...] = ()
    arrays: Mapping[str, np.ndarray] | None = None
    struct: str | None = None
    fields: Fields | None = None
    texts: Mapping[str, str] | None = None


def portable_files(*kernels: str) -> tuple[Path, ...]:
    """The header of the portable kernels, and the sources of `kernels`."""
    return PORTABLE_HEADER, *(PORTABLE / f"{kernel}.c" for kernel in kernels)


class KernelCalls(Protocol):
    """One kernel set. `supported` are the kinds of operators that it has kernels for."""

    supported: frozenset[str]

    def call(self, layer: Layer) -> Call:
        """The call that computes `layer`, whose kind is among `supported`.

        Raises `CandidateFailure` for shapes, types or quantization without a kernel.
        """
        ...


def layers(model: Int8Model, plan: MemoryPlan, network: str) -> Iterator[Layer]:
    """All layers in the order in which they run."""
    for index in range(len(model.graph.operators)):
        yield Layer(model, plan, index, network)
