"""Small random int8 networks over all operators that can be deployed, made so that their outputs say something.

Every tensor carries a sample of the real values that it takes, roughly, from which the next layer's quantization is
fitted: values spread over the int8 range, with some saturation, and zero points are anywhere in it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil, prod
from typing import TypeVar

import numpy as np

from automcu.graph.int8 import Activation, Int8Graph, Operator, Tensor, Window
from automcu.graph.int8_model import Attributes, Constants, Int8Model, Quantization

KINDS = frozenset(
    {
        *("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "SUB", "MUL", "MINIMUM", "MAXIMUM"),
        *("CONCATENATION", "AVERAGE_POOL_2D", "MAX_POOL_2D", "MEAN", "REDUCE_MAX", "PAD", "SOFTMAX", "RESHAPE"),
        *("SQUEEZE", "EXPAND_DIMS", "RELU", "RELU6", "LEAKY_RELU", "PRELU", "HARD_SWISH", "LOGISTIC", "TANH"),
        *("TRANSPOSE", "QUANTIZE", "DEQUANTIZE"),
    }
)
"""The operators that may appear."""
_FREQUENT = (
    *("CONV_2D", "CONV_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD"),
    *("CONCATENATION", "AVERAGE_POOL_2D", "MAX_POOL_2D", "MEAN"),
)
_T = TypeVar("_T")
_SAMPLES = 512
_LARGEST = 1_500
"""Elements of one tensor."""


def random_model(seed: int, kinds: frozenset[str] = KINDS) -> Int8Model:
    """The random network of that seed, of the operators in `kinds`; CONV_2D must be among them."""
    return _Maker(np.random.default_rng(seed), kinds).model()


def random_inputs(model: Int8Model, seed: int, count: int) -> np.ndarray:
    """Inputs (uint8, `count` rows): the bytes of all inputs one after the other. Integers are uniform, floats reach a
    little beyond what their quantization holds."""
    random = np.random.default_rng(seed)
    parts = []
    for index in model.graph.inputs:
        tensor = model.graph.tensors[index]
        shape = (count, prod(tensor.shape))
        if tensor.dtype == "float32":
            to = next(op.output for op in model.graph.operators if index in op.inputs)
            quantization = model.quantization[to]
            assert quantization is not None
            stored = random.uniform(-140, 140, shape) - quantization.zero_point
            parts.append((quantization.scale * stored).astype("<f4").view(np.uint8))
        else:
            parts.append(random.integers(0, 256, shape, np.uint8))
    return np.concatenate(parts, axis=1)


@dataclass(frozen=True)
class _Value:
    """A tensor made so far, with values that it takes (real)."""

    index: int
    shape: tuple[int, ...]
    sample: np.ndarray


class _Maker:
    def __init__(self, random: np.random.Generator, kinds: frozenset[str]) -> None:
        self.random = random
        self.kinds = kinds
        self.tensors: list[Tensor] = []
        self.quantization: list[Quantization | None] = []
        self.operators: list[Operator] = []
        self.constants: list[Constants | None] = []
        self.attributes: list[Attributes] = []
        self.values: list[_Value] = []  # int8 tensors that may be read
        self.unread: list[_Value] = []

    def model(self) -> Int8Model:
        """A whole network."""
        inputs = [self._input() for _ in range(2 if self._chance(0.15) else 1)]
        choices = [kind for kind in (*sorted(self.kinds), *_FREQUENT * 2) if kind in self.kinds and kind in _STEPS]
        wanted = len(self.operators) + int(self.random.integers(2, 10))
        while len(self.operators) < wanted:
            source = self._pick(self.unread if self._chance(0.8) else self.values)
            _STEPS[self._pick(choices)](self, source)
        outputs = [self._output(value) for value in self.unread]
        if self._chance(0.1):
            outputs.append(self._pick(self.values[len(inputs) :]).index)
        graph = Int8Graph(tuple(self.tensors), tuple(self.operators), tuple(inputs), tuple(dict.fromkeys(outputs)))
        return Int8Model(graph, tuple(self.quantization), tuple(self.constants), tuple(self.attributes))

    # --- choices

    def _chance(self, share: float) -> bool:
        return bool(self.random.random() < share)

    def _pick(self, choices: Sequence[_T]) -> _T:
        return choices[int(self.random.integers(len(choices)))]

    def _count(self, least: int, most: int) -> int:
        return int(self.random.integers(least, most + 1))

    def _activation(self, sample: np.ndarray) -> Activation:
        """A fused activation, none of those that leave next to nothing of `sample`."""
        low, high = np.quantile(sample, (0.3, 0.7))
        choices: list[Activation] = ["NONE", "NONE"]
        if high > 0:
            choices += ["RELU", "RELU6"] if low < 6 else ["RELU"]
        return self._pick(choices)

    def _fit(self, sample: np.ndarray, least_scale: float = 0) -> Quantization:
        """A quantization over which `sample` spreads."""
        low, high = np.quantile(sample, (0.02, 0.98))
        scale = max(max(float(high - low), 1e-3) / self.random.uniform(120, 400), least_scale)
        zero_point = self.random.integers(-128, 128) if self._chance(0.2) else -128 - low / scale
        zero_point += self.random.normal(0, 12) * self._chance(0.5)
        return Quantization(float(np.float32(scale)), int(np.clip(np.rint(zero_point), -128, 127)))

    # --- the network's ends

    def _input(self) -> int:
        """An input of the graph (its index), and what brings it to int8."""
        shape = self._pick(
            (
                *[(1, self._count(3, 13), self._count(3, 13), self._count(1, 6)) for _ in range(5)],
                (1, self._count(1, 7), self._count(5, 20), self._count(1, 3)),
                (1, self._count(2, 9), self._count(1, 20)),
                (1, self._count(1, 70)),
            )
        )
        scale = float(np.float32(10 ** self.random.uniform(-3, 1)))
        quantization = Quantization(scale, int(self.random.integers(-128, 128)))
        sample = scale * (self.random.integers(-128, 128, _SAMPLES) - quantization.zero_point)
        dtype = self._pick(("uint8", "float32")) if self._chance(0.3) and "QUANTIZE" in self.kinds else "int8"
        index = self._tensor(f"input_{len(self.tensors)}", shape, dtype, self._outside(quantization, dtype))
        value = _Value(index, shape, sample)
        self.values.append(value)
        self.unread.append(value)
        if dtype != "int8":
            self._operator("QUANTIZE", [value], shape, sample, quantization)
            self.values.remove(value)
        return index

    def _output(self, value: _Value) -> int:
        """The graph's output (its index) that `value` becomes."""
        if not self._chance(0.25):
            return value.index
        kind, dtype = self._pick((("DEQUANTIZE", "float32"), ("QUANTIZE", "uint8")))
        if kind not in self.kinds:
            return value.index
        quantization = self.quantization[value.index]
        assert quantization is not None
        made = self._operator(kind, [value], value.shape, value.sample, self._outside(quantization, dtype), dtype=dtype)
        self.values.remove(made)
        return made.index

    def _outside(self, quantization: Quantization, dtype: str) -> Quantization | None:
        """The quantization of the same real values as another type."""
        if dtype == "float32":
            return None
        return replace(quantization, zero_point=quantization.zero_point + 128) if dtype == "uint8" else quantization

    # --- building blocks

    def _tensor(self, name: str, shape: tuple[int, ...], dtype: str, quantization: Quantization | None) -> int:
        self.tensors.append(Tensor(name, shape, dtype))
        self.quantization.append(quantization)
        return len(self.tensors) - 1

    def _operator(
        self,
        kind: str,
        reads: Sequence[_Value],
        shape: tuple[int, ...],
        sample: np.ndarray,
        quantization: Quantization | None = None,
        constants: Constants | None = None,
        attributes: Attributes | None = None,
        dtype: str = "int8",
        **fields: object,
    ) -> _Value:
        """Append an operator; quantization is fitted to `sample` where none is given."""
        activation = fields.get("activation", "NONE")
        if activation != "NONE":
            sample = np.clip(sample, 0, 6 if activation == "RELU6" else None)
        if quantization is None and dtype == "int8":
            # A sum, say, that is next to constant: tflite-micro takes no output scale far below the operands'.
            free = kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MUL")
            scaled = [] if free else [self.quantization[value.index] for value in reads]
            quantization = self._fit(sample, max((given.scale for given in scaled if given), default=0) / 32)
        if quantization is not None and dtype == "int8":
            stored = np.clip(np.rint(sample / quantization.scale + quantization.zero_point), -128, 127)
            sample = quantization.scale * (stored - quantization.zero_point)
        name = f"{kind.lower()}_{len(self.operators)}"
        index = self._tensor(name, shape, dtype, quantization)
        weights = () if constants is None else constants.weights.shape
        bias = 0 if constants is None or constants.bias is None else len(constants.bias)
        inputs = tuple(value.index for value in reads)
        self.operators.append(Operator(name, kind, inputs, index, weights, bias, **fields))  # type: ignore[arg-type]
        self.constants.append(constants)
        self.attributes.append(attributes or Attributes())
        made = _Value(index, shape, sample)
        self.unread = [value for value in self.unread if value.index not in inputs] + [made]
        self.values.append(made)
        return made

    def _same(self, kind: str, source: _Value, shape: tuple[int, ...], **fields: object) -> _Value:
        """An operator whose output has the quantization of its input."""
        quantization = self.quantization[source.index]
        return self._operator(kind, [source], shape, source.sample, quantization, **fields)  # type: ignore[arg-type]

    def _window(self, source: _Value, most: int) -> tuple[Window, tuple[int, int]]:
        """A window that fits, and the height and width that it makes."""
        padding = self._pick(("SAME", "VALID"))
        extents = source.shape[1:3]
        kernel = [self._count(1, min(most, extent + 1 if padding == "SAME" else extent)) for extent in extents]
        stride = [self._pick((1, 1, 2, 3)) for _ in extents]
        made = [
            ceil((extent if padding == "SAME" else extent - size + 1) / step)
            for extent, size, step in zip(extents, kernel, stride, strict=True)
        ]
        return Window((kernel[0], kernel[1]), (stride[0], stride[1]), padding), (made[0], made[1])

    def _weights(
        self, source: _Value, shape: tuple[int, ...], axis: int, terms: int, per_channel: bool
    ) -> tuple[Constants, np.ndarray]:
        """Weights and perhaps biases, and a sample of what they make; `terms` are added up for each output."""
        channels = shape[axis]
        largest = self._pick((127, 127, 127, 128, 20, 2))
        weights = self.random.integers(-min(largest, 128), min(largest, 127) + 1, shape).astype(np.int8)
        scales = (self.random.uniform(0.3, 1, channels if per_channel else 1) / largest).astype(np.float32)
        rms = float(np.sqrt(np.mean(source.sample**2))) * float(np.mean(scales)) * largest * 0.58
        spread = max(rms * terms**0.5, 1e-6)
        quantization = self.quantization[source.index]
        assert quantization is not None
        bias, centers = None, np.zeros(channels)
        if self._chance(0.85):
            centers = self.random.normal(0, 0.5 * spread, channels)
            bias = np.rint(centers / (quantization.scale * scales)).clip(-(2**30), 2**30).astype(np.int32)
        sample = self.random.normal(0, spread, _SAMPLES) + self.random.choice(centers, _SAMPLES)
        return Constants(weights, scales, 0, bias), sample

    # --- steps: each appends operators that read `source`, or none where it does not fit

    def conv(self, source: _Value, kept: bool = False, quantization: Quantization | None = None) -> _Value | None:
        """CONV_2D; `kept` keeps height and width."""
        if len(source.shape) != 4:
            return None
        window, (height, width) = self._window(source, 4)
        if kept:
            window, (height, width) = Window(window.kernel, (1, 1), "SAME"), source.shape[1:3]
        channels = min(self._count(1, 13), max(1, _LARGEST // (height * width)))
        shape = (channels, *window.kernel, source.shape[3])
        constants, sample = self._weights(source, shape, 0, prod(shape[1:]), self._chance(0.8))
        return self._operator(
            "CONV_2D", [source], (1, height, width, channels), sample, quantization, constants, window=window,
            activation=self._activation(sample),
        )  # fmt: skip

    def depthwise(self, source: _Value) -> None:
        if len(source.shape) != 4:
            return
        window, (height, width) = self._window(source, 4)
        multiplier = self._pick((1, 1, 1, 2, 3))
        channels = source.shape[3] * multiplier
        if height * width * channels > _LARGEST:
            return
        shape = (1, *window.kernel, channels)
        constants, sample = self._weights(source, shape, 3, prod(window.kernel), self._chance(0.85))
        self._operator(
            "DEPTHWISE_CONV_2D", [source], (1, height, width, channels), sample, None, constants, window=window,
            activation=self._activation(sample),
        )  # fmt: skip

    def fully_connected(self, source: _Value) -> None:
        units = self._count(1, 21)
        whole = len(source.shape) == 2 or self._chance(0.6)
        inputs = prod(source.shape) if whole else source.shape[-1]
        shape = (1, units) if whole else (*source.shape[:-1], units)
        if prod(shape) > _LARGEST:
            return
        constants, sample = self._weights(source, (units, inputs), 0, inputs, self._chance(0.5))
        self._operator(
            "FULLY_CONNECTED", [source], shape, sample, None, constants, activation=self._activation(sample)
        )  # fmt: skip

    def _partner(self, source: _Value, same_scale: bool = False) -> _Value:
        """Another tensor of the same shape, if there is one, else the same tensor."""
        found = [
            value
            for value in self.values
            if value.shape == source.shape
            and value.index != source.index
            and (not same_scale or self.quantization[value.index] == self.quantization[source.index])
        ]
        if not found and not same_scale and self._chance(0.7):
            made = self.conv(source, kept=True)
            if made is not None and made.shape == source.shape:
                return made
        return self._pick(found) if found and self._chance(0.9) else source

    def _pair(self, kind: str, combine: Callable[[np.ndarray, np.ndarray], np.ndarray], source: _Value) -> None:
        """An operator of two operands: two tensors of one shape, or a tensor and a constant."""
        keeps_scale = kind in ("MINIMUM", "MAXIMUM")
        quantization = self.quantization[source.index] if keeps_scale else None
        if self._chance(0.35):
            last = source.shape[-1]
            shape = self._pick(((1,), (last,), (1,) * (len(source.shape) - 1) + (last,), source.shape))
            given = quantization or self._fit(source.sample)
            weights = self.random.integers(-128, 128, shape).astype(np.int8)
            constant = given.scale * (weights.astype(float) - given.zero_point)
            constants = Constants(
                weights, np.array([given.scale], np.float32), given.zero_point, first=self._chance(0.3)
            )
            operands = [source.sample, self.random.choice(constant.ravel(), _SAMPLES)]
            made = combine(*(reversed(operands) if constants.first else operands))
            activation = "NONE" if keeps_scale else self._activation(made)
            self._operator(kind, [source], source.shape, made, quantization, constants, activation=activation)
            return
        other = self._gate(source) if kind == "MUL" and self._chance(0.4) else self._partner(source, keeps_scale)
        if kind == "SUB" and other is source:
            return  # nothing but zeros
        shuffled = other.sample if other is source else self.random.permutation(other.sample)
        reads = [source, other] if self._chance(0.5) else [other, source]
        made = combine(*((source.sample, shuffled) if reads[0] is source else (shuffled, source.sample)))
        activation = "NONE" if keeps_scale else self._activation(made)
        self._operator(kind, reads, source.shape, made, quantization, activation=activation)

    def _gate(self, source: _Value) -> _Value:
        """One value for each channel of a map."""
        if len(source.shape) != 4 or "MEAN" not in self.kinds:
            return source
        return self._operator("MEAN", [source], (1, 1, 1, source.shape[3]), source.sample / 2)

    def concatenation(self, source: _Value) -> None:
        axis = self._count(1, len(source.shape) - 1)
        quantization = self.quantization[source.index]
        parts = [source]
        for _ in range(self._pick((1, 1, 2, 3))):
            fitting = [
                value
                for value in self.values
                if len(value.shape) == len(source.shape)
                and all(a == b for i, (a, b) in enumerate(zip(value.shape, source.shape, strict=True)) if i != axis)
            ]
            part: _Value | None = None
            if axis == 3 and self._chance(0.6):
                part = self.conv(source, kept=True, quantization=quantization if self._chance(0.5) else None)
            part = part or self._pick(fitting)
            if self.quantization[part.index] != quantization:
                if "QUANTIZE" not in self.kinds:
                    continue
                part = self._operator("QUANTIZE", [part], part.shape, part.sample, quantization)
            parts.insert(self._count(0, len(parts)), part)
        shape = list(source.shape)
        shape[axis] = sum(part.shape[axis] for part in parts)
        if len(parts) == 1 or prod(shape) > _LARGEST:
            return
        sample = self.random.permutation(np.concatenate([part.sample for part in parts]))[:_SAMPLES]
        self._operator(
            "CONCATENATION", parts, tuple(shape), sample, quantization, None, Attributes(axis=axis)
        )  # fmt: skip

    def pool(self, kind: str, source: _Value) -> None:
        if len(source.shape) != 4:
            return
        window, (height, width) = self._window(source, 5)
        if self._chance(0.2):
            window, (height, width) = Window(source.shape[1:3], source.shape[1:3], "VALID"), (1, 1)
        shape = (1, height, width, source.shape[3])
        self._same(kind, source, shape, window=window, activation=self._activation(source.sample))

    def reduce(self, kind: str, source: _Value) -> None:
        rank = len(source.shape)
        if rank not in (3, 4):
            return
        last = source.shape[-1]
        shape = (1,) * (rank - 1) + (last,) if self._chance(0.5) else (1, last)
        if kind == "REDUCE_MAX":
            self._same(kind, source, shape)
            return
        mean = float(np.mean(source.sample))
        narrowed = mean + (source.sample - mean) / prod(source.shape[1:-1]) ** 0.25  # channels differ
        self._operator(kind, [source], shape, narrowed, self.quantization[source.index] if self._chance(0.3) else None)

    def pad(self, source: _Value) -> None:
        pads = [0, 0, *(self._pick((0, 0, 1, 2)) for _ in range(2 * len(source.shape) - 2))]
        shape = tuple(extent + pads[2 * i] + pads[2 * i + 1] for i, extent in enumerate(source.shape))
        if prod(shape) <= _LARGEST:
            self._same("PAD", source, shape, pads=tuple(pads))

    def reshape(self, source: _Value) -> None:
        count = prod(source.shape)
        factor = self._pick([factor for factor in range(1, count + 1) if count % factor == 0])
        rest = count // factor
        other = self._pick([factor for factor in range(1, rest + 1) if rest % factor == 0])
        self._same("RESHAPE", source, self._pick(((1, count), (1, factor, rest), (1, factor, other, rest // other))))

    def squeeze(self, source: _Value) -> None:
        ones = [axis for axis, extent in enumerate(source.shape) if axis and extent == 1]
        if ones and len(source.shape) > 2:
            dropped = self._pick(ones)
            self._same("SQUEEZE", source, source.shape[:dropped] + source.shape[dropped + 1 :])

    def expand(self, source: _Value) -> None:
        if len(source.shape) < 4:
            axis = self._count(1, len(source.shape))
            self._same("EXPAND_DIMS", source, (*source.shape[:axis], 1, *source.shape[axis:]))

    def transpose(self, source: _Value) -> None:
        order = (0, *(int(axis) for axis in self.random.permutation(len(source.shape) - 1) + 1))
        shape = tuple(source.shape[axis] for axis in order)
        self._same("TRANSPOSE", source, shape, attributes=Attributes(order=order))

    def softmax(self, source: _Value) -> None:
        if source.shape[-1] > 1:
            sample = self.random.dirichlet(np.ones(source.shape[-1]), _SAMPLES)[:, 0]
            beta = Attributes(beta=self._pick((1.0, 1.0, 0.5)))
            self._operator("SOFTMAX", [source], source.shape, sample, Quantization(1 / 256, -128), None, beta)

    def elementwise(self, kind: str, source: _Value) -> None:
        """RELU, RELU6, LEAKY_RELU, HARD_SWISH, LOGISTIC, TANH and QUANTIZE (to another scale)."""
        x = source.sample
        fixed = {"LOGISTIC": Quantization(1 / 256, -128), "TANH": Quantization(1 / 128, 0)}
        alpha = float(np.float32(self.random.uniform(0.01, 0.9))) if kind == "LEAKY_RELU" else 0.0
        made = {
            "RELU": lambda: np.maximum(x, 0),
            "RELU6": lambda: np.clip(x, 0, 6),
            "LEAKY_RELU": lambda: np.where(x < 0, alpha * x, x),
            "HARD_SWISH": lambda: x * np.clip(x + 3, 0, 6) / 6,
            "LOGISTIC": lambda: 1 / (1 + np.exp(-np.clip(x, -50, 50))),
            "TANH": lambda: np.tanh(x),
            "QUANTIZE": lambda: x,
        }[kind]()
        quantization = self.quantization[source.index] if kind == "RELU6" else fixed.get(kind)
        self._operator(kind, [source], source.shape, made, quantization, None, Attributes(alpha=alpha))

    def prelu(self, source: _Value) -> None:
        shape = self._pick((source.shape[-1:], (1,) * (len(source.shape) - 2) + source.shape[-1:], source.shape[1:]))
        given = Quantization(float(np.float32(self.random.uniform(0.001, 0.01))), self._count(-128, 127))
        weights = self.random.integers(-128, 128, shape).astype(np.int8)
        slopes = self.random.choice(given.scale * (weights.astype(float).ravel() - given.zero_point), _SAMPLES)
        made = np.where(source.sample < 0, slopes * source.sample, source.sample)
        constants = Constants(weights, np.array([given.scale], np.float32), given.zero_point)
        self._operator("PRELU", [source], source.shape, made, None, constants)


def _pair_of(kind: str, combine: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Callable[[_Maker, _Value], object]:
    return lambda maker, source: maker._pair(kind, combine, source)


def _kind_of(step: Callable[[_Maker, str, _Value], None], kind: str) -> Callable[[_Maker, _Value], object]:
    return lambda maker, source: step(maker, kind, source)


_STEPS: dict[str, Callable[[_Maker, _Value], object]] = {
    "CONV_2D": _Maker.conv,
    "DEPTHWISE_CONV_2D": _Maker.depthwise,
    "FULLY_CONNECTED": _Maker.fully_connected,
    "ADD": _pair_of("ADD", np.add),
    "SUB": _pair_of("SUB", np.subtract),
    "MUL": _pair_of("MUL", np.multiply),
    "MINIMUM": _pair_of("MINIMUM", np.minimum),
    "MAXIMUM": _pair_of("MAXIMUM", np.maximum),
    "CONCATENATION": _Maker.concatenation,
    "AVERAGE_POOL_2D": _kind_of(_Maker.pool, "AVERAGE_POOL_2D"),
    "MAX_POOL_2D": _kind_of(_Maker.pool, "MAX_POOL_2D"),
    "MEAN": _kind_of(_Maker.reduce, "MEAN"),
    "REDUCE_MAX": _kind_of(_Maker.reduce, "REDUCE_MAX"),
    "PAD": _Maker.pad,
    "SOFTMAX": _Maker.softmax,
    "RESHAPE": _Maker.reshape,
    "SQUEEZE": _Maker.squeeze,
    "EXPAND_DIMS": _Maker.expand,
    "TRANSPOSE": _Maker.transpose,
    "PRELU": _Maker.prelu,
    **{
        kind: _kind_of(_Maker.elementwise, kind)
        for kind in ("RELU", "RELU6", "LEAKY_RELU", "HARD_SWISH", "LOGISTIC", "TANH", "QUANTIZE")
    },
}
