"""The tier that asks ST's own compiler: `stedgeai`, the command line of ST Edge AI Core (X-CUBE-AI 9 and later).

`generate` compiles the network, and where it finds an Arm GCC its report states the runtime's Flash and RAM; `analyze`
never does. Neither says anything about fit: both end well for a network that fits no part, so the figures are judged by
the gate like any others.
"""

import os
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Literal

from automcu.errors import AutoMCUError
from automcu.feasibility.program import ProgramFailure, child_environment, run_program
from automcu.feasibility.st.errors import StToolError, StUnsupportedLayer, classify_error
from automcu.feasibility.st.facts import facts_by_st
from automcu.feasibility.st.reports import StReport, read_c_info, read_text_report, read_version
from automcu.feasibility.temporary import temporary_folder
from automcu.graph.int8 import Int8Graph
from automcu.results import FeasibilityReport

ARM_GCC = "arm-none-eabi-gcc"
"""The compiler that the tool looks for on PATH."""

_Command = Literal["analyze", "generate"]
_REPORT_LIMIT_BYTES = 64_000_000


def find_stedgeai(program: str = "stedgeai") -> Path | None:
    """The tool's executable, as an absolute path, by its name on PATH or its path; None when there is none."""
    found = shutil.which(program)
    return None if found is None else Path(found).absolute()


class StEdgeAi:
    """ST Edge AI's figures for one series of parts, such as `stm32f4`: the exact one, as its kernels differ by core.

    See `facts_by_st` for what is the tool's own word.
    """

    name = "stedgeai"

    def __init__(self, program: Path, target: str, time_limit_seconds: float = 120.0) -> None:
        """`program` is the executable; `time_limit_seconds` holds for one run of it."""
        self.program = program.absolute()
        self.target = target
        self._time_limit_seconds = time_limit_seconds

    def report(self, graph: Int8Graph, model_file: Callable[[], Path]) -> FeasibilityReport:
        """What the tool says of the network's file.

        Raises `StUnsupportedLayer` or `StRejectedModel` (both `CandidateFailure`) when the tool does not support the
        network; `ProgramFailure`, `StArgumentError`, `StBenchError` or `StToolError` (all `InfraFailure`) when the tool
        itself fails: it cannot be started, hangs, refuses its arguments, or ends without a report that can be read.
        """
        version = self.version  # first: a tool that cannot even tell its version is broken, whatever the network
        found, unstated = self._compile(model_file())
        return facts_by_st(self, "stedgeai", version, graph, found, unstated)

    @cached_property
    def version(self) -> str:
        """The tool's version, with its pack where that is known: `4.0.1-20581 (STM32CubeAI 12.0.1)`.

        Raises `ProgramFailure` or `StToolError` (both `InfraFailure`), and asks again the next time.
        """
        with temporary_folder() as folder:
            done = run_program([self.program, "--version"], folder, self._time_limit_seconds)
        try:
            if done.status == 0:
                return str(read_version(done.output))
        except StToolError:
            pass
        raise StToolError(
            f"{self.program} --version printed no version of ST Edge AI (status {done.status}); check "
            "feasibility.stedgeai"
        )

    def close(self) -> None:
        """Nothing to free: every run of the tool ends before its report is read."""

    def _compile(self, model: Path) -> tuple[StReport, str]:
        """The tool's report, and why it may lack the runtime's figures.

        `generate` is tried where the tool can find an Arm GCC. When it fails and `analyze` does not, the toolchain is
        at fault, not the network.
        """
        if shutil.which(ARM_GCC, path=child_environment().get("PATH", "")) is None:
            return self._run("analyze", model), f"no {ARM_GCC} on PATH"
        try:
            return self._run("generate", model), "not in its report"
        except (ProgramFailure, StUnsupportedLayer):
            raise  # `analyze` would end the same way
        except AutoMCUError:
            return self._run("analyze", model), "generate failed"

    def _run(self, command: _Command, model: Path) -> StReport:
        with temporary_folder() as folder:
            called = arguments(self.program, command, model, self.target, folder)
            done = run_program(called, folder, self._time_limit_seconds)
            if done.status:
                raise classify_error(done.status, done.output)
            return read_reports(folder / OUT, command)


OUT = "out"
"""Where the tool writes its reports and its C code, in the folder where it runs."""


def arguments(program: Path, command: str, model: Path, target: str, folder: Path) -> list[str | Path]:
    """A call of the tool that works in `folder`. All calls compile alike: without loss, for the least RAM."""
    called: list[str | Path] = [program, command, "-m", model.resolve(), "--target", target]
    called += ["-t", "tflite", "-c", "lossless", "-O", "ram", "-n", "network", "-o", folder / OUT]
    return [*called, "-w", folder / "ws", "-v", "1", "--quiet"]


def read_reports(out: Path, command: _Command) -> StReport:
    """The report in `network_c_info.json`, or else the text report. Raises `StToolError` when neither can be read."""
    readers = (("network_c_info.json", read_c_info), (f"network_{command}_report.txt", read_text_report))
    failure = StToolError(
        "ST Edge AI ended without a report that can be read; use a version from X-CUBE-AI 5 to ST Edge AI 4, or "
        "feasibility=planner"
    )
    for name, read in readers:
        content = read_file(out, name)
        if content is not None:
            try:
                return read(content)
            except StToolError as error:
                failure = error
    raise failure


def read_file(folder: Path, name: str) -> str | None:
    """The text of a regular file that lies in `folder` itself and is not too large; no link is followed."""
    with suppress(OSError):
        inside = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            number = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=inside)
        finally:
            os.close(inside)
        with open(number, "rb") as file:
            if stat.S_ISREG(os.fstat(number).st_mode):
                content = file.read(_REPORT_LIMIT_BYTES + 1)
                if len(content) <= _REPORT_LIMIT_BYTES:
                    return content.decode("utf-8", "replace")
    return None
