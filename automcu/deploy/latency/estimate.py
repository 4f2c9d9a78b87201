"""From executed instructions to clock cycles: blocks through a core's timing, and what waiting for Flash adds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from automcu.deploy.latency.dual_issue import CortexM7, CortexM33
from automcu.deploy.latency.in_order import CORTEX_M0, CORTEX_M0_PLUS, CORTEX_M3, CORTEX_M4
from automcu.deploy.latency.instruction import Instruction, decode
from automcu.errors import ConfigError


class CoreTiming(Protocol):
    """How long a core takes for a basic block."""

    @property
    def mispredicted_cycles(self) -> float:
        """What a branch costs that goes the rarer way, where branches are predicted."""
        ...

    def block_cycles(self, block: Sequence[Instruction]) -> float:
        """Cycles of one execution of a basic block whose last instruction does not branch."""
        ...

    def taken_cycles(self, block: Sequence[Instruction]) -> float:
        """What a block takes longer when its last instruction leads elsewhere."""
        ...


TIMINGS: Mapping[str, CoreTiming] = {
    "cortex-m0": CORTEX_M0,
    "cortex-m0+": CORTEX_M0_PLUS,
    "cortex-m3": CORTEX_M3,
    "cortex-m4f": CORTEX_M4,
    "cortex-m7f": CortexM7(),
    "cortex-m33f": CortexM33(),
}
"""By the names of the board table."""


@dataclass(frozen=True, slots=True)
class FlashCost:
    """`cycles_per_byte` are lost for each byte of data read from Flash at full clock; if `cached`, for a byte that was
    read before nothing is."""

    cycles_per_byte: float
    cached: bool


FLASH_COSTS: Mapping[str, FlashCost] = {
    "cortex-m0": FlashCost(0.25, False),
    "cortex-m0+": FlashCost(0.25, False),
    "cortex-m3": FlashCost(0.50, False),
    "cortex-m4f": FlashCost(0.50, False),
    "cortex-m7f": FlashCost(0.26, True),
    "cortex-m33f": FlashCost(0.43, True),
}
"""Measured as the difference between weights in Flash and in RAM (MLPerf Tiny v1.2, Bosch, fully connected layers that
read each weight once): STM32L4R5 0.50, U575 0.43, H7A3 0.29 and F746 0.23. Not measured, so assumed: the M3 as the M4;
M0 and M0+ by two wait states for 8 bytes. The data caches of M4 parts (256 bytes at most) are too small for weights;
those of M7 (4 to 16 KiB) and M33 parts (8 KiB) are taken to hold a layer's, which flatters large layers."""


@dataclass(frozen=True, slots=True)
class ExecutedBlock:
    """A basic block of Thumb `code` at `address`: how often it ran, how often its end led elsewhere than to the next
    instruction in memory, and how many bytes of data it read from Flash in all."""

    address: int
    code: bytes
    runs: int
    taken: int
    flash_bytes: int


@dataclass(frozen=True, slots=True)
class CycleEstimate:
    """An estimate of clock cycles, and what it is made of: instructions and their stalls, branches that are taken or
    mispredicted, waiting for data from Flash. `instructions` is exact."""

    instructions: int
    execution_cycles: float
    branch_cycles: float
    flash_cycles: float

    @property
    def cycles(self) -> int:
        """The sum of the parts."""
        return round(self.execution_cycles + self.branch_cycles + self.flash_cycles)


def estimate_cycles(blocks: Iterable[ExecutedBlock], core: str, constant_bytes: int) -> CycleEstimate:
    """What `core`, such as `cortex-m4f`, takes for `blocks`. The network's constants are `constant_bytes` in Flash.

    Raises `ConfigError` for a core without timing.
    """
    if core not in TIMINGS:
        raise ConfigError(f"core {core} has no timing; use one of: {', '.join(TIMINGS)}")
    timing = TIMINGS[core]
    instructions = flash_bytes = 0
    execution = branches = 0.0
    for block in blocks:
        decoded = _decoded(block.code, block.address)
        instructions += len(decoded) * block.runs
        flash_bytes += block.flash_bytes
        execution += block.runs * timing.block_cycles(decoded)
        if decoded[-1].ends_block:
            branches += block.taken * timing.taken_cycles(decoded)
            if decoded[-1].conditional:
                branches += min(block.taken, block.runs - block.taken) * timing.mispredicted_cycles
    flash = FLASH_COSTS[core]
    missed = min(flash_bytes, constant_bytes) if flash.cached else flash_bytes
    return CycleEstimate(instructions, execution, branches, missed * flash.cycles_per_byte)


_decoded = lru_cache(maxsize=65_536)(decode)
