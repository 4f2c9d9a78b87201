"""The linker script of a board: the part's true regions, so that what does not fit is an error of the linker.

One statement a line, in the dialect that GNU ld and LLVM's lld share. What goes where:

- Flash: the vector table first (the core starts there), code, constants, the initial values of `.data`.
- The largest RAM region: the arena.
- Another RAM region that holds the board's reserve, else the arena's, in front of the arena (see
  `Board.free_ram_bytes`): stack, `.data`, `.bss`. The stack comes first and grows down: when it overflows it leaves the
  region, which is a fault, rather than overwrite what lies beside it.
"""

from automcu.board import Board, MemoryRegion
from automcu.errors import ConfigError

STATIC_BYTES = 64
"""What `.data` and `.bss` may take of `Board.reserved_ram_bytes`; the stack has the rest. The firmware's own variables
take 12 bytes, and generated networks have none beside their arena."""
LEAST_STACK_BYTES = 256
"""Below this a fault might not be reported. The firmware takes 80 bytes; under MLPerf Tiny's networks it is 370."""


def arena_region(board: Board) -> MemoryRegion:
    """The largest RAM region: it holds the arena."""
    return max((region for region in board.regions if region.kind == "ram"), key=lambda region: region.size_bytes)


def stack_region(board: Board) -> MemoryRegion:
    """Where stack, `.data` and `.bss` lie: the first other RAM region that takes the reserve, else the arena's."""
    arena = arena_region(board)
    others = (region for region in board.regions if region.kind == "ram" and region is not arena)
    return next((region for region in others if region.size_bytes >= board.reserved_ram_bytes), arena)


def linker_script(board: Board) -> str:
    """The text of `link.ld` for `board`. Raises `ConfigError` where its reserve leaves no room for a stack."""
    stack_bytes = board.reserved_ram_bytes - STATIC_BYTES
    if stack_bytes < LEAST_STACK_BYTES:
        raise ConfigError(
            f"board {board.name} reserves {board.reserved_ram_bytes} bytes of RAM, too few for the firmware's stack; "
            f"set board.reserved_ram_bytes to {STATIC_BYTES + LEAST_STACK_BYTES} or more"
        )
    flash = max((region for region in board.regions if region.kind == "flash"), key=lambda region: region.size_bytes)
    memory = "\n".join(
        f"  {region.name} ({'rx' if region.kind == 'flash' else 'rw'}) : ORIGIN = {region.address:#010x},"
        f" LENGTH = {region.size_bytes}"
        for region in board.regions
    )
    return _SCRIPT.format(
        board=board.name,
        memory=memory,
        flash=flash.name,
        arena=arena_region(board).name,
        stack=stack_region(board).name,
        stack_bytes=stack_bytes,
        static_bytes=STATIC_BYTES,
    )


_SCRIPT = """\
/* {board}: written by AutoMCU from the board table. */
ENTRY(reset)
MEMORY
{{
{memory}
}}
SECTIONS
{{
  .vectors :
  {{
    KEEP(*(.vectors))
  }} > {flash}
  .text :
  {{
    *(.text .text.*)
  }} > {flash}
  .rodata :
  {{
    *(.rodata .rodata.*)
    . = ALIGN(4);
  }} > {flash}
  .stack (NOLOAD) :
  {{
    . = ALIGN(8);
    __stack_start = .;
    . = . + {stack_bytes};
    __stack_top = .;
  }} > {stack}
  .data :
  {{
    . = ALIGN(4);
    __data_start = .;
    *(.data .data.*)
    . = ALIGN(4);
    __data_end = .;
  }} > {stack} AT> {flash}
  __data_load = LOADADDR(.data);
  .bss (NOLOAD) :
  {{
    . = ALIGN(4);
    __bss_start = .;
    *(.bss .bss.*)
    *(COMMON)
    . = ALIGN(4);
    __bss_end = .;
  }} > {stack}
  .arena (NOLOAD) :
  {{
    . = ALIGN(16);
    *(.arena)
  }} > {arena}
  /DISCARD/ :
  {{
    *(.ARM.exidx .ARM.exidx.*)
    *(.ARM.extab .ARM.extab.*)
    *(.eh_frame)
    *(.comment)
  }}
}}
ASSERT(SIZEOF(.data) + SIZEOF(.bss) <= {static_bytes}, ".data and .bss exceed their share of the reserve")
"""
