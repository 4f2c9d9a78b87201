"""The seam of boards: an image is put on a board, and the firmware on it answers."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

from automcu.deploy.toolchain.toolchain import Image
from automcu.errors import CandidateFailure, InfraFailure

Unit = Literal["instructions", "cycles", "nanoseconds"]
"""What a board counts while it infers: an emulator executed instructions, a real core clock cycles, a host time."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What the firmware says of itself. `network_sha256` (hex) is that of the .tflite file it was emitted from; sizes
    are in bytes; `clock_hz` is the clock that the firmware runs on."""

    network_sha256: str
    input_bytes: int
    output_bytes: int
    arena_bytes: int
    clock_hz: int


@dataclass(frozen=True, slots=True)
class Inference:
    """One answer: the outputs' bytes, in the order of the graph's outputs, and what it took, in the board's unit."""

    outputs: bytes
    ticks: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """Measured on the board, in bytes: the deepest stack since start, the stack's reserve, and static RAM beside arena
    and stack (`.data` and `.bss`)."""

    stack_peak_bytes: int
    stack_bytes: int
    static_ram_bytes: int


class BoardUnavailable(InfraFailure):
    """There is no board to run on: no probe or port, a tool is missing, or it is the wrong part."""


class BoardDisconnected(InfraFailure):
    """The board went away, or what comes from it is no longer the protocol."""


class FlashFailed(InfraFailure):
    """The image may be partly on the board. It is never flashed again blindly."""


class BoardHung(CandidateFailure):
    """The firmware does not answer within its time limit."""


class BoardFault(CandidateFailure):
    """The firmware ran into a fault, such as an access outside the part's memory."""


class BoardSession(Protocol):
    """A board with the image running on it. Calls raise `BoardHung`, `BoardFault` or `BoardDisconnected`."""

    def identify(self) -> Identity:
        """What runs on the board."""
        ...

    def infer(self, inputs: bytes) -> Inference:
        """Run the network once; `inputs` has `Identity.input_bytes`."""
        ...

    def statistics(self) -> Statistics:
        """What was measured since start."""
        ...


class BoardLink(Protocol):
    """A way to run images. `name` is as in the configuration; `unit` is what `Inference.ticks` counts."""

    name: str
    unit: Unit

    def open(self, image: Image) -> AbstractContextManager[BoardSession]:
        """Put `image` on the board and start it; leaving the context stops it and frees everything, always.

        Raises `BoardUnavailable`, `FlashFailed`, `BoardFault` or `BoardHung`.
        """
        ...
