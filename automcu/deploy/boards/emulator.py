"""A Cortex-M core in Unicorn with the memory of one board and nothing else, as a `Transport`.

Emulated: the core's instructions, Flash (read-only) and RAM where the board table has them, the UART, the cycle
counters (they tell instructions since reset), and as plain memory the other registers of the core, and those of the
blocks of 1 KiB that the board's set-up writes to. All else is unmapped: an access to it is a fault, as on the part.

Left out: interrupts (SysTick's never comes) and fault handlers (a fault ends the emulation as a `BoardFault`), timing,
caches, clocks, the memory protection unit and TrustZone. Unicorn is more lenient than the parts in four ways, in which
only hand-written assembly could err: LDM, STM, LDRD and STRD work at any address, the FPU need not be switched on, the
Cortex-M0 has CBZ and IT, and the Cortex-M3 the dual multiplications of the M4.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from unicorn.arm_const import (
    UC_ARM_REG_PC,
    UC_ARM_REG_SP,
    UC_CPU_ARM_CORTEX_M0,
    UC_CPU_ARM_CORTEX_M3,
    UC_CPU_ARM_CORTEX_M4,
    UC_CPU_ARM_CORTEX_M7,
    UC_CPU_ARM_CORTEX_M33,
)
from unicorn.unicorn_const import (
    UC_ARCH_ARM,
    UC_ERR_INSN_INVALID,
    UC_HOOK_INTR,
    UC_HOOK_MEM_INVALID,
    UC_MEM_FETCH,
    UC_MEM_FETCH_PROT,
    UC_MEM_FETCH_UNMAPPED,
    UC_MEM_WRITE,
    UC_MEM_WRITE_PROT,
    UC_MEM_WRITE_UNMAPPED,
    UC_MODE_THUMB,
    UC_PROT_ALL,
    UC_PROT_EXEC,
    UC_PROT_READ,
)
from unicorn.unicorn_py3 import Uc, UcError

from automcu.board import Board
from automcu.deploy.boards.block_counter import BlockCounter
from automcu.deploy.boards.faults import fault_at, place
from automcu.deploy.boards.functions import ENTRY, functions
from automcu.deploy.boards.link import BoardFault, BoardHung, BoardUnavailable
from automcu.deploy.toolchain.elf import sections
from automcu.deploy.toolchain.toolchain import Image

CORES = {
    "cortex-m0": UC_CPU_ARM_CORTEX_M0,
    "cortex-m0+": UC_CPU_ARM_CORTEX_M0,
    "cortex-m3": UC_CPU_ARM_CORTEX_M3,
    "cortex-m4f": UC_CPU_ARM_CORTEX_M4,
    "cortex-m7f": UC_CPU_ARM_CORTEX_M7,
    "cortex-m33f": UC_CPU_ARM_CORTEX_M33,
}
"""Unicorn's models. Its M0 stands for the M0+: the same instructions (Armv6-M)."""
_PAGE_BYTES = 1024
"""Unicorn maps whole pages. This is its smallest, and the size of a peripheral's block of registers."""
_CORE_REGISTERS = (0xE0001000, 0xE000E000)
"""The blocks of 4 KiB of the DWT unit, and of the system control space."""
_CORE_REGISTERS_BYTES = 4096
_DWT_CYCCNT = 0xE0001004
_SYST_CVR = 0xE000E018
_SYST_MASK = (1 << 24) - 1
_UARTS = {"stm32_v1": (0x00, 0x04, 0x04), "stm32_v2": (0x1C, 0x24, 0x28)}
"""Offsets of the status register, the received byte, and the byte to send."""
_RXNE = 1 << 5
_TXE_AND_TC = 3 << 6
_IDLE_POLLS = 64
"""So many looks at an empty receiver, and nothing sent in between: the firmware waits for the host."""
_ERASED = b"\xff"
_AT_POWER_ON = b"\xa7"
"""RAM holds anything at power-on; never zeros here, so that nothing can rely on them."""
_NOWHERE = 0xFFFF_FFFE
"""An address where no code lies: emulation ends by itself only when the core sleeps for good."""
_FETCHES = {UC_MEM_FETCH, UC_MEM_FETCH_PROT, UC_MEM_FETCH_UNMAPPED}
_WRITES = {UC_MEM_WRITE, UC_MEM_WRITE_PROT, UC_MEM_WRITE_UNMAPPED}
_TRAPS = {
    1: "an undefined instruction",
    2: "an SVC instruction",
    4: "an unaligned access",
    7: "a breakpoint instruction",
    8: "a return to no exception",
    17: "an instruction of a missing coprocessor or FPU",
    18: "a switch to a state that is not Thumb",
    22: "an unaligned access",
}
"""Exceptions of the core by the numbers that Unicorn (QEMU) gives them."""


