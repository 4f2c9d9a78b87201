"""The board files: each loads, is a sound memory map, and agrees with the board list and with docs/boards.md."""

import csv
import os
from itertools import combinations
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from pydantic import TypeAdapter

from automcu.board import Board

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "conf/board").glob("*.yaml"))
BOARD_LIST = Path(os.environ.get("AUTOMCU_DATA", ROOT / "../shared/data")) / "stm32_boards.csv"
KIB = 1024

# RAM that the board list counts and the files leave out, in KiB; the reason stands in each file's comment.
RAM_LEFT_OUT = {
    "nucleo_h743zi2": 32,
    "stm32h747i_disco": 32,
    "stm32h7s78_dk": 68,
    "nucleo_h7a3zi_q": 64,
    "nucleo_u575zi_q": 2,
    "b_u585i_iot02a": 2,
    "nucleo_wb55": 64,
}
FLASH_LEFT_OUT = {"nucleo_wb55": 512}


def load(path: Path) -> Board:
    """The board of one file, read as Hydra reads it."""
    return TypeAdapter(Board).validate_python(OmegaConf.to_container(OmegaConf.load(path)))


def table(boards: list[Board]) -> str:
    """The table of docs/boards.md."""
    rows = [
        ("board", "part", "core", "MHz", "Flash KiB", "largest RAM region KiB", "ST Edge AI target"),
        ("---", "---", "---", "--:", "--:", "--:", "---"),
    ]
    for board in boards:
        sizes = (f"{board.flash_bytes // KIB:,}", f"{board.ram_bytes // KIB:,}")
        clock = str(board.clock_hz // 10**6)
        rows.append((f"`{board.name}`", board.part, board.core, clock, *sizes, board.stedgeai_target or "none"))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


@pytest.fixture(scope="module")
def listed() -> dict[str, dict[str, str]]:
    """The rows of the board list that have internal Flash, by the name of their file."""
    if not BOARD_LIST.exists():
        pytest.skip("board list stm32_boards.csv not present; set AUTOMCU_DATA")
    with BOARD_LIST.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if int(row["flash_kib"])]
    return {row["board"].split(" (")[0].lower().replace("-", "_"): row for row in rows}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_file_is_a_sound_memory_map(path: Path) -> None:
    board = load(path)
    assert board.name == path.stem
    assert path.read_text().startswith("# ")
    assert {region.kind for region in board.regions} == {"flash", "ram"}
    assert len({region.name for region in board.regions}) == len(board.regions)
    assert all(region.name.isidentifier() and region.size_bytes > 0 for region in board.regions)
    for a, b in combinations(sorted(board.regions, key=lambda region: region.address), 2):
        assert a.address + a.size_bytes <= b.address, f"{a.name} overlaps {b.name}"
        assert a.kind != b.kind or a.address + a.size_bytes < b.address, f"{a.name} and {b.name} are one region"
    assert 0 < board.reserved_ram_bytes < board.ram_bytes
    assert 0 <= board.reserved_flash_bytes < board.flash_bytes


def test_every_listed_board_has_its_file(listed: dict[str, dict[str, str]]) -> None:
    assert set(listed) <= {path.stem for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_file_agrees_with_the_board_list(path: Path, listed: dict[str, dict[str, str]]) -> None:
    if path.stem not in listed:
        pytest.skip("not in the board list")
    board, row = load(path), listed[path.stem]
    ram = sum(region.size_bytes for region in board.regions if region.kind == "ram")
    flash = sum(region.size_bytes for region in board.regions if region.kind == "flash")
    assert board.part == row["mcu"]
    assert board.core == row["core"].removesuffix("+M4F").lower()
    assert board.clock_hz == int(row["clock_mhz"]) * 10**6
    assert board.stedgeai_target == (None if row["stedgeai_target"] == "NONE" else row["stedgeai_target"])
    assert board.ram_bytes == int(row["ram_contiguous_kib"]) * KIB
    assert ram == (int(row["ram_total_kib"]) - RAM_LEFT_OUT.get(board.name, 0)) * KIB
    assert flash == (int(row["flash_kib"]) - FLASH_LEFT_OUT.get(board.name, 0)) * KIB


def test_documented_table_matches_the_files() -> None:
    documented = (ROOT / "docs/boards.md").read_text()
    assert documented[documented.index("| board |") :] == table([load(path) for path in FILES])
