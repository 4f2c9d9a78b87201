"""`block_counter.c`, compiled for this host and hooked into an emulator: what it executes, counted natively."""

import ctypes
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from mmap import mmap
from pathlib import Path

from unicorn.arm_const import UC_ARM_REG_LR, UC_ARM_REG_XPSR
from unicorn.unicorn_const import UC_HOOK_BLOCK, UC_HOOK_MEM_READ
from unicorn.unicorn_py3.unicorn import Uc, UcError, uclib

from automcu.deploy.boards.link import BoardUnavailable
from automcu.deploy.toolchain.objects import cache_folder
from automcu.deploy.toolchain.zig import PROGRAM
from automcu.feasibility.program import run_program
from automcu.feasibility.temporary import temporary_folder

_SOURCE = Path(__file__).with_name("block_counter.c")
_LIBRARY = "block_counter.so"
_FLAGS = ("-std=gnu99", "-O2", "-s", "-fPIC", "-shared", "-fno-sanitize=undefined")
_COMPILE_SECONDS = 120.0
_REMEDY = "install zig again: pip install --force-reinstall ziglang"
_BLOCKS = 65_536


class _Block(ctypes.Structure):
    _fields_ = (
        ("address", ctypes.c_uint32),
        ("bytes", ctypes.c_uint32),
        ("site", ctypes.c_uint32),
        ("instructions", ctypes.c_uint32),
        ("runs", ctypes.c_uint64),
        ("taken", ctypes.c_uint64),
        ("flash_bytes", ctypes.c_uint64),
    )


class _Counter(ctypes.Structure):
    """`struct counter` of `block_counter.c`."""

    _fields_ = (
        ("read_memory", ctypes.c_void_p),
        ("read_register", ctypes.c_void_p),
        ("write_register", ctypes.c_void_p),
        ("stop", ctypes.c_void_p),
        ("link_register", ctypes.c_int32),
        ("status_register", ctypes.c_int32),
        ("entry", ctypes.c_uint32),
        ("entry_end", ctypes.c_uint32),
        ("inside", ctypes.c_uint32),
        ("return_address", ctypes.c_uint32),
        ("site", ctypes.c_uint32),
        ("used", ctypes.c_uint32),
        ("full", ctypes.c_uint32),
        ("expired", ctypes.c_uint32),
        ("current", ctypes.c_uint32),
        ("until_clock", ctypes.c_uint32),
        ("deadline", ctypes.c_double),
        ("executed", ctypes.c_uint64),
        ("run_executed", ctypes.c_uint64),
        ("slots", ctypes.c_uint32 * (2 * _BLOCKS)),
        ("blocks", _Block * _BLOCKS),
    )


@dataclass(frozen=True, slots=True)
class Block:
    """A basic block of Thumb code at `address` as it was executed in one run of the entry function: how often, how
    often another block than the next one in memory followed, and the bytes of data that all its loads read from Flash.
    `site` is the block of the entry function that was executed last before, or this one itself."""

    address: int
    size_bytes: int
    instructions: int
    site: int
    runs: int
    taken: int
    flash_bytes: int


class BlockCounter:
    """Counts in `engine`, from now on, exactly: whole basic blocks, each being executed to its end.

    A run is from the start of the entry function, whose code is from `entry` to `entry_end`, to its return.
    """

    def __init__(self, engine: Uc, entry: int, entry_end: int) -> None:
        """Raises `BoardUnavailable` when this host cannot compile or load the counter."""
        self._library = _library()
        self._counter = _Counter.from_buffer(mmap(-1, ctypes.sizeof(_Counter)))  # takes memory where it is used only
        self._counter.read_memory = _address(uclib.uc_mem_read)
        self._counter.read_register = _address(uclib.uc_reg_read)
        self._counter.write_register = _address(uclib.uc_reg_write)
        self._counter.stop = _address(uclib.uc_emu_stop)
        self._counter.link_register = UC_ARM_REG_LR
        self._counter.status_register = UC_ARM_REG_XPSR
        self._counter.entry, self._counter.entry_end = entry, entry_end
        self._counter.until_clock = 1
        self._hook(engine, UC_HOOK_BLOCK, self._library.count_block, 1, 0)

    def limit(self, seconds: float) -> None:
        """Stop the emulator once `seconds` from now have passed; `expired` tells."""
        self._counter.deadline = time.monotonic() + seconds
        self._counter.expired = 0

    @property
    def expired(self) -> bool:
        """Whether the time limit stopped the emulator."""
        return bool(self._counter.expired)

    @property
    def full(self) -> bool:
        """Whether the emulator was stopped since the code has too many basic blocks to count."""
        return bool(self._counter.full)

    @property
    def executed(self) -> int:
        """Instructions since reset, to the end of the current basic block."""
        return int(self._counter.executed)

    @property
    def run_executed(self) -> int:
        """Instructions of the last run."""
        return int(self._counter.run_executed)

    @contextmanager
    def counting_flash_reads(self, engine: Uc, begin: int, end: int) -> Iterator[None]:
        """Also count what is read as data from `begin` up to `end`: every access to memory takes longer then."""
        hook = self._hook(engine, UC_HOOK_MEM_READ, self._library.count_flash_read, begin, end - 1)
        engine.ctl_flush_tb()  # code translated before does not call the hook
        try:
            yield
        finally:
            uclib.uc_hook_del(engine._uch, hook)
            engine.ctl_flush_tb()

    def blocks(self) -> tuple[Block, ...]:
        """What was executed in the last run, in the order in which it was first seen."""
        return tuple(
            Block(
                block.address, block.bytes, block.instructions, block.site, block.runs, block.taken, block.flash_bytes
            )
            for block in self._counter.blocks[: self._counter.used]
            if block.runs
        )

    def _hook(self, engine: Uc, kind: int, function: object, begin: int, end: int) -> ctypes.c_size_t:
        # Not Uc.hook_add, which takes functions of Python only.
        hook = ctypes.c_size_t()
        status = uclib.uc_hook_add(
            engine._uch,
            ctypes.byref(hook),
            ctypes.c_int(kind),
            ctypes.cast(function, ctypes.c_void_p),  # type: ignore[arg-type]
            ctypes.byref(self._counter),
            ctypes.c_uint64(begin),
            ctypes.c_uint64(end),
        )
        if status != 0:
            raise UcError(status)
        return hook


def _address(function: object) -> int | None:
    return ctypes.cast(function, ctypes.c_void_p).value  # type: ignore[arg-type]


@cache
def _library() -> ctypes.CDLL:
    """`block_counter.c` for this host, compiled by zig, which keeps the result. A library needs no file once loaded.

    Raises `BoardUnavailable`.
    """
    command = [*PROGRAM, "cc", *_FLAGS, _SOURCE.name, "-o", _LIBRARY]
    variables = {"ZIG_GLOBAL_CACHE_DIR": str(cache_folder("zig")), "ZIG_LOCAL_CACHE_DIR": "zig-cache"}
    with temporary_folder() as folder:
        try:
            shutil.copy(_SOURCE, folder)
            done = run_program(command, folder, _COMPILE_SECONDS, variables=variables, slow_remedy=_REMEDY)
            if done.status != 0:
                raise BoardUnavailable(f"zig does not compile {_SOURCE.name} ({done.output.strip():.200}); {_REMEDY}")
            return ctypes.CDLL(str(folder / _LIBRARY))
        except OSError as error:
            raise BoardUnavailable(
                f"{_LIBRARY} of the virtual board cannot be loaded ({error!s:.200}); "
                "set TMPDIR to a folder from which programs may run"
            ) from error
