"""Firmware for a board and a network, as the sources that a toolchain builds."""

from pathlib import Path

from automcu.board import Board
from automcu.deploy.emit.emitter import EmittedNetwork
from automcu.deploy.firmware.linker_script import linker_script
from automcu.deploy.toolchain.toolchain import Project

BAUD_RATE = 115_200
"""Bits per second of the serial port, with 8 data bits, no parity and one stop bit: what every debug probe offers."""
_FOLDER = Path(__file__).parent


def firmware_project(board: Board, network: EmittedNetwork) -> Project:
    """All sources of the image that runs `network` (emitted under the name `network`) on `board`, real or virtual."""
    uart = f"uart_{board.uart.kind}.c"
    sources = {
        path.name: path.read_text("utf-8")
        for path in sorted(_FOLDER.glob("*.[ch]"))
        if not path.name.startswith("uart_") or path.name == uart
    }
    return Project(
        sources={**sources, **network.sources, "board.h": board_header(board), "link.ld": linker_script(board)},
        core=board.core,
    )


def board_header(board: Board) -> str:
    """`board.h`: what the firmware needs to know of the board."""
    traits = {
        "BOARD_FPU": board.core.endswith("f"),
        "BOARD_CACHES": board.core == "cortex-m7f",
        "BOARD_VTOR": board.core != "cortex-m0",
    }
    writes = " ".join(f"{{{write.address:#x}, {write.clear:#x}, {write.set:#x}}}," for write in board.set_up)
    return "\n".join(
        (
            f"/* {board.name}: written by AutoMCU from the board table. */",
            "#ifndef BOARD_H",
            "#define BOARD_H",
            f"#define BOARD_CLOCK_HZ {board.reset_clock_hz}u /* after reset: no PLL is set up */",
            *(f"#define {trait}" for trait, given in traits.items() if given),
            f"#define UART_ADDRESS {board.uart.address:#x}",
            f"#define UART_BAUD_DIVISOR {board.uart.divisor(BAUD_RATE)}u /* {BAUD_RATE} baud */",
            f"#define BOARD_SET_UP {writes} /* address, bits to clear, bits to set */",
            "#endif",
            "",
        )
    )
