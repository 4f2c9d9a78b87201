"""pyOCD. Texts as its version 0.46 prints them."""

import re

from automcu.board import Board
from automcu.deploy.boards.flashing.device_id import device_id_of, idcode_address
from automcu.deploy.boards.flashing.tool import FIRMWARE, Command, Remedies

_BUILT_IN = {"STM32H743": "stm32h743xx", "STM32L432": "stm32l432kc", "STM32L475": "stm32l475xg"}
"""Parts of the board table that need no pack."""
_IDCODE = re.compile(r"^[0-9a-f]{8}:\s+([0-9a-f]{8})\b", re.MULTILINE)


class PyOcd:
    """`pyocd`. It does not compare by itself what it wrote, and waits for ever for a probe unless told not to."""

    name = "pyocd"
    program = "pyocd"
    failure = re.compile(
        r"^\d{7} [CE] .*|^(?:Error|Exception)\b.*|^No connected debug probe.*|^Mismatched byte.*", re.MULTILINE
    )
    done = " bytes match."
    remedies: Remedies = (
        ("no connected debug probe", "connect the board by its ST-LINK connector"),
        ("no target device available", "connect the board by its ST-LINK connector"),
        ("not recognized", "install its pack with `pyocd pack install`, or choose another flashing tool"),
        ("permission", "let your user open the probe (udev rules)"),
    )

    def supports(self, board: Board) -> bool:
        """Each part has a pack of its maker, although perhaps not on this machine."""
        return True

    def identify(self, board: Board, probe: str | None) -> Command:
        """Reads `DBGMCU_IDCODE`, as the very target that is written later: its pack must be there."""
        return _commander(board, probe, f"read32 {idcode_address(board):#010x}")

    def device_id(self, output: str, probe: str | None) -> int | None:
        """From the line "e0042000:  10006421    |..d!|"."""
        found = _IDCODE.search(output)
        return None if found is None else device_id_of(found[1])

    def write(self, board: Board, probe: str | None, address: int) -> tuple[Command, ...]:
        """Write; then read back and compare; then start."""
        load = (self.program, "load", *_connect(board, probe), "--format", "bin", "-a", f"{address:#010x}", FIRMWARE)
        return (load, _commander(board, probe, f"compare {address:#010x} {FIRMWARE}", "reset"))


def target_name(board: Board) -> str:
    """pyOCD's name for the board's part: its own, or else that of the maker's packs, such as `stm32f446retx`."""
    own = next((name for part, name in _BUILT_IN.items() if board.part.startswith(part)), None)
    return own or f"{board.part[:12]}x{board.part[13:]}".lower()  # whatever its temperature range


def _connect(board: Board, probe: str | None) -> Command:
    serial = () if probe is None else ("-u", probe)
    return ("--no-wait", "--no-config", "-t", target_name(board), *serial)


def _commander(board: Board, probe: str | None, *commands: str) -> Command:
    asked = tuple(argument for command in commands for argument in ("-c", command))
    return (PyOcd.program, "commander", *_connect(board, probe), *asked)
