"""Bare-metal images of networks, linked for a board with PyPI's `ziglang` (clang and lld), and what the linker says.

Real are: the constants as they lie in the .tflite file, a vector table and start-up code, the room of the tables of
requantization, the arena as one object, the stack reserve, their alignment, and the part's memory regions. The kernels
do not exist yet: the code section is padded to exactly the constant that the planner states, as is the runtime's RAM.
"""

import os
import re
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import tflite

from automcu.board import MemoryRegion
from automcu.feasibility.planner_tier import CODE_BYTES, RUNTIME_RAM_BYTES, TABLE_BYTES_PER_CHANNEL
from automcu.graph.planner import ALIGNMENT
from experiments.filter_audit.targets import Judged, Target

MISSING = "ziglang is not installed, so nothing was linked; `pip install ziglang` and run again"
_WORD = 4
"""Alignment of constants: kernels read four int8 weights at once."""
_CPUS = {
    "cortex-m0+": ("thumb-freestanding-eabi", "cortex_m0plus"),
    "cortex-m4f": ("thumb-freestanding-eabihf", "cortex_m4+vfp4d16sp"),
    "cortex-m7f": ("thumb-freestanding-eabihf", "cortex_m7+fp_armv8d16sp"),
}
_OVERFLOW = re.compile(r"error: section '[^']*' will not fit in region '([^']*)': overflowed by (\d+) bytes")
_TIME_LIMIT_SECONDS = 120
_ROOM_BYTES = 64 * 2**20
_IMAGE = "image.elf"
_LOADED = 1
"""Type of the program headers of what is in memory (PT_LOAD)."""

_STARTUP = """
typedef void (*handler)(void);
extern unsigned stack_top[], runtime_begin[], runtime_end[];
static void halt(void) { for (;;) { } }
void _start(void) {
    for (volatile unsigned *word = runtime_begin; word < runtime_end; word++) *word = 0;
    halt();
}
__attribute__((section(".vectors"), used)) const handler vectors[16] = {
    (handler)stack_top, _start, halt, halt, halt, halt, halt, 0, 0, 0, 0, halt, halt, 0, halt, halt};
"""


@dataclass(frozen=True, slots=True)
class Linked:
    """The linker's verdict. `flash_bytes` and `ram_bytes` (arena and runtime, without the stack reserve) are what the
    image takes; the overflows (bytes) are those that lld states for the board's regions."""

    fits: bool
    flash_bytes: int
    ram_bytes: int
    flash_overflow: int
    ram_overflow: int


def available() -> bool:
    """Whether `ziglang` is installed."""
    return find_spec("ziglang") is not None


