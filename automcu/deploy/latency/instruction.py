"""Thumb instructions decoded as far as timing needs: what kind, which registers, how long the list of registers."""

from dataclasses import dataclass
from functools import cache
from typing import Literal

import capstone
from capstone import arm, arm_const

Kind = Literal[
    "alu",
    "bitfield",
    "multiply",
    "accumulate",
    "long_multiply",
    "long_accumulate",
    "divide",
    "load",
    "store",
    "load_multiple",
    "store_multiple",
    "branch",
    "call",
    "indirect",
    "it",
    "nop",
    "system",
    "float",
    "float_accumulate",
    "float_divide",
]
"""`bitfield`: extracting, packing, SIMD and saturating instructions, which have a unit of their own on some cores.
`indirect`: a branch to an address in a register or from memory."""

_MULTIPLY = frozenset({"mul", "smmul", "smmulr", "smuad", "smuadx", "smusd", "smusdx"})
_ACCUMULATE = frozenset(
    {"mla", "mls", "smlad", "smladx", "smlsd", "smlsdx", "smmla", "smmlar", "smmls", "smlabb", "smlabt", "smlatb"}
) | {"smlatt", "smlawb", "smlawt"}
_HALF_MULTIPLY = ("smulb", "smult", "smulw")
_LONG_MULTIPLY = frozenset({"smull", "umull"})
_LONG_ACCUMULATE = frozenset({"smlal", "umlal", "umaal", "smlald", "smlaldx", "smlsld", "smlsldx"})
_HALF_LONG_ACCUMULATE = ("smlalb", "smlalt")
_BITFIELD = (
    *("bfi", "bfc", "ubfx", "sbfx", "sxt", "uxt", "pkh", "rev", "rbit", "clz", "ssat", "usat", "sel", "usad"),
    *("sadd", "uadd", "qadd", "qsub", "qdadd", "qdsub", "ssub", "usub", "shadd", "shsub", "uhadd", "uhsub"),
    *("uqadd", "uqsub", "sasx", "ssax", "uasx", "usax", "qasx", "qsax"),
)
_SYSTEM = ("mrs", "msr", "dmb", "dsb", "isb", "cps", "svc", "wfi", "wfe", "sev", "bkpt", "udf")
_PLAIN = frozenset({"add", "addw", "sub", "subw", "mov", "movw", "movt", "lsl", "lsr", "asr", "ror"})
_FLOAT_ACCUMULATE = ("vmla", "vmls", "vfma", "vfms", "vnmla", "vnmls", "vfnma", "vfnms")
_FLOAT_DIVIDE = ("vdiv", "vsqrt")
_PC = arm_const.ARM_REG_PC
_ALWAYS = (arm.ARM_CC_AL, arm.ARM_CC_INVALID)


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction. Registers are capstone's numbers, without flags. `addresses` are those that a load or store
    takes its address from, `accumulated` those that a multiplication adds to. `registers` counts a list of registers;
    `shifted` says that an operand is shifted on its way, `narrow_load` that less than a word is loaded, `indexed` that
    the address is a sum of registers. `plain` marks moves, shifts and sums without a shifted operand, `sets_flags` what
    a conditional branch may wait for. `conditional` is true for a branch that may fall through."""

    kind: Kind
    size_bytes: int
    reads: frozenset[int]
    writes: frozenset[int]
    addresses: frozenset[int] = frozenset()
    accumulated: frozenset[int] = frozenset()
    registers: int = 0
    shifted: bool = False
    narrow_load: bool = False
    indexed: bool = False
    plain: bool = False
    sets_flags: bool = False
    conditional: bool = False

    @property
    def ends_block(self) -> bool:
        """Whether execution may go on elsewhere."""
        return self.kind in ("branch", "call", "indirect") or _PC in self.writes


def decode(code: bytes, address: int) -> tuple[Instruction, ...]:
    """The instructions of a block of Thumb `code` that lies at `address`."""
    return tuple(_instruction(found) for found in _decoder().disasm(code, address))


@cache
def _decoder() -> capstone.Cs:
    decoder = capstone.Cs(capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS | capstone.CS_MODE_V8)
    decoder.detail = True
    return decoder


def _instruction(found: capstone.CsInsn) -> Instruction:
    read, written = map(frozenset, found.regs_access())
    operands = found.operands
    registers = [operand.reg for operand in operands if operand.type == arm.ARM_OP_REG]
    memory = next((operand for operand in operands if operand.type == arm.ARM_OP_MEM), None)
    name = _plain_name(found)
    kind = _kind(name, found, written)
    accumulated = _accumulated(kind, registers)
    if kind in ("long_accumulate", "bitfield"):  # capstone tells neither what these add to nor what SSAT takes
        read |= accumulated or frozenset(registers[1:])
    addresses: frozenset[int] = frozenset()
    count = 0
    if kind in ("load_multiple", "store_multiple"):
        double = name in ("ldrd", "strd", "ldrexd", "strexd")
        listed = 2 if double else len(registers) - (0 if name in ("push", "pop", "vpush", "vpop") else 1)
        count = max(1, listed)
    if memory is not None:
        addresses = frozenset(part for part in (memory.mem.base, memory.mem.index) if part)
    elif kind in ("load_multiple", "store_multiple") and name not in ("push", "pop", "vpush", "vpop"):
        addresses = frozenset(registers[:1])
    shifted = any(operand.type == arm.ARM_OP_REG and operand.shift.type for operand in operands)
    return Instruction(
        kind=kind,
        size_bytes=found.size,
        reads=read,
        writes=written,
        addresses=addresses,
        accumulated=accumulated,
        registers=count,
        shifted=shifted,
        narrow_load=kind == "load" and name not in ("ldr", "vldr"),
        indexed=memory is not None and bool(memory.mem.index),
        plain=kind == "alu" and not shifted and name in _PLAIN,
        sets_flags=bool(found.update_flags) or name in ("cmp", "cmn", "tst", "teq"),
        conditional=(kind != "it" and found.cc not in _ALWAYS) or name in ("cbz", "cbnz"),
    )


def _plain_name(found: capstone.CsInsn) -> str:
    """The mnemonic without width, data type, condition and the mark of flags."""
    name: str = found.mnemonic.split(".")[0]
    if found.id == arm_const.ARM_INS_IT:
        return name
    if found.cc not in _ALWAYS:
        name = name[:-2]
    if found.update_flags and name.endswith("s") and name not in ("mls", "bics"):
        name = name[:-1]
    return name


def _kind(name: str, found: capstone.CsInsn, written: frozenset[int]) -> Kind:
    if found.id == arm_const.ARM_INS_IT:
        return "it"
    if name.startswith("v"):
        return _float_kind(name)
    if name in ("push", "stm", "stmdb", "strd"):
        return "store_multiple"
    if name in ("pop", "ldm", "ldmdb", "ldrd"):
        return "load_multiple"
    if name.startswith(("ldr", "ldaex", "lda")):
        return "load"
    if name.startswith(("str", "stl")):
        return "store"
    if name in ("tbb", "tbh", "bx") or (_PC in written and name in ("mov", "add")):
        return "indirect"
    if name in ("bl", "blx"):
        return "call"
    if name in ("b", "cbz", "cbnz"):
        return "branch"
    return _data_kind(name)


def _data_kind(name: str) -> Kind:
    if name in _LONG_MULTIPLY:
        return "long_multiply"
    if name in _LONG_ACCUMULATE or name.startswith(_HALF_LONG_ACCUMULATE):
        return "long_accumulate"
    if name in _ACCUMULATE:
        return "accumulate"
    if name in _MULTIPLY or name.startswith(_HALF_MULTIPLY):
        return "multiply"
    if name in ("sdiv", "udiv"):
        return "divide"
    if name == "nop":
        return "nop"
    if name.startswith(_SYSTEM):
        return "system"
    return "bitfield" if name.startswith(_BITFIELD) else "alu"


def _float_kind(name: str) -> Kind:
    if name in ("vldm", "vldmia", "vldmdb", "vpop"):
        return "load_multiple"
    if name in ("vstm", "vstmia", "vstmdb", "vpush"):
        return "store_multiple"
    if name == "vldr":
        return "load"
    if name == "vstr":
        return "store"
    if name.startswith(_FLOAT_ACCUMULATE):
        return "float_accumulate"
    return "float_divide" if name.startswith(_FLOAT_DIVIDE) else "float"


def _accumulated(kind: Kind, registers: list[int]) -> frozenset[int]:
    """The registers that are added to: the last operand, or the pair that a long multiplication writes."""
    if kind == "accumulate":
        return frozenset(registers[3:])
    if kind == "long_accumulate":
        return frozenset(registers[:2])
    return frozenset()
