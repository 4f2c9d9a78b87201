"""A core in Unicorn on which single functions of an image are called, with its registers in the test's hand."""

from collections.abc import Callable

from unicorn.arm_const import (
    UC_ARM_REG_IPSR,
    UC_ARM_REG_LR,
    UC_ARM_REG_R0,
    UC_ARM_REG_R1,
    UC_ARM_REG_R2,
    UC_ARM_REG_R3,
    UC_ARM_REG_SP,
)
from unicorn.unicorn_const import UC_ARCH_ARM, UC_MODE_THUMB
from unicorn.unicorn_py3 import Uc

from automcu.board import Board
from automcu.deploy.boards.emulator import CORES
from automcu.deploy.toolchain.toolchain import Image

_RETURN = 0x0F00_0000
_UART = {"stm32_v1": (0x00, 0x04), "stm32_v2": (0x1C, 0x28)}


class Core:
    """Flash, RAM and the registers of `board` with `image` in it, before the reset. `registers` holds what was written
    to registers, `reads` what others tell, and `sent` what the UART sent: it always has room."""

    def __init__(self, board: Board, image: Image) -> None:
        self.engine = Uc(UC_ARCH_ARM, UC_MODE_THUMB)
        self.engine.ctl_set_cpu_model(CORES[board.core])
        for region in board.regions:
            self.engine.mem_map(region.address, -(-region.size_bytes // 4096) * 4096)
        self.engine.mem_map(_RETURN, 4096)
        self.engine.mem_write(image.load_address, image.binary)
        status, self._transmit = (board.uart.address + offset for offset in _UART[board.uart.kind])
        self.registers: dict[int, int] = {}
        self.reads: dict[int, Callable[[], int]] = {status: lambda: 0xC0}
        self.sent = bytearray()
        for base, size in ((board.uart.address & ~0xFFF, 4096), (0xE0000000, 0x100000)):
            self.engine.mmio_map(base, size, self._read, base, self._write, base)
        self.symbols = image.symbols
        self.engine.reg_write(UC_ARM_REG_SP, self.symbols["__stack_top"])

    def call(self, function: str, *arguments: int) -> int:
        """Its result; for a function that does not return, whatever. It ends when the core sleeps, too."""
        registers = (UC_ARM_REG_R0, UC_ARM_REG_R1, UC_ARM_REG_R2, UC_ARM_REG_R3)
        for register, value in zip(registers, arguments, strict=False):
            self.engine.reg_write(register, value)
        self.engine.reg_write(UC_ARM_REG_LR, _RETURN | 1)
        self.engine.emu_start(self.symbols[function] | 1, _RETURN)
        low, high = self.engine.reg_read(UC_ARM_REG_R0), self.engine.reg_read(UC_ARM_REG_R1)
        return int(low | high << 32)

    def fault(self, exception: int, stack_pointer: int) -> bytes:
        """What is sent by the handler of `exception`, when the core left the stack pointer there."""
        self.engine.reg_write(UC_ARM_REG_IPSR, exception)
        self.engine.reg_write(UC_ARM_REG_SP, stack_pointer)
        self.call("fault")
        return bytes(self.sent)

    def _read(self, engine: Uc, offset: int, size: int, base: int) -> int:
        reader = self.reads.get(base + offset)
        return reader() if reader else self.registers.get(base + offset, 0)

    def _write(self, engine: Uc, offset: int, size: int, value: int, base: int) -> None:
        if base + offset == self._transmit:
            self.sent.append(value & 0xFF)
        self.registers[base + offset] = value
