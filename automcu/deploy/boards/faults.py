"""What a fault of the core means, in words. Names and bits are those of Arm's architecture manuals (ARMv7-M, DDI 0403,
B3.2.15: the configurable fault status register; B1.5.2: the exception numbers)."""

from bisect import bisect_right
from collections.abc import Mapping

from automcu.deploy.boards.link import BoardFault

_EXCEPTIONS = {2: "NMI", 3: "HardFault", 4: "MemManage fault", 5: "BusFault", 6: "UsageFault", 7: "SecureFault"}
_CAUSES = {
    0: "instruction fetched where none may lie",
    1: "data access that is not allowed",
    4: "stack not writable at exception entry",
    8: "instruction fetched outside the part's memory",
    9: "data access outside the part's memory",
    10: "data access outside the part's memory (imprecise)",
    12: "stack outside the part's memory at exception entry",
    16: "undefined instruction",
    17: "switch to a state that is not Thumb",
    18: "bad exception return",
    19: "coprocessor or FPU not enabled",
    20: "stack overflow",
    24: "unaligned access",
    25: "division by zero",
}
_DATA_ADDRESS_VALID = (1 << 7) | (1 << 15)
"""MMARVALID and BFARVALID: the address register holds the address of the access."""
_FARTHEST_BYTES = 1 << 20
"""An address this far above a symbol does not belong to it."""


def fault(exception: int, pc: int, cfsr: int, address: int, symbols: Mapping[str, int]) -> BoardFault:
    """The error for what a fault handler sent; `symbols` are the addresses of the image's global symbols."""
    causes = [words for bit, words in _CAUSES.items() if cfsr >> bit & 1]
    where = f" at address {place(address, symbols)}" if cfsr & _DATA_ADDRESS_VALID else ""
    cause = f": {', '.join(causes)}{where}" if causes else ""
    name = _EXCEPTIONS.get(exception, f"exception {exception}")
    return fault_at(f"a {name}{cause}", pc, symbols)


def fault_at(what: str, pc: int, symbols: Mapping[str, int]) -> BoardFault:
    """The error for `what` happened to the instruction at `pc`."""
    return BoardFault(
        f"the firmware ran into {what}, at pc {place(pc, symbols)}; "
        "compare the linker script's regions and stack with the part, then report the network"
    )


def place(address: int, symbols: Mapping[str, int]) -> str:
    """`address` in hexadecimal, with the last symbol at or before it where one is near. Bit 0 of a symbol (Thumb) does
    not count."""
    ordered = sorted((value & ~1, name) for name, value in symbols.items())
    at = bisect_right(ordered, (address, "\U0010ffff")) - 1
    if at < 0 or address - ordered[at][0] > _FARTHEST_BYTES:
        return f"0x{address:08x}"
    start, name = ordered[at]
    offset = f" + {address - start}" if address > start else ""
    return f"0x{address:08x} ({name}{offset})"
