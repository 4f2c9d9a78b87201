"""What ST's compiler makes of an int8 graph, as far as public reports show it: fused layers, overlaid buffers, scratch.

Found by comparing graphs with captured reports of X-CUBE-AI 7 to ST Edge AI Core 2.2 and with ST's model zoo tables
(`experiments/st_calibration`); the tool itself was not run. It

- drops QUANTIZE and RESHAPE, computes element by element in place, and takes PAD and local pooling into convolutions;
- pads a convolution's input in place, by k - 1 rows and columns whatever the stride (a `..._pad_before` buffer of 50 x
  34 pixels for 48 x 32 and a 3 x 3 filter of stride 2, as of 1), or as PAD says;
- lets the output overlay the input: written row by row, it starts just low enough that no row is lost before it is
  read (exact for the depthwise layers of yamnet, X-CUBE-AI 7.3 and Core 1.0, and for finger, Core 2.2);
- but keeps a pointwise convolution apart from its input when it makes more than twice as many channels
  (MobileNetV2 0.35 at 128 and 224 pixels, X-CUBE-AI 7.3);
- gives a layer scratch buffers, see `_scratch_bytes`.
"""

from dataclasses import dataclass

from automcu.graph.int8 import Int8Graph, Operator

_DROPPED = frozenset({"EXPAND_DIMS", "QUANTIZE", "RESHAPE", "SQUEEZE"})
_IN_PLACE = frozenset(
    {"HARD_SWISH", "LEAKY_RELU", "LOGISTIC", "MAXIMUM", "MINIMUM", "MUL", "PRELU", "RELU", "RELU6", "TANH"}
)
_CONVOLUTIONS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D"})
_WEIGHTED = _CONVOLUTIONS | {"FULLY_CONNECTED"}


@dataclass(frozen=True, slots=True)
class StLayer:
    """A layer of the fused graph. `operator` is the index of the operator whose weights it has, `reads` and `writes`
    are tensors, `pooled` is the shape of a convolution's output before the pooling that was taken into it."""

    operator: int
    reads: tuple[int, ...]
    writes: int
    pooled: tuple[int, ...] | None = None


def st_layers(graph: Int8Graph) -> tuple[StLayer, ...]:
    """The layers that ST's compiler makes of the operators of `graph`."""
    readers = [0] * len(graph.tensors)
    for operator in graph.operators:
        for tensor in operator.inputs:
            readers[tensor] += 1
    same = list(range(len(graph.tensors)))  # the tensor in whose buffer each one lies
    layers: list[StLayer] = []
    for index, operator in enumerate(graph.operators):
        source = operator.inputs[0]
        if operator.kind in _DROPPED:
            same[operator.output] = same[source]
        elif operator.kind in _IN_PLACE:
            same[operator.output] = same[max(operator.inputs, key=lambda tensor: graph.tensors[tensor].bytes)]
        elif operator.kind == "PAD" and len(operator.pads) == 8 and readers[operator.output] == 1:
            same[operator.output] = same[source]
        elif _is_local_pool(graph, operator) and readers[source] == 1 and _ends_in_conv(graph, layers, same[source]):
            conv = layers.pop()
            layers.append(StLayer(conv.operator, conv.reads, operator.output, graph.tensors[conv.writes].shape))
        else:
            reads = tuple(same[tensor] for tensor in operator.inputs)
            layers.append(StLayer(index, reads, operator.output))
    return tuple(layers)


def _is_local_pool(graph: Int8Graph, operator: Operator) -> bool:
    return operator.kind in ("MAX_POOL_2D", "AVERAGE_POOL_2D") and graph.tensors[operator.output].shape[1:3] != (1, 1)


def _ends_in_conv(graph: Int8Graph, layers: list[StLayer], tensor: int) -> bool:
    return bool(layers) and layers[-1].writes == tensor and graph.operators[layers[-1].operator].kind == "CONV_2D"


@dataclass(frozen=True, slots=True)
class StMemory:
    """Bytes at the layer that needs most, and that layer. `parts` says what they are made of."""

    bytes: int
    layer: StLayer
    parts: str


