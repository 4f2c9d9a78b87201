"""The network as C99: constants for Flash, one static arena as planned, one call of a kernel per layer."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from automcu.deploy.emit.cmsis_nn import CmsisNN
from automcu.deploy.emit.dsp import Dsp
from automcu.deploy.emit.kernel_set import Call, KernelCalls, Layer, layers
from automcu.deploy.emit.portable import Portable
from automcu.errors import CandidateFailure
from automcu.graph.int8 import Int8Graph
from automcu.graph.int8_model import Int8Model
from automcu.graph.kernel_sets import KernelSet
from automcu.graph.planner import ALIGNMENT, MemoryPlan

_SETS: dict[KernelSet, type[KernelCalls]] = {"portable": Portable, "dsp": Dsp, "cmsis_nn": CmsisNN}
SUPPORTED: frozenset[str] = Portable.supported
"""The kinds of operators that can be emitted; every kernel set has all of them."""
_OF_ONE_MAP = frozenset({"AVERAGE_POOL_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "MAX_POOL_2D", "MEAN", "REDUCE_MAX"})
"""The kinds whose kernels read one feature map, and no batch of them, which a RESHAPE, say, can make."""
_SYMBOL = re.compile(r"[a-z][a-z0-9_]*")
_TYPES = {"int8": "int8_t", "uint8": "uint8_t", "int16": "int16_t", "int32": "int32_t"}
_LINE = 116


@dataclass(frozen=True, slots=True, eq=False)
class EmittedNetwork:
    """A network as C. `sources` maps plain file names to texts: `network.c`, `network.h`, and the kernels' files that
    they need. `input_bytes` and `output_bytes` count all inputs and all outputs."""

    sources: Mapping[str, str]
    input_bytes: int
    output_bytes: int
    arena_bytes: int


def emit_network(
    model: Int8Model, plan: MemoryPlan, kernels: KernelSet, sha256: str, name: str = "network"
) -> EmittedNetwork:
    """C for `model`, placed as `plan` (made for the same kernel set) says; every symbol is prefixed by `name`.

    `sha256` (64 hex digits) identifies the .tflite file, in the source and on the board. Raises `CandidateFailure` for
    an operator, a type or a quantization without a kernel.
    """
    if kernels not in _SETS:
        raise CandidateFailure(f"no code is emitted for the kernels {kernels}; use {', '.join(_SETS)}")
    if not _SYMBOL.fullmatch(name):
        raise CandidateFailure(f"{name!r} is no prefix of C symbols; use lower-case letters, digits and underscores")
    calls_of = _SETS[kernels]()
    graph = model.graph
    calls = []
    for layer in layers(model, plan, name):
        if layer.operator.kind not in calls_of.supported:
            raise layer.refuse("has no kernel", f"use {', '.join(sorted(calls_of.supported))}")
        if layer.operator.kind in _OF_ONE_MAP and layer.inputs[0].shape[0] != 1:
            raise layer.refuse(f"reads a batch of {layer.inputs[0].shape[0]} feature maps", "keep to batch size 1")
        calls.append((layer, calls_of.call(layer)))
    files = dict.fromkeys(path for _, call in calls for path in call.files)
    sources = {
        f"{name}.h": _header(graph, plan, name, sha256),
        f"{name}.c": _source(graph, plan, name, sha256, calls, [path.name for path in files if path.suffix == ".h"]),
    }
    for path in files:
        sources[path.name] = _text(path)
    for _, call in calls:
        sources |= call.texts or {}
    return EmittedNetwork(sources, _total(graph, graph.inputs), _total(graph, graph.outputs), plan.arena_bytes)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _total(graph: Int8Graph, tensors: tuple[int, ...]) -> int:
    return sum(graph.tensors[tensor].bytes for tensor in tensors)


_HEADER = """\
/* A neural network for microcontrollers, written by AutoMCU.
 *
 * From the .tflite file with SHA-256 {sha256}.
 * Inputs: {inputs}
 * Outputs: {outputs}
 */
#ifndef {macro}_H
#define {macro}_H

#include <stdint.h>

#define {macro}_ARENA_BYTES {arena_bytes}
/* All inputs together, all outputs together. */
#define {macro}_INPUT_BYTES {input_bytes}
#define {macro}_OUTPUT_BYTES {output_bytes}
/* How many there are. */
#define {macro}_INPUTS {input_count}
#define {macro}_OUTPUTS {output_count}

/* SHA-256 of the .tflite file. */
extern const uint8_t {name}_sha256[32];

/* Where input i must be written before a run; it lies in the arena, and a run destroys it. */
void *{name}_input(uint32_t i);
uint32_t {name}_input_bytes(uint32_t i);

/* Output i of the last run, valid until the next input is written. */
const void *{name}_output(uint32_t i);
uint32_t {name}_output_bytes(uint32_t i);

/* Computes the outputs from the inputs. Not reentrant: all state is in one static arena. */
void {name}_run(void);

