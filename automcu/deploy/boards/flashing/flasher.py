"""Flashing an image: the part is asked what it is, then written, compared and started.

What goes wrong before the first write is `BoardUnavailable`, as nothing has changed; what goes wrong from there on is
`FlashFailed`, as the image may be partly on the part. Neither is tried again here.
"""

import shutil
from pathlib import Path
from typing import Protocol

from automcu.board import Board
from automcu.deploy.boards.flashing.device_id import device_id
from automcu.deploy.boards.flashing.openocd import OpenOcd
from automcu.deploy.boards.flashing.programmer_cli import ProgrammerCli
from automcu.deploy.boards.flashing.pyocd import PyOcd
from automcu.deploy.boards.flashing.st_flash import StFlash
from automcu.deploy.boards.flashing.tool import FIRMWARE, PROBE, Command, FlashTool
from automcu.deploy.boards.link import BoardUnavailable, FlashFailed
from automcu.deploy.toolchain.toolchain import Image
from automcu.errors import ConfigError, InfraFailure
from automcu.feasibility.program import Completed, ProgramFailure, run_program
from automcu.feasibility.temporary import temporary_folder

TOOLS: tuple[FlashTool, ...] = (ProgrammerCli(), OpenOcd(), PyOcd(), StFlash())
"""In the order in which they are preferred: the vendor's first."""
_SHOWN_CHARACTERS = 200


class Flasher(Protocol):
    """Writes images to wired-up boards."""

    name: str

    def flash(self, board: Board, image: Image, probe: str | None) -> None:
        """Write `image` to the board behind the probe with that serial number (None: the only one), compare, start it.

        Raises `BoardUnavailable` when nothing was written, `FlashFailed` when something may have been.
        """
        ...


class ToolFlasher:
    """Flashes with a tool on PATH; a tool that hangs, or prints without end, is killed with all that it started."""

    def __init__(self, tool: FlashTool, time_limit_seconds: float = 120.0) -> None:
        """`time_limit_seconds` holds for one run of the tool."""
        self.name = tool.name
        self._tool = tool
        self._time_limit_seconds = time_limit_seconds

    def flash(self, board: Board, image: Image, probe: str | None) -> None:
        """See `Flasher`."""
        if probe is not None and PROBE.fullmatch(probe) is None:
            raise BoardUnavailable(f"{probe!r:.80} is no serial number of a probe; give it as the tool lists it")
        with temporary_folder() as folder:
            try:
                (folder / FIRMWARE).write_bytes(image.binary)
            except OSError as error:
                raise InfraFailure(f"no temporary file can be written ({error.strerror}); free disk space") from error
            self._check_part(board, probe, folder)
            self._write(self._tool.write(board, probe, image.load_address), folder)

    def _check_part(self, board: Board, probe: str | None, folder: Path) -> None:
        expected = device_id(board)
        if expected is None:
            raise BoardUnavailable(
                f"the device ID of {board.part} is not known, so that no other part could be told from it; add it to "
                "automcu/deploy/boards/flashing/device_id.py"
            )
        try:
            done = self._run(self._tool.identify(board, probe), folder)
        except ProgramFailure as error:
            raise BoardUnavailable(f"{_reason(error)}; check the tool, and connect the board anew") from error
        found = self._tool.device_id(done.output, probe)
        complaint = self._complaint(done)
        if complaint is not None or found is None:
            remedy = next(
                (remedy for text, remedy in self._tool.remedies if text in done.output.lower()),
                "check that one board is connected, has power, and is not in use; or give the serial number of its "
                "probe",
            )
            told = complaint or "it printed no device ID"
            raise BoardUnavailable(f"{self.name} reaches no {board.name}: {told}; {remedy}")
        if found != expected:
            raise BoardUnavailable(
                f"the part at the probe has device ID {found:#x}, a {board.part} has {expected:#x}; wire up a "
                f"{board.name}, or give the serial number of its probe"
            )

    def _write(self, commands: tuple[Command, ...], folder: Path) -> None:
        output = ""
        for command in commands:
            try:
                done = self._run(command, folder)
            except ProgramFailure as error:
                raise FlashFailed(f"while the image was written, {_reason(error)}; {_AFTER_A_FAILURE}") from error
            complaint = self._complaint(done)
            if complaint is not None:
                raise FlashFailed(f"{self.name} failed to write the image: {complaint}; {_AFTER_A_FAILURE}")
            output += done.output
        if self._tool.done not in output:
            raise FlashFailed(f"{self.name} did not say that what it wrote is right; {_AFTER_A_FAILURE}")

    def _run(self, command: Command, folder: Path) -> Completed:
        return run_program(command, folder, self._time_limit_seconds)

    def _complaint(self, done: Completed) -> str | None:
        """What went wrong in a run of the tool; None when nothing did."""
        failure = self._tool.failure.search(done.output)
        if failure is not None:
            return _shown(failure[0])
        if done.status == 0:
            return None
        lines = [line for line in done.output.splitlines() if line.strip()]
        return _shown(f"status {done.status}, {lines[-1] if lines else 'nothing printed'}")


_AFTER_A_FAILURE = "look at the board and its cable, then deploy anew"


def find_flasher(board: Board, name: str = "auto", time_limit_seconds: float = 120.0) -> ToolFlasher:
    """The flasher called `name`, or, for "auto", the first of `TOOLS` that is on PATH and knows the board.

    Raises `ConfigError` for a name that is none, and `BoardUnavailable` when no tool can do it.
    """
    known = {tool.name: tool for tool in TOOLS}
    if name != "auto" and name not in known:
        raise ConfigError(f"no flashing tool is named {name!r:.60}; use auto or one of: {', '.join(known)}")
    for tool in TOOLS if name == "auto" else (known[name],):
        if shutil.which(tool.program) is not None and tool.supports(board):
            return ToolFlasher(tool, time_limit_seconds)
    wanted = ", ".join(tool.program for tool in TOOLS if name in ("auto", tool.name) and tool.supports(board))
    if not wanted:
        raise BoardUnavailable(f"{name} has no configuration for {board.name}; choose another flashing tool")
    raise BoardUnavailable(f"no tool to flash {board.name} is on PATH; install one of: {wanted}")


def _reason(error: ProgramFailure) -> str:
    """What happened; the remedy after it is that of a feasibility check."""
    return str(error).partition(";")[0]


def _shown(text: str) -> str:
    """Foreign text, fit to be a part of a message."""
    return "".join(c if c.isprintable() else " " for c in text.strip()[:_SHOWN_CHARACTERS]).strip()
