"""Edits on the int8 graph alone: what would the network cost with fewer channels?

No float network is needed, so that files can be edited as well as lowered architectures. CONV_2D and FULLY_CONNECTED
choose how many channels they make; the other operators pass on what they read, concatenation sums it, flattening
multiplies it, and element-wise operators want all their operands equal. Channels that can only change together form a
group. A group is free when it holds neither the graph's input nor its output, and no tensor whose channels an operator
rearranges in a way that is not followed here (such as TRANSPOSE, or PAD along the channels on one branch of an ADD).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import lcm, prod

from automcu.graph.int8 import Int8Graph, Operator, Tensor

_PASS_ON = frozenset(
    {
        "ADD",
        "AVERAGE_POOL_2D",
        "CONCATENATION",  # along height or width
        "DEQUANTIZE",
        "HARD_SWISH",
        "LEAKY_RELU",
        "LOGISTIC",
        "MAX_POOL_2D",
        "MAXIMUM",
        "MEAN",
        "MINIMUM",
        "MUL",
        "PAD",
        "PRELU",
        "QUANTIZE",
        "REDUCE_MAX",
        "RELU",
        "RELU6",
        "RESIZE_BILINEAR",
        "RESIZE_NEAREST_NEIGHBOR",
        "SOFTMAX",
        "SUB",
        "TANH",
    }
)
"""Operators whose output has as many channels as each operand, or with PAD as many more as before."""
_RESHAPING = frozenset({"EXPAND_DIMS", "RESHAPE", "SQUEEZE"})
_MULTIPLE = 4
"""Channels come in multiples of 4, what the SIMD int8 kernels of Cortex-M work in."""
_EDITS = (("halve the channels of {}", 1, 2), ("cut a quarter of the channels of {}", 3, 4))
_NAMES = 3


@dataclass(frozen=True, slots=True)
class ChannelGroup:
    """Channels that can only change together.

    `owners` are the operators that make them, indices of CONV_2D and FULLY_CONNECTED in ascending order. `shares` says,
    for every tensor that depends on the group, how many of its channels (its last extent) come with each of the
    group's `channels`: 2 for the sum of a concatenation of two such maps, for example. It is in ascending order too.
    """

    owners: tuple[int, ...]
    channels: int
    shares: tuple[tuple[int, int], ...]


def channel_groups(graph: Int8Graph) -> tuple[ChannelGroup, ...]:
    """The free groups of `graph`, by their first owners."""
    unknowns = _Unknowns()
    forms: list[_Form] = [{} for _ in graph.tensors]  # the graph's inputs stay as they are
    made: dict[int, int] = {}
    for index, operator in enumerate(graph.operators):
        if operator.kind in ("CONV_2D", "FULLY_CONNECTED"):
            source = graph.tensors[operator.inputs[0]]
            if operator.kind == "FULLY_CONNECTED" and operator.weights[1] % source.shape[-1]:
                unknowns.fix(forms[operator.inputs[0]])  # it reads across the channels
            made[index] = unknowns.new(graph.tensors[operator.output].shape[-1])
            forms[operator.output] = {made[index]: 1}
        else:
            operands = [forms[tensor] for tensor in operator.inputs]
            forms[operator.output] = _passed_on(graph, operator, operands, unknowns)
    for tensor in graph.outputs:
        unknowns.fix(forms[tensor])
    owners: dict[int, list[int]] = {}
    for index, unknown in made.items():
        owners.setdefault(unknowns.root(unknown)[0], []).append(index)
    shares: dict[int, list[tuple[int, int]]] = {root: [] for root in owners}
    for index, form in enumerate(forms):
        for root, share in unknowns.resolved(form).items():
            shares[root].append((index, share))
    fixed = unknowns.fixed_roots()
    return tuple(
        ChannelGroup(tuple(operators), unknowns.sizes[root], tuple(shares[root]))
        for root, operators in owners.items()
        if root not in fixed
    )


def with_channels(graph: Int8Graph, group: ChannelGroup, channels: int) -> Int8Graph:
    """`graph` with `channels` >= 1 in a group of `channel_groups(graph)`: all tensors, weights and biases follow.

    Raises `ValueError` for fewer channels.
    """
    if channels < 1:
        raise ValueError(f"a group of channels cannot shrink to {channels}; give at least 1")
    tensors = list(graph.tensors)
    for index, share in group.shares:
        name, shape, dtype = tensors[index].name, tensors[index].shape, tensors[index].dtype
        tensors[index] = Tensor(name, (*shape[:-1], shape[-1] + share * (channels - group.channels)), dtype)
    changed = {index for index, _ in group.shares}
    operators = [
        operator if changed.isdisjoint((*operator.inputs, operator.output)) else _refitted(operator, graph, tensors)
        for operator in graph.operators
    ]
    return Int8Graph(tuple(tensors), tuple(operators), graph.inputs, graph.outputs)


def cheaper(graph: Int8Graph, operators: Sequence[int]) -> Iterator[tuple[str, Int8Graph]]:
    """Graphs with fewer channels around `operators` (indices), each with the edit in words.

    For each free group that one of the operators makes or reads, in their order, first half and then three quarters of
    its channels, rounded up to a multiple of 4. For example `halve the channels of stage2_block0_conv (64 -> 32)`, with
    the group's first owners by name. For less RAM give the operator at the peak and the makers of what is alive there,
    for less Flash or work the layers that have most of it.
    """
    groups = channel_groups(graph)
    of_tensor: dict[int, list[int]] = {}
    for number, group in enumerate(groups):
        for tensor, _ in group.shares:
            of_tensor.setdefault(tensor, []).append(number)
    near = [
        number
        for index in operators
        for tensor in (graph.operators[index].output, *graph.operators[index].inputs)
        for number in of_tensor.get(tensor, ())
    ]
    for number in dict.fromkeys(near):
        group = groups[number]
        for words, part, whole in _EDITS:
            channels = -(-group.channels * part // (whole * _MULTIPLE)) * _MULTIPLE
            if channels < group.channels:
                edited = with_channels(graph, group, channels)
                yield _told(words, group, graph, edited), edited


_Form = dict[int, int]
"""Channels of a tensor: how many come with each channel of an unknown, apart from those that never change."""


class _Unknowns:
    """Numbers of channels that are to be chosen, some of them tied to multiples of others."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self._parents: dict[int, tuple[int, int]] = {}
        self._fixed: set[int] = set()

    def new(self, size: int) -> int:
        self.sizes.append(size)
        return len(self.sizes) - 1

    def root(self, unknown: int) -> tuple[int, int]:
        """The unknown that decides this one, and how many times larger this one is."""
        passed, factor = [], 1
        while unknown in self._parents:
            passed.append((unknown, factor))
            unknown, more = self._parents[unknown]
            factor *= more
        for child, before in passed:
            self._parents[child] = (unknown, factor // before)
        return unknown, factor

    def resolved(self, form: _Form) -> _Form:
        """`form` in terms of roots."""
        found: _Form = {}
        for unknown, share in form.items():
            root, factor = self.root(unknown)
            found[root] = found.get(root, 0) + share * factor
        return found

    def tie(self, left: _Form, right: _Form) -> None:
        """Keep two equal numbers of channels equal: as one unknown where each comes from one, by fixing them else."""
        left, right = self.resolved(left), self.resolved(right)
        if left == right:
            return
        if len(left) == len(right) == 1:
            (one, share), (other, other_share) = *left.items(), *right.items()
            if share * self.sizes[one] == other_share * self.sizes[other]:
                whole = lcm(share, other_share)
                both = self.new(self.sizes[one] * share // whole)
                self._parents[one], self._parents[other] = (both, whole // share), (both, whole // other_share)
                return
        self.fix(left)
        self.fix(right)

    def fix(self, form: _Form) -> None:
        """What `form` consists of may not change."""
        self._fixed.update(form)

    def fixed_roots(self) -> set[int]:
        """The roots that decide something fixed."""
        return {self.root(unknown)[0] for unknown in self._fixed}


def _passed_on(graph: Int8Graph, operator: Operator, operands: list[_Form], unknowns: _Unknowns) -> _Form:
    """The output channels of an operator that chooses none, in terms of those of its operands."""
    shapes = [graph.tensors[tensor].shape for tensor in operator.inputs]
    shape = graph.tensors[operator.output].shape
    if operator.kind == "DEPTHWISE_CONV_2D":
        return _scaled(operands[0], shape[-1] // shapes[0][-1])
    if operator.kind in _RESHAPING and shape[-1] == shapes[0][-1]:
        return operands[0]
    if operator.kind in _RESHAPING and shape[-1] == prod(shape):
        return _scaled(operands[0], prod(shapes[0][:-1]))
    if operator.kind == "CONCATENATION" and shape[-1] == sum(read[-1] for read in shapes):
        total: _Form = {}
        for operand in operands:
            for unknown, share in operand.items():
                total[unknown] = total.get(unknown, 0) + share
        return total
    if operator.kind in _PASS_ON and (operator.kind == "PAD" or all(read[-1] == shape[-1] for read in shapes)):
        for operand in operands[1:]:
            unknowns.tie(operands[0], operand)
        return operands[0]
    for operand in operands:
        unknowns.fix(operand)
    return {}


def _scaled(form: _Form, factor: int) -> _Form:
    return {unknown: share * factor for unknown, share in form.items()}


def _refitted(operator: Operator, graph: Int8Graph, tensors: Sequence[Tensor]) -> Operator:
    """The operator with weights and biases for `tensors` instead of the graph's."""
    read, channels = tensors[operator.inputs[0]].shape, tensors[operator.output].shape[-1]
    weights = operator.weights
    match operator.kind:
        case "CONV_2D":
            weights = (channels, *weights[1:3], read[-1])
        case "FULLY_CONNECTED":
            weights = (channels, weights[1] * read[-1] // graph.tensors[operator.inputs[0]].shape[-1])
        case _ if weights and weights[-1] == graph.tensors[operator.output].shape[-1]:  # depthwise, or an operand
            weights = (*weights[:-1], channels)
    return replace(operator, weights=weights, bias=channels if operator.bias else 0)


def _told(words: str, group: ChannelGroup, graph: Int8Graph, edited: Int8Graph) -> str:
    names: dict[str, list[str]] = {}
    for index in group.owners:
        output = graph.operators[index].output
        change = f"({graph.tensors[output].shape[-1]} -> {edited.tensors[output].shape[-1]})"
        names.setdefault(change, []).append(graph.operators[index].name)
    return words.format(" and ".join(f"{_listed(owners)} {change}" for change, owners in names.items()))


def _listed(names: list[str]) -> str:
    if len(names) > _NAMES:
        names = [*names[:_NAMES], f"{len(names) - _NAMES} more"]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