#endif
"""


def _header(graph: Int8Graph, plan: MemoryPlan, name: str, sha256: str) -> str:
    return _HEADER.format(
        sha256=sha256,
        name=name,
        macro=name.upper(),
        inputs=", ".join(_describe(graph, tensor) for tensor in graph.inputs),
        outputs=", ".join(_describe(graph, tensor) for tensor in graph.outputs),
        arena_bytes=plan.arena_bytes,
        input_bytes=_total(graph, graph.inputs),
        output_bytes=_total(graph, graph.outputs),
        input_count=len(graph.inputs),
        output_count=len(graph.outputs),
    )


_SOURCE = """\
/* A neural network for microcontrollers, written by AutoMCU.
 *
 * From the .tflite file with SHA-256 {sha256}.
 * {operator_count} layers; {constant_bytes:,} bytes of constants; an arena of {arena_bytes:,} bytes.
 */
{includes}
#include <string.h>

#if defined(__ELF__)
#define ARENA __attribute__((aligned({alignment}), section(".arena")))
#else
#define ARENA __attribute__((aligned({alignment})))
#endif

/* All activations; the offsets below are in bytes. */
static int8_t {name}_arena[{macro}_ARENA_BYTES] ARENA;

const uint8_t {name}_sha256[32] = {{
{hash}
}};

{constants}

void {name}_run(void)
{{
{statements}
}}

{ends}"""


def _source(
    graph: Int8Graph, plan: MemoryPlan, name: str, sha256: str, calls: list[tuple[Layer, Call]], headers: list[str]
) -> str:
    digest = bytes.fromhex(sha256)
    constants = [text for layer, call in calls for text in _constants(layer, call)]
    statements = [line for layer, call in calls for line in (_comment(layer), *call.statements)]
    arrays = [values for _, call in calls for values in (call.arrays or {}).values()]
    ends = [
        _end(graph, plan, name, side, tensors) for side, tensors in (("input", graph.inputs), ("output", graph.outputs))
    ]
    return _SOURCE.format(
        sha256=sha256,
        name=name,
        macro=name.upper(),
        operator_count=len(graph.operators),
        constant_bytes=sum(values.nbytes for values in arrays),
        arena_bytes=plan.arena_bytes,
        alignment=ALIGNMENT,
        includes="\n".join(f'#include "{header}"' for header in [f"{name}.h", *headers]),
        hash=_rows([f"0x{byte:02x}" for byte in digest]),
        constants="\n\n".join(constants),
        statements="\n".join(f"    {line}" for line in statements),
        ends="\n".join(ends),
    )


def _constants(layer: Layer, call: Call) -> list[str]:
    """Definitions of the layer's arrays and parameters, under a comment."""
    texts = [
        f"static const {_TYPES[values.dtype.name]} {layer.array(key)}[{values.size}] = {{\n{_values(values)}\n}};"
        for key, values in (call.arrays or {}).items()
    ]
    if call.struct is not None:
        fields = "\n".join(f"    .{field} = {value}," for field, value in (call.fields or {}).items())
        texts.append(f"static const {call.struct} {layer.parameters} = {{\n{fields}\n}};")
    return [f"{_comment(layer)}\n{texts[0]}", *texts[1:]] if texts else []


def _comment(layer: Layer) -> str:
    """What the layer is, on one line. Its name comes from the file: only harmless characters are kept."""
    operator = layer.operator
    label = re.sub(r"[^A-Za-z0-9_./:;-]", "_", operator.name[-60:]).replace("//", "/_")
    shapes = " and ".join("x".join(map(str, tensor.shape)) for tensor in layer.inputs)
    what = [f"{shapes} to {'x'.join(map(str, layer.output.shape))}"]
    if operator.window is not None:
        (height, width), (down, right) = operator.window.kernel, operator.window.stride
        what.append(f"window {height}x{width}, stride {down}x{right}, {operator.window.padding}")
    if operator.activation != "NONE":
        what.append(operator.activation)
    return f"/* {layer.index}: {operator.kind} {label}: {', '.join(what)} */"


def _end(graph: Int8Graph, plan: MemoryPlan, name: str, side: str, tensors: tuple[int, ...]) -> str:
    """The functions that give address and size of the inputs, or of the outputs."""
    offsets = ", ".join(str(plan.offsets[tensor]) for tensor in tensors)
    sizes = ", ".join(str(graph.tensors[tensor].bytes) for tensor in tensors)
    count = len(tensors)
    const = "const " if side == "output" else ""
    return f"""\
static const uint32_t {name}_{side}_offsets[{count}] = {{{offsets}}}, {name}_{side}_sizes[{count}] = {{{sizes}}};

{const}void *{name}_{side}(uint32_t i)
{{
    return {name}_arena + {name}_{side}_offsets[i];
}}

uint32_t {name}_{side}_bytes(uint32_t i)
{{
    return {name}_{side}_sizes[i];
}}
"""


def _describe(graph: Int8Graph, tensor: int) -> str:
    made = graph.tensors[tensor]
    return f"{made.dtype}[{']['.join(map(str, made.shape))}]"


def _values(values: np.ndarray) -> str:
    # INT32_MIN has no literal of its own type in C.
    return _rows([str(v) if v != -(1 << 31) else "(-2147483647 - 1)" for v in values.ravel().tolist()])


def _rows(values: list[str]) -> str:
    per_row = max(1, _LINE // (max(map(len, values)) + 2))
    return "\n".join("    " + ", ".join(values[i : i + per_row]) + "," for i in range(0, len(values), per_row))
