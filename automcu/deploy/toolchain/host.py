"""The same project as a program of this host: the firmware without what is of the core, a C file in its place."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from automcu.deploy.toolchain.compiler import COMMON_FLAGS, Compiler, link, version_of
from automcu.deploy.toolchain.objects import ObjectCache, cache_folder, user_objects
from automcu.deploy.toolchain.toolchain import Image, Project
from automcu.deploy.toolchain.zig import PROGRAM as ZIG
from automcu.errors import InfraFailure

_OF_THE_CORE = ("startup.c", "counter.c", "stack.c", "memory.c", "uart_stm32_v1.c", "uart_stm32_v2.c", "link.ld")
_HOST_C = Path(__file__).parent.parent / "firmware" / "host" / "host.c"
_BOARD_H = """/* This host: its counter tells nanoseconds. */
#define BOARD_CLOCK_HZ 1000000000u
"""
_REMEDY = "install a C compiler such as gcc, or the package ziglang"


class HostToolchain:
    """Builds with the host's own C compiler: `gcc`, `cc` or `clang`, whichever is found first, else with zig.

    An image of it is a program for this host in `Image.elf`, which `HostBoard` runs; there is nothing for a Flash, and
    no size. Only portable kernels compile.
    """

    name = "host"

    def __init__(self, time_limit_seconds: float = 120.0, objects: ObjectCache | None = None) -> None:
        """`time_limit_seconds` is for each call of the program; `objects` are this user's unless given.

        Raises `InfraFailure` when none works.
        """
        found = next((path for name in ("gcc", "cc", "clang") if (path := shutil.which(name))), None)
        self._program: Sequence[str] = (found,) if found else (*ZIG, "cc")
        self._time_limit_seconds = time_limit_seconds
        self._objects = objects or user_objects()
        self.version = version_of([*self._program, "--version"], time_limit_seconds, _REMEDY)

    def build(self, project: Project) -> Image:
        """See `Toolchain.build`. `Project.core` does not matter."""
        try:
            host_c = _HOST_C.read_text("utf-8")
        except OSError as error:
            raise InfraFailure(f"{_HOST_C} cannot be read ({error.strerror}); install AutoMCU again") from error
        sources = {name: text for name, text in project.sources.items() if name not in _OF_THE_CORE}
        compiler = Compiler(
            label=self.version,
            program=tuple(self._program),
            compile_flags=COMMON_FLAGS,
            link_flags=("-pthread",),
            remedy=_REMEDY,
            time_limit_seconds=self._time_limit_seconds,
            variables={"ZIG_GLOBAL_CACHE_DIR": str(cache_folder("zig")), "ZIG_LOCAL_CACHE_DIR": "zig-cache"},
        )
        program = link(compiler, {**sources, "board.h": _BOARD_H, "host.c": host_c}, self._objects)
        return Image(program, b"", 0, 0, 0, 0, {}, self.version)
