"""The linker script: which region holds what, and that what does not fit is an error of the linker, to the byte."""

import re

import pytest

from automcu.board import Board, MemoryRegion
from automcu.board_table import load_board, load_boards
from automcu.deploy.boards.link import BoardFault
from automcu.deploy.boards.virtual import VirtualBoard
from automcu.deploy.firmware.linker_script import STATIC_BYTES, arena_region, linker_script, stack_region
from automcu.deploy.firmware.project import firmware_project
from automcu.deploy.toolchain.toolchain import ImageTooLarge, Project
from automcu.errors import ConfigError
from tests import builders
from tests.deploy.firmware.small import image, network, toolchain


@pytest.mark.parametrize(
    ("name", "arena", "stack"),
    [
        ("nucleo_f446re", "sram", "sram"),
        ("nucleo_f303re", "sram", "ccm"),
        ("nucleo_l476rg", "sram1", "sram2"),
        ("nucleo_h743zi2", "axi_sram", "dtcm"),  # sram_d2 is larger, but its clock is off after a reset
        ("nucleo_h7a3zi_q", "axi_sram", "dtcm"),
    ],
)
def test_arena_and_stack_have_their_regions(name: str, arena: str, stack: str) -> None:
    board = load_board(name)
    assert (arena_region(board).name, stack_region(board).name) == (arena, stack)


def test_a_second_region_below_the_reserve_is_left_alone() -> None:
    flash, small = MemoryRegion("flash", "flash", 0x08000000, 65536), MemoryRegion("ccm", "ram", 0x10000000, 2047)
    board = builders.board(
        regions=(flash, small, MemoryRegion("sram", "ram", 0x20000000, 8192)), reserved_ram_bytes=2048
    )
    assert stack_region(board).name == arena_region(board).name == "sram"


@pytest.mark.parametrize("board", load_boards(), ids=lambda board: board.name)
def test_what_the_budget_leaves_is_what_the_arena_finds(board: Board) -> None:
    script = linker_script(board)
    for region in board.regions:
        assert (
            f"  {region.name} (" in script
            and f"ORIGIN = {region.address:#010x}, LENGTH = {region.size_bytes}" in script
        )
    sections = dict(re.findall(r"^  (\.\w+)(?: \(NOLOAD\))? :\n  \{.*?^  \} > (\w+)", script, re.S | re.M))
    assert sections[".vectors"] == sections[".text"] == sections[".rodata"] == "flash"
    assert sections[".stack"] == sections[".data"] == sections[".bss"] == stack_region(board).name
    (stack_bytes,) = (int(size) for size in re.findall(r"\. = \. \+ (\d+);", script))
    assert stack_bytes + STATIC_BYTES == board.reserved_ram_bytes
    beside = board.reserved_ram_bytes if sections[".arena"] == sections[".stack"] else 0
    assert board.free_ram_bytes + beside == board.ram_bytes == arena_region(board).size_bytes


@pytest.mark.parametrize("name", ["nucleo_l011k4", pytest.param("nucleo_f303re", marks=pytest.mark.slow)])
def test_ram_is_full_to_the_byte(name: str) -> None:
    board = load_board(name)
    assert image(name, board.free_ram_bytes).ram_bytes > board.free_ram_bytes
    # Beside the stack in one region, what .data and .bss leave of their share is still free, in steps of 16 bytes.
    spare = 0 if arena_region(board) != stack_region(board) else STATIC_BYTES - 48
    with pytest.raises(ImageTooLarge) as raised:
        image(name, board.free_ram_bytes + spare + 1)
    assert (raised.value.region, raised.value.over_bytes) == (arena_region(board).name, 1)


def test_flash_is_full_to_the_word() -> None:
    board = load_board("nucleo_l011k4")
    arena_bytes = board.free_ram_bytes
    left = board.flash_bytes - image(board.name, arena_bytes).flash_bytes
    assert image(board.name, arena_bytes, left + 1).flash_bytes == board.flash_bytes
    with pytest.raises(ImageTooLarge) as raised:
        image(board.name, arena_bytes, left + 5)  # the first constant was one byte, and three that were lost
    assert (raised.value.region, raised.value.over_bytes) == ("flash", 4)


LIES = {
    "larger RAM": (r"(  sram \(.*LENGTH = )\d+", r"\g<1>16777216", 4096, 1, r"section \.arena of the image"),
    "RAM elsewhere": ("0x20000000", "0x20100000", 64 - STATIC_BYTES, 1, r"section \.\w+ of the image, 0x20100"),
    "larger Flash": (r"(  flash \(.*LENGTH = )\d+", r"\g<1>33554432", 0, 2 << 20, "not in the Flash"),
    "Flash elsewhere": ("0x08000000", "0x08002000", 0, 1, "not in the Flash"),
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("name", ["nucleo_l011k4", "nucleo_u575zi_q"])
def test_a_linker_script_that_lies_gives_no_pass(name: str, lie: str) -> None:
    claimed, instead, more_bytes, constant_bytes, told = LIES[lie]
    board = load_board(name)
    project = firmware_project(board, network(board.free_ram_bytes + more_bytes, constant_bytes))
    script = re.sub(claimed, instead, project.sources["link.ld"])
    assert script != project.sources["link.ld"]
    built = toolchain().build(Project({**project.sources, "link.ld": script}, project.core))
    with pytest.raises(BoardFault, match=told), VirtualBoard(board).open(built):
        pass


def test_a_reserve_without_room_for_a_stack_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"set board\.reserved_ram_bytes to 320 or more"):
        linker_script(builders.board(reserved_ram_bytes=319))