def st_memory(graph: Int8Graph, layers: tuple[StLayer, ...]) -> StMemory:
    """The most that any of `layers` needs: its input and output, overlaid where ST overlays them, its scratch, and what
    is kept for later layers."""
    first = {tensor: -1 for tensor in graph.inputs}
    last: dict[int, int] = {}
    for time, layer in enumerate(layers):
        first.setdefault(layer.writes, time)
        for tensor in layer.reads:
            last[tensor] = time
    sizes = {tensor: graph.tensors[tensor].bytes for tensor in first}
    found: list[StMemory] = []
    for time, layer in enumerate(layers):
        kept = sum(size for tensor, size in sizes.items() if first[tensor] < time < last.get(tensor, len(layers)))
        body = _body_bytes(graph, layer, kept_input=last.get(layer.reads[0], time) > time)
        scratch = _scratch_bytes(graph, layer)
        parts = f"in and out {body:,} B + scratch {scratch:,} B" + (f" + {kept:,} B kept for later" if kept else "")
        found.append(StMemory(kept + body + scratch, layer, parts))
    return max(found, key=lambda memory: memory.bytes)


def _body_bytes(graph: Int8Graph, layer: StLayer, kept_input: bool) -> int:
    """Input and output of a layer together; an input that is kept for later is counted by the caller."""
    operator = graph.operators[layer.operator]
    made = graph.tensors[layer.writes].bytes
    if operator.kind not in _CONVOLUTIONS or operator.window is None:
        dying = 0 if kept_input else sum(graph.tensors[tensor].bytes for tensor in set(layer.reads))
        return dying + made
    shape = graph.tensors[operator.inputs[0]].shape  # what an explicit PAD added is in it
    rows, columns = shape[1], shape[2]
    if operator.window.padding == "SAME":
        rows += operator.window.kernel[0] - 1
        columns += operator.window.kernel[1] - 1
    taken = rows * columns * shape[3]
    pointwise = operator.window.kernel == (1, 1) and operator.window.stride == (1, 1)
    if pointwise and (kept_input or made > 2 * taken):
        return made if kept_input else taken + made
    # Output row r is written when input rows from `step * r` on are still to be read.
    output = graph.tensors[layer.writes].shape
    pooled = 1 if layer.pooled is None else -(-layer.pooled[1] // output[1])
    step = operator.window.stride[0] * pooled * (taken // rows)
    row = made // output[1]
    lead = max(row, output[1] * row - (output[1] - 1) * step)
    return max(lead + taken, made)


def _scratch_bytes(graph: Int8Graph, layer: StLayer) -> int:
    """Scratch buffers as the reports list them.

    Exact in all of them: pointwise 4 in + 10 out channels; depthwise 3 x 3 37 channels + 1 (read as 4 for each weight
    of a filter, and 1); dense 2 in + 10 out (Core 2.2); a pooling taken in: two rows of the convolution's output; a
    first convolution, on one channel: 4 a weight of a filter + 32 out channels (Core 1.0 and 2.2). Of larger
    convolutions two are known (Core 2.2; 3 x 3, 16 to 32 channels: 6,144 B, 32 to 64: 7,168 B): a line through them.
    """
    operator = graph.operators[layer.operator]
    if operator.kind not in _WEIGHTED:
        return 0
    made = operator.weights[3] if operator.kind == "DEPTHWISE_CONV_2D" else operator.weights[0]
    if operator.kind == "FULLY_CONNECTED":
        return 2 * operator.weights[1] + 10 * made
    area, taken = operator.weights[1] * operator.weights[2], operator.weights[3]
    if operator.kind == "DEPTHWISE_CONV_2D":
        return (4 * area + 1) * made + 1
    if area == 1:
        return 4 * taken + 10 * made
    pooling = 0 if layer.pooled is None else 2 * layer.pooled[2] * layer.pooled[3]
    if taken < 4:
        return 4 * area * taken + 32 * made + pooling
    return 5_120 + 64 * area * taken // 9 + pooling
