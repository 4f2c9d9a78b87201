"""Proof that a network runs on a board: its firmware is run there, and every output compared byte for byte."""

import hashlib
import math
import time
from dataclasses import dataclass
from statistics import median_low

from automcu.board import Board
from automcu.deploy.boards.link import BoardLink, BoardSession, Inference
from automcu.deploy.boards.virtual import VirtualSession
from automcu.deploy.images import Firmware, FirmwareOptions, build_firmware
from automcu.deploy.latency.energy import inference_millijoules
from automcu.deploy.latency.estimate import estimate_cycles
from automcu.deploy.samples import Samples
from automcu.deploy.toolchain.toolchain import Image, Toolchain
from automcu.errors import CandidateFailure, InfraFailure
from automcu.results import Measurement


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What a board did with samples: how many outputs were the expected ones, the median ticks of one inference, and
    the deepest stack and its reserve in bytes."""

    checked: int
    matching: int
    ticks: int
    stack_peak_bytes: int
    stack_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class Prover:
    """Builds firmware for one board and runs it over one link."""

    board: Board
    toolchain: Toolchain
    link: BoardLink
    options: FirmwareOptions

    def build(self, tflite: bytes) -> Firmware:
        """The firmware of the network in `tflite`; raises as `build_firmware`."""
        return build_firmware(tflite, self.board, self.toolchain, self.options)

    def measure(self, firmware: Firmware, samples: Samples) -> Measurement:
        """What the board says of the firmware. A wrong output is told, not raised; raises what the link does, and as
        `run_samples`."""
        with self.link.open(firmware.image) as session:
            run = run_samples(session, firmware.network_sha256, samples)
            cycles, source = self._cycles(session, run, firmware.image, samples)
        millijoules = None if cycles is None else inference_millijoules(self.board.name, cycles)
        return Measurement(
            board=self.board.name,
            link=self.link.name,
            unit=self.link.unit,
            ticks=run.ticks,
            checked=run.checked,
            matching=run.matching,
            flash_bytes=firmware.image.flash_bytes,
            ram_bytes=firmware.image.ram_bytes,
            arena_bytes=firmware.plan.arena_bytes,
            stack_peak_bytes=run.stack_peak_bytes,
            stack_bytes=run.stack_bytes,
            latency_ms=None if cycles is None else 1000 * cycles / self.board.clock_hz,
            latency_source=source,
            energy_uj=None if millijoules is None else 1000 * millijoules,
            kernels=firmware.kernels,
            toolchain=firmware.image.toolchain,
            image_sha256=hashlib.sha256(firmware.image.elf).hexdigest(),
        )

    def _cycles(self, session: BoardSession, run: Run, image: Image, samples: Samples) -> tuple[float | None, str]:
        """Clock cycles of one inference, None where nothing is known, and where they come from."""
        if isinstance(session, VirtualSession):
            profile = session.profile(samples.inputs[0].tobytes())
            estimate = estimate_cycles(profile.blocks, self.board.core, image.constant_bytes)
            return estimate.cycles, f"estimate: executed instructions by a timing table of the {self.board.core}"
        if self.link.unit == "cycles":
            return run.ticks, f"{run.ticks:,} cycles measured on the board, at its full clock"
        return None, f"unknown: {self.link.name} gives {self.link.unit}, not cycles"


def run_samples(session: BoardSession, network_sha256: str, samples: Samples, limit_seconds: float = math.inf) -> Run:
    """Run the samples on a board: all, or those that are begun within `limit_seconds`, one at least.

    Raises what the session raises; `InfraFailure` when the board runs another network than `network_sha256` (hex, of
    the .tflite file), `CandidateFailure` when the stack outgrows its reserve.
    """
    _require_network(session, network_sha256)
    deadline = time.monotonic() + limit_seconds
    answers: list[Inference] = []
    for sample in samples.inputs:
        if answers and time.monotonic() > deadline:
            break
        answers.append(session.infer(sample.tobytes()))
    statistics = session.statistics()
    if statistics.stack_peak_bytes >= statistics.stack_bytes:
        raise CandidateFailure(
            f"the stack took all {statistics.stack_bytes:,} bytes of its reserve; raise the board's reserved_ram_bytes"
        )
    matching = sum(
        answer.outputs == expected.tobytes()
        for answer, expected in zip(answers, samples.outputs[: len(answers)], strict=True)
    )
    ticks = median_low(answer.ticks for answer in answers)
    return Run(len(answers), matching, ticks, statistics.stack_peak_bytes, statistics.stack_bytes)


def _require_network(session: BoardSession, sha256: str) -> None:
    told = session.identify().network_sha256
    if told != sha256:
        raise InfraFailure(f"the board runs network {told[:12]}, not {sha256[:12]}; flash it again")
