"""Proof that a network runs on a board: its firmware is run there, and every output compared byte for byte."""

import hashlib
from dataclasses import dataclass
from statistics import median_low

from automcu.board import Board
from automcu.deploy.boards.link import BoardLink, BoardSession
from automcu.deploy.images import Firmware, FirmwareOptions, build_firmware
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
        """What the board says of the firmware. A wrong output is told, not raised; raises as `run_samples`."""
        run = run_samples(self.link, firmware.image, firmware.network_sha256, samples)
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
            latency_ms=None,
            latency_source="unknown",
            energy_uj=None,
            kernels=firmware.kernels,
            toolchain=firmware.image.toolchain,
            image_sha256=hashlib.sha256(firmware.image.elf).hexdigest(),
        )


def run_samples(link: BoardLink, image: Image, network_sha256: str, samples: Samples) -> Run:
    """Run all samples on a board. Raises what the link and its session raise; `InfraFailure` when the board runs
    another network than `network_sha256` (hex, of the .tflite file), `CandidateFailure` when the stack outgrows its
    reserve."""
    with link.open(image) as session:
        _require_network(session, network_sha256)
        answers = [session.infer(sample.tobytes()) for sample in samples.inputs]
        statistics = session.statistics()
    if statistics.stack_peak_bytes >= statistics.stack_bytes:
        raise CandidateFailure(
            f"the stack took all {statistics.stack_bytes:,} bytes of its reserve; raise the board's reserved_ram_bytes"
        )
    matching = sum(
        answer.outputs == expected.tobytes() for answer, expected in zip(answers, samples.outputs, strict=True)
    )
    ticks = median_low(answer.ticks for answer in answers)
    return Run(len(answers), matching, ticks, statistics.stack_peak_bytes, statistics.stack_bytes)


def _require_network(session: BoardSession, sha256: str) -> None:
    told = session.identify().network_sha256
    if told != sha256:
        raise InfraFailure(f"the board runs network {told[:12]}, not {sha256[:12]}; flash it again")
