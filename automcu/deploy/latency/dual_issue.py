"""Cores that may issue two instructions in a cycle: Cortex-M33 (few pairs) and Cortex-M7 (most).

Arm publishes no cycle counts for them (M33: TRM 100230, M7: TRM DDI 0489, both without). The rules here are what others
measured on parts and published: an RP2350 and an STM32H743 (github.com/jnk0le/random, "pipeline cycle test"), an
STM32H730 (www.quinapalus.com/cm7cycles.html). They are assumptions, simplified: caches always hit, every pair of loads
meets two banks, and a block starts with all of its operands ready.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

from automcu.deploy.latency.instruction import Instruction

Use = Literal["operand", "accumulate", "data", "early"]
"""How an instruction takes a register: `early` are addresses and what is shifted first, `data` is what a store puts."""
_MULTIPLYING = frozenset({"multiply", "accumulate", "long_multiply", "long_accumulate"})
_LISTS = frozenset({"load_multiple", "store_multiple"})
_ALONE = _LISTS | {"divide", "float_divide", "system", "call", "indirect"}


def _uses(instruction: Instruction) -> dict[int, Use]:
    """How each register that is read is used."""
    uses: dict[int, Use] = {}
    shifts = instruction.shifted or instruction.kind == "bitfield"
    for register in instruction.reads:
        if register in instruction.addresses or shifts:
            uses[register] = "early"
        elif register in instruction.accumulated:
            uses[register] = "accumulate"
        else:
            uses[register] = "data" if instruction.kind == "store" else "operand"
    return uses


class _DualIssueCore:
    """Issues in order, at most two in a cycle, each once its operands are ready; subclasses say which pairs go, how
    long results take, and how long an instruction keeps the pipeline."""

    def block_cycles(self, block: Sequence[Instruction]) -> float:
        """Cycles of one execution of a basic block whose last instruction does not branch."""
        made: dict[int, tuple[int, Instruction]] = {}
        now, free, alone = 0, 0, None  # the last cycle of issue, the next free one, what issued in `now` by itself
        for instruction in block:
            ready = 0
            for register, use in _uses(instruction).items():
                if register in made:
                    issued, maker = made[register]
                    # An address that a load or store has moved on is there in the next cycle.
                    moved = register in maker.addresses
                    ready = max(ready, issued + (1 if moved else self._latency(maker, instruction, use)))
            if alone is not None and ready <= now and self._pairs(alone, instruction):
                alone = None
            else:
                now = max(free, ready)
                free = now + self._occupied(instruction)
                alone = instruction
            for register in instruction.writes:
                made[register] = now, instruction
        return free

    def _pairs(self, first: Instruction, second: Instruction) -> bool:
        raise NotImplementedError

    def _latency(self, maker: Instruction, user: Instruction, use: Use) -> int:
        raise NotImplementedError

    def _occupied(self, instruction: Instruction) -> int:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class CortexM33(_DualIssueCore):
    """A 16-bit instruction takes a 16-bit branch, IT or NOP along. Loads, multiplications and shifted operands take two
    cycles, one where only added to or stored. A 32-bit divide takes 2 to 11 cycles: the middle."""

    mispredicted_cycles: float = 0.0

    def taken_cycles(self, block: Sequence[Instruction]) -> float:
        """The target is fetched in one cycle, two where the branch waits for flags of the instruction before."""
        return 2.0 if len(block) > 1 and block[-1].conditional and block[-2].sets_flags else 1.0

    def _pairs(self, first: Instruction, second: Instruction) -> bool:
        return first.size_bytes == second.size_bytes == 2 and second.kind in ("branch", "it", "nop")

    def _latency(self, maker: Instruction, user: Instruction, use: Use) -> int:
        slow = maker.kind == "load" or maker.kind in _MULTIPLYING or (maker.shifted and maker.kind == "alu")
        return 2 if slow and use not in ("accumulate", "data") else 1

    def _occupied(self, instruction: Instruction) -> int:
        match instruction.kind:
            case "load_multiple" | "store_multiple":
                return instruction.registers
            case "divide":
                return 6
            case "float_divide":
                return 14
        return 1


@dataclass(frozen=True, slots=True)
class CortexM7(_DualIssueCore):
    """Two instructions in a cycle, but for two multiplications, two that shift or pack, two stores, two floating-point
    ones, and what takes several cycles. Branches are predicted but for the odd one of a loop's end or of a choice,
    which costs 7 cycles (6 to 8). A divide takes 2 to 12 cycles: the middle."""

    mispredicted_cycles: float = 7.0

    def taken_cycles(self, block: Sequence[Instruction]) -> float:
        """A predicted branch costs nothing; one through a register or the stack is taken for predicted too."""
        return 0.0

    def _pairs(self, first: Instruction, second: Instruction) -> bool:
        kinds = {first.kind, second.kind}
        if kinds & _ALONE or second.kind == "bitfield":
            return False
        both_multiply = first.kind in _MULTIPLYING and second.kind in _MULTIPLYING
        stores_product = "store" in kinds and bool(kinds & _MULTIPLYING)
        both_shift = (first.kind == "bitfield" or first.shifted) and second.shifted
        both_store = first.kind == second.kind == "store"
        both_float = first.kind.startswith("float") and second.kind.startswith("float")
        return not (both_multiply or stores_product or both_shift or both_store or both_float)

    def _latency(self, maker: Instruction, user: Instruction, use: Use) -> int:
        early = use == "early"
        if use == "data":
            return 0
        if maker.kind == "load":
            if use == "accumulate":
                return 1
            return 1 + maker.narrow_load + (early or (user.kind in _MULTIPLYING and not maker.narrow_load))
        if maker.kind in _MULTIPLYING:
            return 1 if use == "accumulate" else 2 + early
        if maker.kind == "bitfield":
            return 1 + bool(user.addresses)
        return 0 if maker.plain and not early else 1

    def _occupied(self, instruction: Instruction) -> int:
        match instruction.kind:
            case "load_multiple" | "store_multiple":
                return ceil(instruction.registers / 2)
            case "divide":
                return 7
            case "float_divide":
                return 16
        return 1
