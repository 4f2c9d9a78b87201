"""Reading what ST's network compiler reports: the text report of X-CUBE-AI 5 to ST Edge AI Core 4, and the JSON file
`<name>_c_info.json` of ST Edge AI Core (schema 2).

Forms as seen in captured reports; the footprint of X-CUBE-AI 8 ("per segment") as public scripts that read it show it.
Reports are untrusted: whatever is not as expected becomes an `StToolError`. Sizes are those the report prints in
bytes, never its rounded KiB.

What the JSON must not be taken for: `kernel_flash` already includes `toolchain_flash`; `kernel_*` is null and `series`
is "generic" where no Arm GCC was found, whatever the target; sizes of memory pools may be -1 (no limit), and virtual
pools count their subpools again, so that no figure is taken from the pools.
"""

import re
from dataclasses import dataclass, field
from typing import Annotated, Literal, NoReturn

from pydantic import Field, TypeAdapter, ValidationError

from automcu.feasibility.st.errors import StToolError

BufferKind = Literal["input", "output", "scratch", "weights", "activations"]

_LARGEST = 1 << 50  # bytes or MACs; anything above is no figure
_REMEDY = "use a version from X-CUBE-AI 5 to ST Edge AI Core 4, or feasibility=planner"


@dataclass(frozen=True, slots=True)
class StVersion:
    """A version of the compiler, such as `4.0.1-20581`, and the pack it comes with, such as `STM32CubeAI 12`: what the
    tool says of the pack, or else what its version implies, empty where neither is known."""

    number: str
    pack: str

    def __str__(self) -> str:
        return f"{self.number} ({self.pack})" if self.pack else self.number


@dataclass(frozen=True, slots=True)
class StBuffer:
    """An array of the generated C code. `input` and `output` are those of the network, `activations` what lies between
    its layers; biases count as `weights`. `offset_bytes` is where it lies in its memory pool, which the JSON file
    alone tells; buffers of different times may share a place."""

    name: str
    bytes: int
    kind: BufferKind
    offset_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class StLayer:
    """A layer of the generated C code, which may fuse several operators of the model; `node` is the index of the last
    of these in the model's file (None where the report gives no index). Weights are not among the inputs."""

    name: str
    node: int | None
    inputs: tuple[StBuffer, ...]
    outputs: tuple[StBuffer, ...]
    scratch: tuple[StBuffer, ...]


@dataclass(frozen=True, slots=True)
class StReport:
    """What a report states; None where it does not.

    `activations_bytes` is the tool's "activations (rw)", `io_bytes` the input and output that lie outside it (0 from
    X-CUBE-AI 9 on, unless asked for). `runtime_flash_bytes` (text, rodata and data) and `runtime_ram_bytes` (data and
    bss) are of kernels, network code and C library together ("RT total"). `model_format` is such as "ss/sa per
    channel", empty where the report does not say. `buffers` is empty where the report has no such table; `layers`, in
    the order they run, come from the JSON file alone.
    """

    version: StVersion
    model_format: str
    macs: int | None
    weights_bytes: int
    activations_bytes: int
    io_bytes: int
    runtime_flash_bytes: int | None
    runtime_ram_bytes: int | None
    buffers: tuple[StBuffer, ...]
    layers: tuple[StLayer, ...]

    @property
    def ram_bytes(self) -> int:
        """The tool's "ram (total)": activations, input and output."""
        return self.activations_bytes + self.io_bytes


_NUMBER = r"v(\d{1,4}(?:\.\d{1,6}){1,3}(?:-\w+)?)"
_CORE = re.compile(rf"\bST Edge AI Core {_NUMBER}")
_BEFORE_CORE = re.compile(rf"\((?:STM\.ai|AI tools) {_NUMBER}")
_PACK = re.compile(r"\b(?:STM32CubeAI|X-CUBE-AI) \d{1,4}\.[\w.-]{1,20}")
_PACK_OF_CORE = {"1": "X-CUBE-AI 9", "2": "X-CUBE-AI 10", "3": "STM32CubeAI 11", "4": "STM32CubeAI 12"}


def read_version(text: str) -> StVersion:
    """The version in a report's first lines or in what `--version` prints, which is several lines from Core 1.0 on.

    Raises `StToolError` when there is none.
    """
    core = _CORE.search(text)
    if core is not None:
        lines = text[core.end() : core.end() + 500].splitlines()[:6]
        pack = next((found[0] for line in lines if (found := _PACK.match(line.strip()))), "")
        return StVersion(core[1], pack or _PACK_OF_CORE.get(core[1].split(".")[0], ""))
    before = _BEFORE_CORE.search(text)
    if before is not None:
        return StVersion(before[1], f"X-CUBE-AI {before[1].split('.')[0]}")
    raise StToolError(f"no version of ST Edge AI is stated; {_REMEDY}")


def read_report(text: str) -> StReport:
    """What a report says, be it text or JSON. Raises `StToolError`."""
    return read_c_info(text) if _is_json(text) else read_text_report(text)


