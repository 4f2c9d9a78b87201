"""st-flash and st-info of the open stlink tools. Texts as their versions 1.6 to 1.8 print them."""

import re

from automcu.board import Board
from automcu.deploy.boards.flashing.device_id import device_id_of
from automcu.deploy.boards.flashing.tool import FIRMWARE, Command, Remedies

_PROBE = re.compile(r"^\s*version:", re.MULTILINE)
_SERIAL = re.compile(r"^\s*serial:\s*(\w+)", re.MULTILINE)
_CHIP_ID = re.compile(r"^\s*chipid:\s*0x([0-9A-Fa-f]{1,8})\s*$", re.MULTILINE)


class StFlash:
    """`st-flash`, which compares by itself what it wrote. `st-info` comes with it, and ends with status 0 without any
    probe."""

    name = "st-flash"
    program = "st-flash"
    failure = re.compile(r"^.*\bERROR\b.*|^.*Couldn't find any ST-Link devices.*|^Found 0 stlink.*", re.MULTILINE)
    done = "Flash written and verified! jolly good!"
    remedies: Remedies = (
        ("found 0 stlink", "connect the board by its ST-LINK connector, and let your user open it (udev rules)"),
        ("couldn't find any st-link", "connect the board by its ST-LINK connector"),
    )

    def supports(self, board: Board) -> bool:
        """It finds out by itself what the part is."""
        return True

    def identify(self, board: Board, probe: str | None) -> Command:
        """Lists all probes, each with the part behind it."""
        return ("st-info", "--probe")

    def device_id(self, output: str, probe: str | None) -> int | None:
        """From the line "chipid: 0x421" of the probe; of the only one when `probe` is None."""
        found = []
        for told in _PROBE.split(output)[1:]:
            serial, chip = _SERIAL.search(told), _CHIP_ID.search(told)
            if probe is None or (serial is not None and serial[1].upper() == probe.upper()):
                found.append(None if chip is None else device_id_of(chip[1]))
        return found[0] if len(found) == 1 else None

    def write(self, board: Board, probe: str | None, address: int) -> tuple[Command, ...]:
        """A reset at the end starts the image."""
        serial = () if probe is None else ("--serial", probe)
        return ((self.program, "--reset", *serial, "write", FIRMWARE, f"{address:#010x}"),)