def near_limit(judged: Sequence[Judged], target: Target, count: int) -> list[Judged]:
    """About `count` architectures within a factor of two of a limit: as many that the planner admits as it rejects, as
    many for which RAM is the scarcer as Flash. Half of each group are the closest, the rest are spread evenly."""
    found: list[Judged] = []
    for fits in (True, False):
        for resource in ("ram", "flash"):
            group = [
                (abs(target.fullness(item.reports["planner"]) - 1), item)
                for item in judged
                if target.fits(item.reports["planner"]) is fits
                and target.scarcer(item.reports["planner"]) == resource
                and 0.5 <= target.fullness(item.reports["planner"]) <= 2
            ]
            group.sort(key=lambda entry: (entry[0], entry[1].architecture.fingerprint))
            closest, others = group[: count // 8], group[count // 8 :]
            wanted = count // 4 - len(closest)
            step = max(len(others) // wanted, 1) if wanted > 0 else 1
            found += [item for _, item in closest + others[::step][:wanted]]
    return found


def link(model: bytes, arena_bytes: int, target: Target, folder: Path) -> Linked:
    """The image of an int8 .tflite with an arena of that size, in `folder`.

    It is linked twice: into the regions that there are, for the verdict, and into roomy ones at the same addresses, for
    the bytes. Raises `RuntimeError` with the tool's words when that fails for another reason than lack of room.
    """
    (folder / "start.c").write_text(_STARTUP)
    (folder / "network.s").write_text(_network(model, arena_bytes, folder / "constants.bin"))
    flash, arena, stack = _regions(target)
    reserve = target.board.reserved_ram_bytes
    overflows = _link(folder, target.board.core, _script(flash, arena, stack, reserve))
    roomy = [replace(region, size_bytes=_ROOM_BYTES) for region in (flash, arena, stack)]
    if _link(folder, target.board.core, _script(roomy[0], roomy[1], roomy[2], reserve)):
        raise RuntimeError(f"the image needs more than {_ROOM_BYTES:,} B; leave out networks of that size")
    image = (folder / _IMAGE).read_bytes()
    flash_bytes, ram_bytes = (_used(image, region) for region in roomy[:2])
    for region, used in ((flash, flash_bytes), (arena, ram_bytes)):
        if overflows.get(region.name, 0) != max(used - region.size_bytes, 0):
            raise RuntimeError(f"{region.name}: {used} B used of {region.size_bytes}, but lld states {overflows}")
    return Linked(
        not overflows, flash_bytes, ram_bytes - (reserve if stack == arena else 0), overflows.get(flash.name, 0),
        overflows.get(arena.name, 0),
    )  # fmt: skip


def _link(folder: Path, core: str, script: str) -> dict[str, int]:
    """By how many bytes each region overflows, by lld's messages; empty when the image was made."""
    triple, cpu = _CPUS[core]
    (folder / "board.ld").write_text(script)
    done = subprocess.run(
        [sys.executable, "-m", "ziglang", "cc", "-target", triple, f"-mcpu={cpu}", "-O2", "-g0", "-nostdlib",
         "-fno-sanitize=undefined", "-Wl,-T,board.ld", "start.c", "network.s", "-o", _IMAGE],
        cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIME_LIMIT_SECONDS,
        env={"PATH": os.environ.get("PATH", ""), "ZIG_GLOBAL_CACHE_DIR": "cache", "ZIG_LOCAL_CACHE_DIR": "cache"},
    )  # fmt: skip
    overflows: dict[str, int] = {}
    for region, overflow in _OVERFLOW.findall(done.stderr):
        overflows[region] = max(overflows.get(region, 0), int(overflow))
    if bool(done.returncode) != bool(overflows):
        raise RuntimeError(f"ziglang failed (status {done.returncode}): {done.stderr[-500:]}")
    return overflows


def _network(model: bytes, arena_bytes: int, constants: Path) -> str:
    """Assembly of the network's constants, which go to the file `constants`, its tables, and its arena."""
    lines = ['.section .network,"a",%progbits']
    offset = 0
    with constants.open("wb") as file:
        for content, channels in _constants(model):
            file.write(content)
            lines += [f".balign {_WORD}", f'.incbin "{constants.name}", {offset}, {len(content)}']
            if channels:
                lines += [f".balign {_WORD}", f".space {TABLE_BYTES_PER_CHANNEL * channels}"]
            offset += len(content)
    lines += ['.section .arena,"aw",%nobits', f".balign {ALIGNMENT}", f".space {arena_bytes}", ""]
    return "\n".join(lines)


def _constants(model: bytes) -> Iterator[tuple[bytes, int]]:
    """Content of every constant that operators compute with, and the output channels of those that are weights."""
    opened = tflite.Model.GetRootAs(model, 0)
    graph = opened.Subgraphs(0)
    for position in range(graph.OperatorsLength()):
        operator = graph.Operators(position)
        if opened.OperatorCodes(operator.OpcodeIndex()).BuiltinCode() == tflite.BuiltinOperator.RESHAPE:
            continue
        for index in operator.InputsAsNumpy().tolist():
            tensor = graph.Tensors(index)
            content = opened.Buffers(tensor.Buffer()).DataAsNumpy()
            if not isinstance(content, int):  # 0 where there is none: an activation
                weights = tensor.Type() == tflite.TensorType.INT8
                yield content.tobytes(), tensor.Quantization().ScaleLength() if weights else 0


def _regions(target: Target) -> tuple[MemoryRegion, MemoryRegion, MemoryRegion]:
    """Flash, the region of the arena, and that of the stack; cut down where less than the whole board was asked for."""
    board = target.board
    flash = max((region for region in board.regions if region.kind == "flash"), key=lambda region: region.size_bytes)
    ram = sorted(
        (region for region in board.regions if region.kind == "ram"), key=lambda region: region.size_bytes, reverse=True
    )
    apart = len(ram) > 1 and ram[1].size_bytes >= board.reserved_ram_bytes
    arena = _cut(ram[0], target.asked.ram_bytes + (0 if apart else board.reserved_ram_bytes))
    return _cut(flash, target.asked.flash_bytes), arena, ram[1] if apart else arena


def _cut(region: MemoryRegion, size_bytes: int) -> MemoryRegion:
    return MemoryRegion(region.name, region.kind, region.address, min(region.size_bytes, size_bytes))


def _script(flash: MemoryRegion, arena: MemoryRegion, stack: MemoryRegion, stack_bytes: int) -> str:
    """The linker script."""
    memory = "\n".join(
        f"  {region.name} : ORIGIN = {region.address:#x}, LENGTH = {region.size_bytes}"
        for region in dict.fromkeys((flash, arena, stack))
    )
    return f"""ENTRY(_start)
MEMORY {{
{memory}
}}
SECTIONS {{
  .code : {{
    KEEP(*(.vectors))
    *(.text*)
    *(.rodata*)
    . = ORIGIN({flash.name}) + {CODE_BYTES};
  }} > {flash.name}
  .network : {{
    KEEP(*(.network))
  }} > {flash.name}
  .runtime (NOLOAD) : {{
    runtime_begin = .;
    *(.data*)
    *(.bss*)
    . = ORIGIN({arena.name}) + {RUNTIME_RAM_BYTES};
    runtime_end = .;
  }} > {arena.name}
  .arena (NOLOAD) : {{
    KEEP(*(.arena))
  }} > {arena.name}
  .stack (NOLOAD) : {{
    . += {stack_bytes};
    stack_top = .;
  }} > {stack.name}
  /DISCARD/ : {{
    *(.ARM.*)
    *(.comment)
  }}
}}
"""


def _used(image: bytes, region: MemoryRegion) -> int:
    """Bytes of `region` up to the end of the highest segment in it, by the program headers of a 32-bit ELF file."""
    table, count = struct.unpack_from("<I", image, 28)[0], struct.unpack_from("<H", image, 44)[0]
    end = region.address
    for place in range(count):
        kind, _, address, load, in_file, in_memory, *_ = struct.unpack_from("<8I", image, table + 32 * place)
        begin, size = (load, in_file) if region.kind == "flash" else (address, in_memory)
        if kind == _LOADED and region.address <= begin < region.address + region.size_bytes:
            end = max(end, begin + size)
    return end - region.address