class _Peripherals:
    """The registers of a board."""

    def __init__(self, board: Board, counter: BlockCounter) -> None:
        status, receive, transmit = (board.uart.address + offset for offset in _UARTS[board.uart.kind])
        self.received: deque[int] = deque()
        """Bytes on their way to the firmware."""
        self.sent = bytearray()
        self.wanted = 0
        """Emulation stops when this much has been sent."""
        self._counter = counter
        self._told = 0
        self._polls = 0
        self._memory: dict[int, int] = {}
        self._readers: dict[int, Callable[[], int]] = {
            status: self._status,
            receive: lambda: self.received.popleft() if self.received else 0,
            _DWT_CYCCNT: lambda: self._cycles() & 0xFFFF_FFFF,
            _SYST_CVR: lambda: -self._cycles() & _SYST_MASK,
        }
        self._transmit = transmit

    def read(self, engine: Uc, offset: int, size: int, base: int) -> int:
        """Unicorn's callback; firmware reads and writes whole registers only. A core that is stopped here first ends
        its basic block."""
        reader = self._readers.get(base + offset)
        value = self._memory.get(base + offset, 0) if reader is None else reader()
        if self._polls >= _IDLE_POLLS or (reader == self._status and len(self.sent) >= self.wanted):
            self._polls = 0
            engine.emu_stop()
        return value

    def write(self, engine: Uc, offset: int, size: int, value: int, base: int) -> None:
        """Unicorn's callback. It must not stop the core: Unicorn would execute the store again."""
        if base + offset == self._transmit:
            self._polls = 0
            self.sent.append(value & 0xFF)
        else:
            self._memory[base + offset] = value

    def _status(self) -> int:
        if self.received:
            self._polls = 0
            return _TXE_AND_TC | _RXNE
        self._polls += 1
        return _TXE_AND_TC

    def _cycles(self) -> int:
        """Instructions since reset, to the end of the basic block that asks; more with every look, as a clock tells."""
        self._told = max(self._told + 1, self._counter.executed)
        return self._told


class _Trouble:
    """What Unicorn says of the instruction that it could not execute."""

    def __init__(self) -> None:
        self.access: tuple[int, int, int] | None = None
        """Kind of access (of `UC_MEM_*`), address, size in bytes."""
        self.trap: int | None = None

    def invalid_access(self, engine: Uc, access: int, address: int, size: int, value: int, data: None) -> bool:
        """Unicorn's callback; False ends the emulation."""
        self.access = access, address, size
        return False

    def interrupt(self, engine: Uc, number: int, data: None) -> None:
        """Unicorn's callback."""
        self.trap = number
        engine.emu_stop()

    def words(self, error: UcError | None, symbols: Mapping[str, int]) -> str:
        """What happened."""
        if self.access is not None:
            access, address, size = self.access
            if access in _FETCHES:
                return f"an instruction fetch from {place(address, symbols)}, where the part has no memory for code"
            if access == UC_MEM_WRITE_PROT:
                return f"a write of {size} bytes to Flash at {place(address, symbols)}"
            kind = "write" if access in _WRITES else "read"
            return f"a {kind} of {size} bytes at {place(address, symbols)}, outside the part's memory"
        if error is not None and error.errno == UC_ERR_INSN_INVALID:
            return "an undefined instruction"
        if self.trap is not None:
            return _TRAPS.get(self.trap, f"exception {self.trap} of the core")
        return f"an instruction that the core cannot execute ({error})"


