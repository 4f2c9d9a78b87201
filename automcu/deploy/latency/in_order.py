"""Cores that execute one instruction after another: Cortex-M0, M0+, M3, M4. Cycles from Arm's reference manuals.

Manuals: Cortex-M0 DDI 0432C table 3-1, Cortex-M0+ DDI 0484C table 3-1, Cortex-M3 DDI 0337I table 3-1 and section 3.3.3
(load and store timings), Cortex-M4 100166 table 3-1 and sections 3.3.2, 3.3.3 and 7.2 (floating point). They state
cycles for memory without wait states. Where a manual gives a range, the figure here says which end and why.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

from automcu.deploy.latency.instruction import Instruction, Kind


@dataclass(frozen=True, slots=True)
class InOrderCore:
    """`cycles` of the kinds that do not take one. A load or store takes `memory`, with a list of registers
    `memory_base` and one each. `refill` is what a taken branch adds to its one cycle, `call_refill` and
    `indirect_refill` likewise. If `pipelined`, a load or store right after a load hides its first cycle, and a store
    whose address needs no sum of registers hides its second one."""

    cycles: MappingProxyType[Kind, float]
    memory: int
    memory_base: int
    pipelined: bool
    refill: int
    call_refill: int
    indirect_refill: int
    pop_refill: int

    def block_cycles(self, block: Sequence[Instruction]) -> float:
        """Cycles of one execution of a basic block whose last instruction does not branch."""
        total = 0.0
        before: Instruction | None = None
        for instruction in block:
            total += self._cycles(instruction, before)
            before = instruction
        return total

    def _cycles(self, instruction: Instruction, before: Instruction | None) -> float:
        if instruction.kind in ("load_multiple", "store_multiple"):
            return self.memory_base + instruction.registers
        if instruction.kind not in ("load", "store"):
            return self.cycles.get(instruction.kind, 1.0)
        if not self.pipelined:
            return self.memory
        address_is_new = before is not None and bool(before.writes & instruction.addresses)
        hidden = before is not None and before.kind == "load" and not address_is_new
        hidden |= instruction.kind == "store" and not instruction.indexed
        # The address must be there a cycle early: what the instruction before has just computed is not.
        return self.memory - hidden + address_is_new

    def taken_cycles(self, block: Sequence[Instruction]) -> float:
        """What a block takes longer when its last instruction leads elsewhere."""
        match block[-1].kind:
            case "call":
                return self.call_refill
            case "indirect":
                return self.indirect_refill
            case "load_multiple" | "load":
                return self.pop_refill
        return self.refill

    @property
    def mispredicted_cycles(self) -> float:
        """None of these cores predicts branches."""
        return 0.0


def _cycles(**figures: float) -> MappingProxyType[Kind, float]:
    return MappingProxyType(figures)  # type: ignore[arg-type]


CORTEX_M0 = InOrderCore(
    cycles=_cycles(system=4),
    memory=2,
    memory_base=1,
    pipelined=False,
    refill=2,
    call_refill=3,
    indirect_refill=2,
    pop_refill=3,
)
"""With the single-cycle multiplier that STM32F0 has (1 or 32 cycles, by configuration)."""

CORTEX_M0_PLUS = InOrderCore(
    cycles=_cycles(system=3),
    memory=2,
    memory_base=1,
    pipelined=False,
    refill=1,
    call_refill=2,
    indirect_refill=1,
    pop_refill=2,
)
"""With the single-cycle multiplier that STM32G0 and L0 have (1 or 32 cycles, by configuration)."""

CORTEX_M3 = InOrderCore(
    # Long multiplications end early for small operands; those of requantization have 31 bits, so the longest time.
    cycles=_cycles(accumulate=2, long_multiply=5, long_accumulate=7, divide=7, system=2),
    memory=2,
    memory_base=1,
    pipelined=True,
    refill=2,
    call_refill=2,
    indirect_refill=2,
    pop_refill=2,
)
"""A pipeline refill takes 1 to 3 cycles: 2 here. A divide takes 2 to 12: the middle."""

CORTEX_M4 = InOrderCore(
    cycles=_cycles(divide=7, system=2, float_accumulate=3, float_divide=14),
    memory=2,
    memory_base=1,
    pipelined=True,
    refill=2,
    call_refill=2,
    indirect_refill=2,
    pop_refill=2,
)
"""As the M3, but every multiplication, dual 16-bit and long ones included, takes one cycle."""