def read_buffers(text: str) -> tuple[StBuffer, ...]:
    """The buffers of a report, be it text or JSON; a text report need not be whole. Raises `StToolError`."""
    return _buffers_of(_c_info(text)) if _is_json(text) else _Tables(text).read_buffers()


def _is_json(text: str) -> bool:
    return text[:100].lstrip().startswith("{")


def _unreadable(why: str) -> NoReturn:
    raise StToolError(f"ST Edge AI's report cannot be read ({why}); {_REMEDY}")


# --- JSON ---------------------------------------------------------------------------------------------------------


_Size = Annotated[int, Field(ge=0, le=_LARGEST)]


@dataclass(frozen=True, slots=True)
class _Footprint:
    activations: _Size
    weights: _Size
    io: list[_Size]
    kernel_flash: _Size | None
    kernel_ram: _Size | None


@dataclass(frozen=True, slots=True)
class _Buffer:
    id: int
    name: str
    size_bytes: _Size
    offset_start: _Size
    is_param: bool
    flags: str


@dataclass(frozen=True, slots=True)
class _Node:
    name: str
    macc: _Size
    inputs: list[int]
    outputs: list[int]
    scratchs: list[int]
    original_nodes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Graph:
    nodes: Annotated[list[_Node], Field(max_length=4_000)]


@dataclass(frozen=True, slots=True)
class _Tool:
    version: str


