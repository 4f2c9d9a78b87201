"""The default toolchain: zig's C compiler and linker, which come with the PyPI package `ziglang`."""

import re
import sys
from collections.abc import Sequence

from automcu.deploy.toolchain.compiler import (
    COMMON_FLAGS,
    LINKER_SCRIPT,
    NO_LIBRARY,
    SECTION_FLAGS,
    Compiler,
    link,
    of_core,
    require_script,
    version_of,
)
from automcu.deploy.toolchain.elf import read_image
from automcu.deploy.toolchain.objects import ObjectCache, cache_folder, user_objects
from automcu.deploy.toolchain.toolchain import Image, Project

PROGRAM = (sys.executable, "-P", "-m", "ziglang")
_TARGETS = {
    "cortex-m0": ("eabi", "cortex_m0"),
    "cortex-m0+": ("eabi", "cortex_m0plus"),
    "cortex-m3": ("eabi", "cortex_m3"),
    "cortex-m4f": ("eabihf", "cortex_m4+vfp4d16sp"),
    "cortex-m7f": ("eabihf", "cortex_m7+fp_armv8d16sp"),
    "cortex-m33f": ("eabihf", "cortex_m33+dsp+fp_armv8d16sp"),
}
"""Calling convention and processor by core. Every STM32 with an M7 has at least a single-precision FPU."""

_FLAGS = (
    *COMMON_FLAGS,
    *SECTION_FLAGS,
    "-fhosted",  # zig says -ffreestanding, which makes a call of each memcpy of four bytes
    "-fno-sanitize=undefined",
    "-fno-unwind-tables",
)
# zig's library of helpers brings debug information, of 0.9 MB, and unwind tables of its own.
_DISCARDED = "\nSECTIONS { /DISCARD/ : { *(.debug*) *(.comment) *(.note*) *(.ARM.exidx*) *(.ARM.extab*) } }\n"
_ENTRY = re.compile(r"\bENTRY\s*\(\s*(\w+)\s*\)")
_REMEDY = (
    "free disk space, delete zig's cache (~/.cache/automcu/zig), install it again (pip install --force-reinstall "
    "ziglang), or use another toolchain"
)


class ZigToolchain:
    """Builds with the `ziglang` package of this Python, which has all the cores of the board table in one program.

    zig builds its library of helpers (64-bit division, soft float) once for each core, in a few seconds, and keeps it;
    objects are kept too, see `ObjectCache`.
    """

    name = "zig"

    def __init__(
        self, time_limit_seconds: float = 300.0, program: Sequence[str] = PROGRAM, objects: ObjectCache | None = None
    ) -> None:
        """`time_limit_seconds` is for each call of the program; `objects` are this user's unless given.

        Raises `InfraFailure` when there is none.
        """
        self._program = tuple(program)
        self._time_limit_seconds = time_limit_seconds
        self._objects = objects or user_objects()
        self.version = version_of([*self._program, "version"], time_limit_seconds, "install it: pip install ziglang")

    def build(self, project: Project) -> Image:
        """See `Toolchain.build`."""
        abi, processor = of_core(_TARGETS, project.core)
        target = ("-target", f"thumb-freestanding-{abi}", f"-mcpu={processor}", "-O2")
        script = require_script(project)
        entry = _ENTRY.search(script)  # zig asks for `_start`, whatever the script says
        compiler = Compiler(
            label=f"zig {self.version}",
            program=(*self._program, "cc", *target),
            compile_flags=_FLAGS,
            link_flags=(
                "-T",
                LINKER_SCRIPT,
                "-Wl,--gc-sections",
                "-Wl,-z,max-page-size=4",
                "-Wl,-z,stack-size=0",
                *([f"-Wl,-e,{entry[1]}"] if entry else []),
            ),
            headers=NO_LIBRARY,
            remedy=_REMEDY,
            time_limit_seconds=self._time_limit_seconds,
            variables={"ZIG_GLOBAL_CACHE_DIR": str(cache_folder("zig")), "ZIG_LOCAL_CACHE_DIR": "zig-cache"},
        )
        sources = {**project.sources, LINKER_SCRIPT: script + _DISCARDED}
        return read_image(link(compiler, sources, self._objects), f"zig {self.version}")
