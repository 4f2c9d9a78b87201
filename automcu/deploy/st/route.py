"""What `stedgeai` does for a board: C code for ST's runtime with a project to compile it, and latency on the part."""

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from automcu.board import Board
from automcu.deploy.st.makefile import makefile
from automcu.deploy.st.profile import StProfile, read_profile
from automcu.errors import CandidateFailure, InfraFailure
from automcu.feasibility.program import run_program
from automcu.feasibility.st.errors import StBenchError, StToolError, classify_error
from automcu.feasibility.st.reports import StReport
from automcu.feasibility.st.stedgeai import OUT, StEdgeAi, arguments, read_file, read_reports
from automcu.feasibility.temporary import temporary_folder

BAUD_RATE = 115_200
"""That of ST's validation firmware on STM32 boards."""
SAMPLES = 10
"""Inferences on the board, with random inputs."""
MAKEFILE = "Makefile"

_FILE_LIMIT_BYTES = 256_000_000
_REPORT_REMEDY = "report it, with the tool's version"
_SLOW_REMEDY = "check that the board is not stuck, or give a larger time limit"
_NO_FIRMWARE = ("Invalid firmware", "Unable to bind", "No weights are available")


@dataclass(frozen=True, slots=True, eq=False)
class StProject:
    """C code of ST Edge AI for one board: all `files` by name, a `Makefile` among them, and what the tool reports.

    ST's runtime is not among them: its licence is ST's. The Makefile takes it from an installation of the tool.
    """

    files: Mapping[str, bytes]
    report: StReport
    version: str


class StRoute:
    """ST Edge AI for one board. Raises `InfraFailure` when the tool does not support the board's series.

    What can go wrong with the tool itself is as in `StEdgeAi.report`.
    """

    def __init__(self, program: Path, board: Board, time_limit_seconds: float = 300.0) -> None:
        """`program` is the executable; `time_limit_seconds` holds for one run of it."""
        if board.stedgeai_target is None:
            raise InfraFailure(f"ST Edge AI does not support the part of {board.name}; use AutoMCU's own runtime")
        self._board = board
        self._tool = StEdgeAi(program, board.stedgeai_target, time_limit_seconds)
        self._time_limit_seconds = time_limit_seconds

    def generate(self, tflite: bytes) -> StProject:
        """The network as a project for ST's runtime."""
        version = self._tool.version
        with temporary_folder() as folder:
            self._run("generate", tflite, folder, ())
            report = read_reports(folder / OUT, "generate")
            files = _c_files(folder / OUT)
        if not any(name.endswith(".c") for name in files):
            raise StToolError(f"ST Edge AI {version} ended without C code; {_REPORT_REMEDY}")
        return StProject({**files, MAKEFILE: makefile(self._board, sorted(files)).encode()}, report, version)

    def measure(self, tflite: bytes, port: str) -> StProfile:
        """Run the network on the board at the serial port `port`, on which ST's validation firmware with this very
        network must run. ST's tool opens the port itself.

        Raises `StBenchError` when the board does not answer as it should, or it was not the board that ran.
        """
        options = ("--mode", "target", "-d", f"serial:{port}:{BAUD_RATE}", "-b", str(SAMPLES), "--seed", "42")
        with temporary_folder() as folder:
            output = self._run("validate", tflite, folder, options)
            text = output if "Profiling results" in output else read_file(folder / OUT, "network_validate_report.txt")
        if text is None or "Profiling results" not in text:
            error = classify_error(0, output)  # it ends well, too, where it reached no board
            if isinstance(error, CandidateFailure):
                raise StToolError(f"ST Edge AI {self._tool.version} ended without a profile; {_REPORT_REMEDY}")
            raise _bench(error)
        profile = read_profile(text)
        if profile.cycles_per_mac is None:
            raise StBenchError("ST Edge AI ran the network on this host, not on the board; check how the port is given")
        return profile

    def _run(self, command: str, tflite: bytes, folder: Path, options: tuple[str, ...]) -> str:
        model = folder / "network.tflite"
        try:
            model.write_bytes(tflite)
        except OSError as error:
            raise InfraFailure(f"no temporary file can be written ({error.strerror}); free disk space") from error
        called = arguments(self._tool.program, command, model, self._tool.target, folder)
        done = run_program([*called, *options], folder, self._time_limit_seconds, slow_remedy=_SLOW_REMEDY)
        if done.status:
            raise _bench(classify_error(done.status, done.output))
        return done.output


def _bench(error: Exception) -> Exception:
    """A board on which something else runs needs another remedy than a loose cable."""
    told = str(error)
    if isinstance(error, StBenchError) and any(text in told for text in _NO_FIRMWARE):
        return StBenchError(
            f"{told.partition(';')[0]}; flash the validation firmware that STM32CubeMX makes of this very network"
        )
    return error


def _c_files(out: Path) -> dict[str, bytes]:
    """The regular `.c` and `.h` files that lie in `out` itself; no link is followed.

    Raises `StToolError` when they cannot be read, or are too large for any part.
    """
    files = {}
    with suppress(FileNotFoundError, NotADirectoryError):
        for name in sorted(os.listdir(out)):
            path = out / name
            if path.suffix not in (".c", ".h") or not stat.S_ISREG(path.lstat().st_mode):
                continue
            if path.stat().st_size > _FILE_LIMIT_BYTES:
                raise StToolError(f"ST Edge AI wrote {name:.80} of {path.stat().st_size:,} bytes; {_REPORT_REMEDY}")
            try:
                files[name] = path.read_bytes()
            except OSError as error:
                raise StToolError(
                    f"what ST Edge AI wrote cannot be read ({error.strerror}); {_REPORT_REMEDY}"
                ) from error
    return files
