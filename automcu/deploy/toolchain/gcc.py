"""Arm's GNU toolchain, where it is installed: `arm-none-eabi-gcc` on PATH."""

import shutil

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
from automcu.deploy.toolchain.objects import ObjectCache, user_objects
from automcu.deploy.toolchain.toolchain import Image, Project
from automcu.errors import InfraFailure

PROGRAM = "arm-none-eabi-gcc"
_REMEDY = "install Arm's GNU toolchain, or use toolchain zig, which is installed with AutoMCU"
CORES = {
    "cortex-m0": ("-mcpu=cortex-m0", "-mfloat-abi=soft"),
    "cortex-m0+": ("-mcpu=cortex-m0plus", "-mfloat-abi=soft"),
    "cortex-m3": ("-mcpu=cortex-m3", "-mfloat-abi=soft"),
    "cortex-m4f": ("-mcpu=cortex-m4", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"),
    "cortex-m7f": ("-mcpu=cortex-m7", "-mfloat-abi=hard", "-mfpu=fpv5-sp-d16"),
    "cortex-m33f": ("-mcpu=cortex-m33", "-mfloat-abi=hard", "-mfpu=fpv5-sp-d16"),
}
"""How the compiler is told what the core is, by the board table's name."""


class ArmGccToolchain:
    """Builds with `arm-none-eabi-gcc`; of its libraries only libgcc is used, so newlib may be missing."""

    name = "gcc"

    def __init__(self, time_limit_seconds: float = 120.0, objects: ObjectCache | None = None) -> None:
        """`time_limit_seconds` is for each call of the program; `objects` are this user's unless given.

        Raises `InfraFailure` when it is not on PATH.
        """
        program = shutil.which(PROGRAM)
        if program is None:
            raise InfraFailure(f"{PROGRAM} is not on PATH; {_REMEDY}")
        self._program = program
        self._time_limit_seconds = time_limit_seconds
        self._objects = objects or user_objects()
        self.version = version_of([program, "--version"], time_limit_seconds, _REMEDY)

    def build(self, project: Project) -> Image:
        """See `Toolchain.build`."""
        require_script(project)
        compiler = Compiler(
            label=self.version,
            program=(self._program, "-mthumb", *of_core(CORES, project.core)),
            compile_flags=(*COMMON_FLAGS, *SECTION_FLAGS),
            link_flags=(
                "-nostdlib",
                "-T",
                LINKER_SCRIPT,
                "-Wl,--gc-sections",
                "-Wl,--build-id=none",
                "-Wl,--nmagic",  # else a segment begins with the headers of the ELF, in front of Flash
            ),
            libraries=("-lgcc",),
            headers=NO_LIBRARY,
            remedy=_REMEDY,
            time_limit_seconds=self._time_limit_seconds,
        )
        return read_image(link(compiler, project.sources, self._objects), self.version)
