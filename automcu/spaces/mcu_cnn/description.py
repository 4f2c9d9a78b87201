"""What an architecture of `mcu_cnn` says: stages, head, and how untrusted JSON becomes them.

Each kind of block has its own type, told apart by `block`; it carries the fields that mean something to it and no
others. One flat type with every field would be shorter, but then each field that does not apply needs an agreed filler
value, which a JSON schema cannot demand: a small language model decoding under the schema would still get it wrong.
Here the schema alone makes every stage valid, a stage costs fewer tokens, and equal stages have equal text.

The annotations below are the single list of allowed values: parsing, the JSON schema, the prompt text, random drawing
and edits all read them.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Annotated, Any, ClassVar, Literal, get_args, get_type_hints

from pydantic import ConfigDict, FailFast, Field, TypeAdapter, ValidationError

from automcu.architecture import Architecture
from automcu.errors import InvalidArchitecture

NAME = "mcu_cnn"
MAX_STAGES = 10

# Multiples of 4 (what the SIMD int8 kernels of Cortex-M work in), finer where boards with 8 KB of RAM live.
Channels = Literal[4, 8, 12, 16, 20, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256]
GhostChannels = Literal[8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256]
Kernel = Literal[3, 5, 7]
Stride = Literal[1, 2]
Repeats = Literal[1, 2, 3, 4]
Activation = Literal["relu", "relu6"]
HiddenUnits = Literal[0, 16, 32, 64, 128, 256]


@dataclass(frozen=True, slots=True)
class _Described:
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvStage(_Described):
    """Plain convolutions."""

    block: Literal["conv"] = "conv"
    channels: Channels
    kernel: Literal[1, 3, 5, 7]
    stride: Stride
    repeats: Repeats
    activation: Activation


@dataclass(frozen=True, slots=True, kw_only=True)
class SeparableStage(_Described):
    """Depthwise separable convolutions (MobileNet, arXiv 1704.04861)."""

    block: Literal["separable"] = "separable"
    channels: Channels
    kernel: Kernel
    stride: Stride
    repeats: Repeats
    activation: Activation


@dataclass(frozen=True, slots=True, kw_only=True)
class InvertedStage(_Described):
    """Inverted bottlenecks with a linear projection (MobileNetV2, arXiv 1801.04381); `expansion` times the block's
    input channels are inside."""

    block: Literal["inverted"] = "inverted"
    channels: Channels
    kernel: Kernel
    stride: Stride
    expansion: Literal[1, 2, 3, 4, 6]
    repeats: Repeats
    activation: Activation


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidualStage(_Described):
    """Residual pairs of convolutions (ResNet, arXiv 1512.03385)."""

    block: Literal["residual"] = "residual"
    channels: Channels
    kernel: Literal[3, 5]
    stride: Stride
    repeats: Repeats
    activation: Activation


@dataclass(frozen=True, slots=True, kw_only=True)
class BottleneckStage(_Described):
    """Residual bottlenecks (ResNet, arXiv 1512.03385); `channels` divided by `expansion` are inside."""

    block: Literal["bottleneck"] = "bottleneck"
    channels: Channels
    kernel: Kernel
    stride: Stride
    expansion: Literal[2, 4]
    repeats: Repeats
    activation: Activation


@dataclass(frozen=True, slots=True, kw_only=True)
class GhostStage(_Described):
    """Ghost modules (GhostNet, arXiv 1911.11907). From 8 channels: half of 4 is no feature map worth copying."""

    block: Literal["ghost"] = "ghost"
    channels: GhostChannels
    kernel: Kernel
    stride: Stride
    repeats: Repeats
    activation: Activation


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStage(_Described):
    """Pooling with stride 2; channels stay."""

    block: Literal["max_pool", "avg_pool"]
    kernel: Literal[2, 3]


WeightedStage = ConvStage | SeparableStage | InvertedStage | ResidualStage | BottleneckStage | GhostStage
"""A stage that has weights."""
Stage = WeightedStage | PoolStage


@dataclass(frozen=True, slots=True)
class McuCnn(_Described):
    """A network: stages, global average pooling, a hidden dense layer unless `hidden_units` is 0, a dense layer.

    Always in canonical form: a stage of stride 1 that only goes on with the stage before it is counted among that
    stage's repeats, as far as these go. So two descriptions are equal exactly when their networks are.
    """

    stages: Annotated[
        tuple[Annotated[Stage, Field(discriminator="block")], ...],
        Field(min_length=1, max_length=MAX_STAGES),
        FailFast(),
    ]
    hidden_units: HiddenUnits

    def __post_init__(self) -> None:
        """Bring `stages` into canonical form."""
        object.__setattr__(self, "stages", _merged(self.stages))

    @property
    def architecture(self) -> Architecture:
        """This network as a point of the space."""
        return Architecture.of(NAME, asdict(self))


def _merged(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    merged: list[Stage] = []
    for stage in stages:
        last = merged[-1] if merged else None
        if isinstance(stage, PoolStage) or isinstance(last, PoolStage) or type(stage) is not type(last):
            merged.append(stage)
        elif stage.stride == 1 and changed(stage, stride=last.stride, repeats=last.repeats) == last:
            repeats, most = last.repeats + stage.repeats, max(get_args(Repeats))
            merged[-1] = changed(last, repeats=min(repeats, most))
            if repeats > most:
                merged.append(changed(stage, repeats=repeats - most))
        else:
            merged.append(stage)
    return tuple(merged)


def changed(stage: Stage, **values: Any) -> Stage:
    """The stage with other values in some fields."""
    return replace(stage, **values)


CHOICES: Mapping[type, Mapping[str, tuple[Any, ...]]] = {
    kind: {field.name: get_args(get_type_hints(kind)[field.name]) for field in fields(kind) if field.name != "stages"}
    for kind in (*get_args(Stage), McuCnn)
}
"""The allowed values of each enumerated field, by stage type (and `McuCnn`); numbers ascend."""

STAGE_TYPES: Mapping[str, type[Stage]] = {block: kind for kind in get_args(Stage) for block in CHOICES[kind]["block"]}
"""The stage type of each block name."""

_ADAPTER = TypeAdapter(McuCnn)
_PLAIN_WORDS = {
    "dataclass_type": "should be an object",
    "missing": "is missing",
    "model_attributes_type": "should be an object",
    "tuple_type": "should be a list",
    "unexpected_keyword_argument": "is no field of this object, remove it",
    "union_tag_invalid": f"should have as block one of {', '.join(STAGE_TYPES)}",
    "union_tag_not_found": f"should have as block one of {', '.join(STAGE_TYPES)}",
}


def read(description: object) -> McuCnn:
    """The typed form of an untrusted JSON-like value. Raises `InvalidArchitecture` naming the first thing wrong."""
    try:
        return _ADAPTER.validate_python(description)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        kind, place, found = first["type"], list(first["loc"]), first["input"]
        if place[:1] == ["stages"]:
            del place[2:3]  # pydantic's name for the stage type, no part of the JSON
        path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).lstrip(".")
        words = _PLAIN_WORDS.get(kind) or first["msg"].replace("Input", "", 1).strip()
        got = f", not {found!r:.40}" if kind == "literal_error" and _is_short(found) else ""
        raise InvalidArchitecture(f"{path[:80] or 'the architecture'} {words[:200]}{got}") from None


def _is_short(value: object) -> bool:
    """Whether `repr` of a hostile value is cheap and safe."""
    return isinstance(value, str | float | bool | None) or (isinstance(value, int) and value.bit_length() < 64)


def schema() -> Mapping[str, object]:
    """JSON schema of what `read` takes."""
    stage = {"anyOf": [_object_schema(_enumerations(kind)) for kind in get_args(Stage)]}
    stages = {"type": "array", "minItems": 1, "maxItems": MAX_STAGES, "items": stage}
    return _object_schema({"stages": stages, **_enumerations(McuCnn)})


def _enumerations(kind: type) -> dict[str, object]:
    return {
        name: {"type": "string" if isinstance(values[0], str) else "integer", "enum": list(values)}
        for name, values in CHOICES[kind].items()
    }


def _object_schema(properties: Mapping[str, object]) -> Mapping[str, object]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