@dataclass(frozen=True, slots=True)
class _Environment:
    tools: Annotated[list[_Tool], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class _CInfo:
    environment: _Environment
    memory_footprint: _Footprint
    buffers: list[_Buffer]
    graphs: Annotated[list[_Graph], Field(max_length=4)]


@dataclass(frozen=True, slots=True)
class _Schema:
    json_schema_version: str


_SCHEMA: TypeAdapter[_Schema] = TypeAdapter(_Schema)
_C_INFO: TypeAdapter[_CInfo] = TypeAdapter(_CInfo)


def read_c_info(text: str) -> StReport:
    """What a `network_c_info.json` says. Raises `StToolError` when it is none, or of a schema other than 2."""
    info = _c_info(text)
    footprint = info.memory_footprint
    nodes = [node for graph in info.graphs for node in graph.nodes]
    return _plausible(
        StReport(
            version=read_version(f"ST Edge AI Core v{info.environment.tools[0].version}"),
            model_format="",
            macs=sum(node.macc for node in nodes) or None,  # a neural processor's epochs count none
            weights_bytes=footprint.weights,
            activations_bytes=footprint.activations,
            io_bytes=sum(footprint.io),
            runtime_flash_bytes=footprint.kernel_flash,
            runtime_ram_bytes=footprint.kernel_ram,
            buffers=_buffers_of(info),
            layers=_layers_of(info, nodes),
        )
    )


def _c_info(text: str) -> _CInfo:
    data = text.encode("utf-8", "replace")
    try:
        version = _SCHEMA.validate_json(data, strict=True).json_schema_version
        if version.split(".")[0] != "2":
            _unreadable(f"its schema version is {version[:20]!r}, not 2")
        return _C_INFO.validate_json(data, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        _unreadable(f"{place[:100]}: {first['msg'][:100]}")


def _buffers_of(info: _CInfo) -> tuple[StBuffer, ...]:
    return tuple(map(_buffer_of, info.buffers))


def _buffer_of(buffer: _Buffer) -> StBuffer:
    kind: BufferKind = "activations"
    if buffer.is_param:
        kind = "weights"
    elif "STAI_FLAG_INPUTS" in buffer.flags:
        kind = "input"
    elif "STAI_FLAG_OUTPUTS" in buffer.flags:
        kind = "output"
    elif "STAI_FLAG_SCRATCHS" in buffer.flags:
        kind = "scratch"
    return StBuffer(buffer.name.removesuffix("_array"), buffer.size_bytes, kind, buffer.offset_start)


def _layers_of(info: _CInfo, nodes: list[_Node]) -> tuple[StLayer, ...]:
    """Nodes without an output, as most epochs of a neural processor are, are no layers."""
    buffers = {buffer.id: _buffer_of(buffer) for buffer in info.buffers}

    def find(ids: list[int]) -> tuple[StBuffer, ...]:
        found = [buffers.get(number) for number in ids]
        return tuple(buffer for buffer in found if buffer is not None and buffer.kind != "weights")

    return tuple(
        StLayer(
            name=node.name,
            node=_number(node.original_nodes[-1]) if node.original_nodes else None,
            inputs=find(node.inputs),
            outputs=find(node.outputs),
            scratch=find(node.scratchs),
        )
        for node in nodes
        if node.outputs
    )


# --- text ---------------------------------------------------------------------------------------------------------


_SUMMARY = ("macc", "weights (ro)", "activations (rw)", "ram (total)")
_SECTIONS = (
    ("C-Arrays (", "arrays"),
    ("Requested memory size", "sections"),  # "by section" from Core 1.0 on, "per segment" in X-CUBE-AI 8
    ("Summary -", "total"),
    ("Summary per memory device type", "total"),
)
_PLAIN_NUMBER = re.compile(r"[0-9][0-9,]{0,19}")


def read_text_report(text: str) -> StReport:
    """What a `network_<command>_report.txt` says. Raises `StToolError` when it is none, or contradicts itself.

    A report for a neural processor has no summary block; its figures are those of the footprint, if it has one.
    """
    tables = _Tables(text)
    summary, sections = tables.summary, tables.sections
    if all(key in summary for key in _SUMMARY):
        macs: int | None = summary["macc"]
        weights, activations = summary["weights (ro)"], summary["activations (rw)"]
        io = summary["ram (total)"] - activations
    elif "weights" in sections and "activations" in sections:
        macs = tables.model_macs
        weights, activations = sum(sections["weights"]), sum(sections["activations"])
        io = sum(sections.get("io", ()))
    else:
        _unreadable(f"the text has no {', no '.join(key for key in _SUMMARY if key not in summary)}")
    if io < 0:
        _unreadable("the text states less RAM in total than for activations")
    runtime = tables.runtime()
    return _plausible(
        StReport(
            version=read_version("\n".join(text[:2000].splitlines()[:3])),
            model_format=tables.model_format,
            macs=macs,
            weights_bytes=weights,
            activations_bytes=activations,
            io_bytes=io,
            runtime_flash_bytes=runtime[0],
            runtime_ram_bytes=runtime[1],
            buffers=tables.read_buffers(),
            layers=(),
        )
    )


class _Tables:
    """The rows of a text report, by table. Takes time linear in its length, whatever it holds."""

    def __init__(self, text: str) -> None:
        self.summary: dict[str, int] = {}
        self.model_format = ""
        self.model_macs: int | None = None
        self.sections: dict[str, tuple[int, ...]] = {}  # text, rodata, data, bss
        self.total: tuple[int, int] | None = None  # Flash and RAM of "RT total"
        self.arrays: list[list[str]] = []
        table = ""
        for line in text.splitlines():
            line = line.strip()
            started = next((name for head, name in _SECTIONS if line.startswith(head)), "")
            if started or not line:
                table = started
            elif table == "arrays":
                self.arrays.append(line.split())
            elif table:
                self._read_footprint(table, line.split())
            else:
                self._read_summary(line)

    def _read_summary(self, line: str) -> None:
        key, colon, value = line.partition(":")
        key = key.strip()
        if key == "model" and value.startswith(" macc="):
            self.model_macs = _number(value.removeprefix(" macc=").split(" ")[0])
        elif key == "model_fmt" and not self.model_format:
            self.model_format = value.strip()[:100]
        elif colon and key in _SUMMARY and key not in self.summary:  # once more below, as plain integers
            size = _number(value.split()[0]) if value.split() else None
            if size is None:
                _unreadable(f"{key} is {value.strip()[:50]!r}")
            self.summary[key] = size

    def _read_footprint(self, table: str, words: list[str]) -> None:
        if table == "total" and words[:2] == ["RT", "total"]:
            sizes = [_number(word) for word in words[2:] if not word.endswith("%")]
            if len(sizes) != 2 or sizes[0] is None or sizes[1] is None:
                _unreadable("its RT total is no size")
            self.total = sizes[0], sizes[1]
        elif table == "sections" and len(words) > 4:
            columns = tuple(size for size in map(_number, words[-4:]) if size is not None)
            if len(columns) == 4:
                self.sections[" ".join(words[:-4]).rstrip("*")] = columns

    def runtime(self) -> tuple[int, int] | tuple[None, None]:
        """Flash and RAM of the runtime."""
        if "RT total" not in self.sections:
            return self.total or (None, None)
        text, rodata, data, bss = self.sections["RT total"]
        added = text + rodata + data, data + bss
        if self.total is not None and self.total != added:
            _unreadable("its two footprints of the runtime differ")
        return added

    def read_buffers(self) -> tuple[StBuffer, ...]:
        """The rows of "C-Arrays": number, name, items/bytes, domain/pool, type, and a comment for some."""
        buffers = []
        for words in self.arrays:
            if len(words) < 5 or _number(words[0]) is None:
                continue
            size = _number(words[2].partition("/")[2])
            if size is None:
                _unreadable(f"the size of {words[1][:50]} is {words[2][:50]!r}")
            buffers.append(StBuffer(words[1], size, _kind(words)))
        return tuple(buffers)


def _kind(words: list[str]) -> BufferKind:
    if words[3].startswith("weights/"):
        return "weights"
    if words[-1] == "/input":
        return "input"
    if words[-1] == "/output":
        return "output"
    if words[1].rstrip("0123456789").endswith("_scratch"):
        return "scratch"
    return "activations"


def _number(text: str) -> int | None:
    """A count as the tool prints it, such as `18,615,568`; None when it is none, or too large to be true."""
    if _PLAIN_NUMBER.fullmatch(text) is None:
        return None
    number = int(text.replace(",", ""))
    return number if number <= _LARGEST else None


def _plausible(report: StReport) -> StReport:
    if report.ram_bytes == 0:
        _unreadable("it states no activations")
    return report
