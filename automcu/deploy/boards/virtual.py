"""Virtual boards: any board of the table, by Unicorn, with the part's exact Flash and RAM."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from automcu.board import Board
from automcu.deploy.boards.emulator import Emulator
from automcu.deploy.boards.link import Inference, Unit
from automcu.deploy.boards.profile import Profile, profile_of
from automcu.deploy.boards.protocol import ProtocolSession
from automcu.deploy.toolchain.toolchain import Image


class VirtualSession(ProtocolSession):
    """A `BoardSession`. `Inference.ticks` are the instructions of `network_run`, counted by the emulator: exact, the
    same each time, and whatever the firmware's own counter can hold."""

    def __init__(self, emulator: Emulator, image: Image, limit_seconds: float) -> None:
        super().__init__(emulator, image.symbols, limit_seconds)
        self._emulator = emulator
        self._image = image

    def infer(self, inputs: bytes) -> Inference:
        """See `BoardSession`."""
        return replace(super().infer(inputs), ticks=self._emulator.counter.run_executed)

    def profile(self, inputs: bytes) -> Profile:
        """What an inference of `inputs` executes, and reads from Flash; raises as `infer`, and takes longer."""
        with self._emulator.counting_flash_reads():
            super().infer(inputs)
        return profile_of(self._image, self._emulator.counter.blocks())


class VirtualBoard:
    """`board` as a `BoardLink`. A call may take `limit_seconds` of this host's time."""

    name = "virtual"
    unit: Unit = "instructions"

    def __init__(self, board: Board, limit_seconds: float = 60.0) -> None:
        self._board = board
        self._limit_seconds = limit_seconds

    @contextmanager
    def open(self, image: Image) -> Iterator[VirtualSession]:
        """See `BoardLink`."""
        emulator = Emulator(self._board, image, self._limit_seconds)
        try:
            session = VirtualSession(emulator, image, self._limit_seconds)
            session.identify()
            yield session
        finally:
            emulator.close()
