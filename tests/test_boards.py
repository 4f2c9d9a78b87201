"""The board files: each loads, is a sound memory map, and agrees with the board list and with docs/boards.md."""

import csv
import os
import re
from itertools import combinations
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from pydantic import TypeAdapter

from automcu.board import Board
from automcu.deploy.firmware.project import BAUD_RATE

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


# Set-up writes as the files state and explain them: address, bits to clear and to set, and the comment behind.
WRITE = re.compile(
    r"^  - \{address: (0x[0-9A-F]{8}), clear: (0x[0-9A-F]{8}), set: (0x[0-9A-F]{8})\}  # (\w+): (.+)$", re.M
)
GPIOA = {0x40020000, 0x42020000, 0x48000000, 0x50000000, 0x58020000}
"""Where the first port lies, by series; the others follow at 1 KiB."""


def pins(words: str) -> list[tuple[int, int]]:
    """Number and alternate function (0 where none is said) of the pins in a comment such as `PA2 AF7, PA3 AF7`."""
    return [(int(pin), int(function or 0)) for pin, function in re.findall(r"P[A-K](\d+)(?: AF(\d+))?", words)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_set_up_writes_do_what_their_comments_say(path: Path) -> None:
    writes = [(*(int(text, 16) for text in found[:3]), *found[3:]) for found in WRITE.findall(path.read_text())]
    assert [(write.address, write.clear, write.set) for write in load(path).set_up] == [found[:3] for found in writes]
    switched, functions = "", []
    for address, clear, to_set, register, words in writes:
        assert 0x4000_0000 <= address < 0x6000_0000 and address % 4 == 0  # peripherals, in all of Cortex-M
        if port := re.fullmatch(r"GPIO([A-K])_(MODER|AFRL|AFRH)", register):
            base = address & ~0x3FF
            assert base - 0x400 * (ord(port[1]) - ord("A")) in GPIOA
            assert f"GPIO{port[1]}" in switched
            assert address - base == {"MODER": 0x00, "AFRL": 0x20, "AFRH": 0x24}[port[2]]
            bits, values = (2, [(pin, 2) for pin, _ in pins(words)]) if port[2] == "MODER" else (4, pins(words))
            assert clear == sum((2**bits - 1) << bits * pin % 32 for pin, _ in values)
            assert to_set == sum(value << bits * pin % 32 for pin, value in values)
            functions += [pin for pin, _ in values] if port[2] != "MODER" else []
        else:
            switched += words
            assert to_set and (clear == 0 or clear & to_set == to_set)
    modes = [pin for *_, register, words in writes if register.endswith("MODER") for pin, _ in pins(words)]
    assert len(functions) == 2 and sorted(functions) == sorted(modes)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_serial_port_fits_the_part(path: Path) -> None:
    board, text = load(path), path.read_text()
    told = re.search(r"^uart:  # ((?:LP)?US?ART\d), TX (P[A-K]\d+), RX (P[A-K]\d+): (.+)$", text, re.M)
    assert told is not None  # which one, its pins, and where that is written
    port, transmit, receive, _ = told.groups()
    assert f": {port} on" in text and all(f"{pin} AF" in text for pin in (transmit, receive))
    assert board.uart.low_power == port.startswith("LP")
    old = board.part.startswith(("STM32F1", "STM32F2", "STM32F4", "STM32L1"))
    assert board.uart.kind == ("stm32_v1" if old else "stm32_v2")
    assert 0x4000_0000 <= board.uart.address < 0x6000_0000 and board.uart.address % 0x400 == 0
    assert board.uart.clock_hz == (16 * 10**6 if "HSI16 on" in text else board.reset_clock_hz)
    assert board.reset_clock_hz <= board.clock_hz
    divisor = board.uart.divisor(BAUD_RATE)
    assert (0x300 if board.uart.low_power else 16) <= divisor < (2**20 if board.uart.low_power else 2**16)
    rate = board.uart.clock_hz * (256 if board.uart.low_power else 1) / divisor
    assert abs(rate / BAUD_RATE - 1) < 0.012  # a receiver takes 3.7 % of both sides together


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_openocd_files_are_named_as_openocd_finds_them(path: Path) -> None:
    openocd = load(path).openocd
    assert openocd is None or re.fullmatch(r"(board|target)/[a-z0-9_-]+\.cfg", openocd)


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
