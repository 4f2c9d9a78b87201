"""STM32CubeProgrammer, ST's own tool. Texts as in logs of versions 2.2 to 2.20 that users published."""

import re

from automcu.board import Board
from automcu.deploy.boards.flashing.device_id import device_id_of
from automcu.deploy.boards.flashing.tool import FIRMWARE, Command, Remedies

_DEVICE_ID = re.compile(r"^Device ID\s*:\s*0x([0-9A-Fa-f]{1,8})\s*$", re.MULTILINE)


class ProgrammerCli:
    """`STM32_Programmer_CLI`. It connects under reset, so that whatever runs on the part cannot keep it out."""

    name = "stm32_programmer_cli"
    program = "STM32_Programmer_CLI"
    failure = re.compile(r"^\s*Error: .*", re.MULTILINE)
    done = "Download verified successfully"
    remedies: Remedies = (
        ("no st-link detected", "connect the board by its ST-LINK connector"),
        ("no debug probe detected", "connect the board by its ST-LINK connector"),
        ("dev_usb_comm_err", "close other programs that use the probe, and connect the board anew"),
        ("no stm32 target found", "check that the board has power and nothing else holds its debug port"),
        ("unable to get core id", "check that the board has power and nothing else holds its debug port"),
    )

    def supports(self, board: Board) -> bool:
        """It finds out by itself what the part is."""
        return True

    def identify(self, board: Board, probe: str | None) -> Command:
        """Connecting prints the device ID."""
        return (self.program, *_connect(probe))

    def device_id(self, output: str, probe: str | None) -> int | None:
        """From the line "Device ID : 0x421"."""
        found = _DEVICE_ID.search(output)
        return None if found is None else device_id_of(found[1])

    def write(self, board: Board, probe: str | None, address: int) -> tuple[Command, ...]:
        """`-v` must follow the write at once; a .bin needs its address."""
        return ((self.program, *_connect(probe), "-w", FIRMWARE, f"{address:#010x}", "-v", "-rst"),)


def _connect(probe: str | None) -> Command:
    serial = () if probe is None else (f"sn={probe}",)
    return ("-c", "port=SWD", *serial, "mode=UR", "reset=HWrst")