class Emulator:
    """One image on one virtual board, from reset on. A read runs the core until it has sent enough, waits for the host,
    or has run for `limit_seconds` of this host's time; from then on it counts as hung and runs no more. How long the
    caller would wait does not matter: an emulated core's time is not the host's."""

    def __init__(self, board: Board, image: Image, limit_seconds: float) -> None:
        """Raises `BoardUnavailable` for a core that cannot be emulated, `BoardFault` for an image that cannot start."""
        if board.core not in CORES:
            raise BoardUnavailable(f"there is no virtual {board.core:.40}; use a board with {', '.join(CORES)}")
        self._symbols = image.symbols
        self._limit_seconds = limit_seconds
        self._hung = False
        self._fault: BoardFault | None = None
        self._trouble = _Trouble()
        self._engine = Uc(UC_ARCH_ARM, UC_MODE_THUMB)  # UC_MODE_MCLASS would make any model a Cortex-M33
        self._engine.ctl_set_cpu_model(CORES[board.core])
        self._engine.ctl_set_page_size(_PAGE_BYTES)
        self._flash = self._map_memory(board, image)
        self.counter = BlockCounter(self._engine, *_entry(image))
        self._peripherals = _Peripherals(board, self.counter)
        self._map_registers(board)
        self._engine.hook_add(UC_HOOK_MEM_INVALID, self._trouble.invalid_access)
        self._engine.hook_add(UC_HOOK_INTR, self._trouble.interrupt)
        stack, start = (int.from_bytes(image.binary[at : at + 4], "little") for at in (0, 4))
        if not start & 1:
            raise fault_at("a reset vector that is no Thumb address", start, self._symbols)
        self._engine.reg_write(UC_ARM_REG_SP, stack & ~3)
        self._engine.reg_write(UC_ARM_REG_PC, start)

    def read(self, count: int, timeout_seconds: float) -> bytes:
        """See `Transport`. Raises `BoardFault` when the firmware ran into a fault, as does each read after that."""
        if self._fault is not None:
            raise self._fault
        self._peripherals.wanted = count
        if len(self._peripherals.sent) < count and not self._hung:
            self._run()
        data = bytes(self._peripherals.sent[:count])
        del self._peripherals.sent[:count]
        return data

    def write(self, data: bytes) -> None:
        """See `Transport`."""
        self._peripherals.received.extend(data)

    def close(self) -> None:
        """See `Transport`. The core runs no more, and its memory is free."""
        self._hung = True
        # The callbacks keep the engine in reference cycles, and its memory with it: until when, nobody knows.
        self._engine._Uc__finalizer()  # type: ignore[attr-defined]

    @contextmanager
    def counting_flash_reads(self) -> Iterator[None]:
        """Also count what is read from Flash as data, in `counter`. Raises `BoardHung` after the end."""
        if self._hung:
            raise BoardHung("the virtual board runs no more; open it again")
        with self.counter.counting_flash_reads(self._engine, self._flash.start, self._flash.stop):
            yield

    def _run(self) -> None:
        self.counter.limit(self._limit_seconds)
        error: UcError | None = None
        try:
            self._engine.emu_start(self._engine.reg_read(UC_ARM_REG_PC) | 1, _NOWHERE)
        except UcError as caught:
            error = caught
        if error is not None or self._trouble.trap is not None or self._trouble.access is not None:
            words = self._trouble.words(error, self._symbols)
            self._fault = fault_at(words, self._engine.reg_read(UC_ARM_REG_PC), self._symbols)
            raise self._fault
        if self.counter.full:
            raise BoardUnavailable(
                "the image has more basic blocks than a virtual board counts; run it on another link"
            )
        self._hung = self.counter.expired

    def _map_memory(self, board: Board, image: Image) -> range:
        """Map the board's regions and put the image into Flash; returns the Flash region it is in."""
        end = image.load_address + len(image.binary)
        flash = None
        for region in board.regions:
            here = range(region.address, region.address + region.size_bytes)
            writable = region.kind == "ram"
            self._engine.mem_map(here.start, len(here), UC_PROT_ALL if writable else UC_PROT_READ | UC_PROT_EXEC)
            self._engine.mem_write(here.start, (_AT_POWER_ON if writable else _ERASED) * len(here))
            if not writable and here.start == image.load_address and end <= here.stop:  # a part starts at its begin
                flash = here
        if flash is None:
            raise BoardFault(
                f"the image, 0x{image.load_address:08x} to 0x{end:08x}, is not in the Flash of {board.part}; "
                "link it with the linker script of that board"
            )
        _require_places(board, image)
        self._engine.mem_write(image.load_address, image.binary)
        return flash

    def _map_registers(self, board: Board) -> None:
        addresses = {board.uart.address, *(write.address for write in board.set_up)}
        blocks = {address & ~(_PAGE_BYTES - 1): _PAGE_BYTES for address in addresses}
        for base, size_bytes in (blocks | dict.fromkeys(_CORE_REGISTERS, _CORE_REGISTERS_BYTES)).items():
            self._engine.mmio_map(base, size_bytes, self._peripherals.read, base, self._peripherals.write, base)


def _require_places(board: Board, image: Image) -> None:
    """Every section in the part's memory: what is never touched, such as the far end of an arena, must fit, too."""
    for section in sections(image.elf):
        end = section.address + section.size_bytes
        if not any(
            region.address <= section.address and end <= region.address + region.size_bytes for region in board.regions
        ):
            raise BoardFault(
                f"the section {section.name:.40} of the image, 0x{section.address:08x} to 0x{end:08x}, is not in the "
                f"memory of {board.part}; link it with the linker script of that board"
            )


def _entry(image: Image) -> tuple[int, int]:
    """Where the code of `network_run` begins and ends."""
    for function in functions(image.elf):
        if function.name == ENTRY:
            return function.start, function.end
    raise BoardFault(f"the image has no function {ENTRY}; build it from AutoMCU's own firmware")
