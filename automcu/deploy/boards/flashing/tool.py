"""The seam of flashing tools: how one is called, and how what it prints is read."""

import re
from typing import Protocol

from automcu.board import Board

FIRMWARE = "firmware.bin"
"""The image's file in the folder where the tool runs: a plain name, so that no tool has to quote it."""

PROBE = re.compile(r"[\w.:-]{1,64}", re.ASCII)
"""The serial number of a probe; nothing that a tool could take for more than that."""

Command = tuple[str, ...]
"""A program's name on PATH, and its arguments."""

Remedies = tuple[tuple[str, str], ...]
"""Texts of failures, in lower case, each with what a user can do about it."""


class FlashTool(Protocol):
    """An installed program that writes Flash over a debug probe. `probe` is a probe's serial number everywhere, None
    for the only one that is connected.

    None of these tools can be trusted by its exit status alone, nor by its text alone: a command has succeeded when the
    status is 0, `failure` matches no part of its output, and, once all commands of `write` have run, `done` is there.
    """

    name: str
    """As in the configuration."""
    program: str
    """Its executable, on PATH."""
    failure: re.Pattern[str]
    """A line that says what went wrong, whatever the exit status."""
    done: str
    """What it prints when Flash was read back and found to hold the image."""
    remedies: Remedies
    """Known failures before anything is written."""

    def supports(self, board: Board) -> bool:
        """Whether the tool can be told what the board's part is."""
        ...

    def identify(self, board: Board, probe: str | None) -> Command:
        """Connect to the part and print its device ID; Flash stays as it is. Fails where `write` could not begin."""
        ...

    def device_id(self, output: str, probe: str | None) -> int | None:
        """The device ID in what `identify` printed, None when there is none, or it is not told whose."""
        ...

    def write(self, board: Board, probe: str | None, address: int) -> tuple[Command, ...]:
        """Write `FIRMWARE` to `address`, compare, and start it."""
        ...
