"""OpenOCD, with the ST-LINK of the board. Texts as its version 0.12 prints them."""

import re

from automcu.board import Board
from automcu.deploy.boards.flashing.device_id import device_id_of, idcode_address
from automcu.deploy.boards.flashing.tool import FIRMWARE, Command, Remedies

_PORTS = ("gdb_port", "tcl_port", "telnet_port")
"""Its servers, switched off: two OpenOCDs on one machine would fight for them."""
_IDCODE = re.compile(r"^0x[0-9a-f]{8}: ([0-9a-f]{8})\s*$", re.MULTILINE)


class OpenOcd:
    """`openocd`. The board table says which of its configuration files fits: that of a board, or that of a target."""

    name = "openocd"
    program = "openocd"
    failure = re.compile(r"^\*\* .* Failed \*\*|^\*\* OpenOCD init failed \*\*", re.MULTILINE | re.IGNORECASE)
    done = "** Verified OK **"
    remedies: Remedies = (
        ("open failed", "connect the board by its ST-LINK connector, and let your user open it (udev rules)"),
        ("can't find", "install an OpenOCD whose scripts have that file, or choose another flashing tool"),
        ("unable to connect to the target", "check that the board has power and nothing else holds its debug port"),
        ("expected 1 of 1", "wire up the board that is configured"),
    )

    def supports(self, board: Board) -> bool:
        """Boards of the table whose series OpenOCD has drivers for name their file."""
        return board.openocd is not None

    def identify(self, board: Board, probe: str | None) -> Command:
        """Reads `DBGMCU_IDCODE`, under reset as the part may sleep, and lets it run again: it may be another board."""
        read = f"mdw {idcode_address(board):#010x}"
        asked = _commands("init", "reset halt", read, "reset run", "shutdown")
        return (self.program, *_configure(board, probe), *asked)

    def device_id(self, output: str, probe: str | None) -> int | None:
        """From the line "0xe0042000: 10006421"."""
        found = _IDCODE.search(output)
        return None if found is None else device_id_of(found[1])

    def write(self, board: Board, probe: str | None, address: int) -> tuple[Command, ...]:
        """`program` ends with status 1 when it fails, but not in all versions."""
        program = f"program {FIRMWARE} verify reset exit {address:#010x}"
        return ((self.program, *_configure(board, probe), *_commands(program)),)


def _configure(board: Board, probe: str | None) -> Command:
    assert board.openocd is not None
    interface = () if board.openocd.startswith("board/") else ("-f", "interface/stlink.cfg")
    serial = () if probe is None else _commands(f"adapter serial {probe}")
    return (*interface, "-f", board.openocd, *serial, *_commands(*(f"{port} disabled" for port in _PORTS)))


def _commands(*commands: str) -> Command:
    return tuple(argument for command in commands for argument in ("-c", command))
