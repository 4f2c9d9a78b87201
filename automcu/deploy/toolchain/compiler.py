"""Driving a C compiler: a project's files to objects, objects to a linked program, its complaints to typed errors.

What every compiler has in common lives here; what differs is a `Compiler`, which `zig.py`, `gcc.py` and `host.py` make.
"""

import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from automcu.deploy.toolchain.objects import ObjectCache
from automcu.deploy.toolchain.toolchain import ImageTooLarge, Project
from automcu.errors import CandidateFailure, InfraFailure
from automcu.feasibility.program import run_program
from automcu.feasibility.temporary import temporary_folder

LINKER_SCRIPT = "link.ld"
COMMON_FLAGS = (
    "-std=c99",
    "-O2",
    "-g0",
    "-fwrapv",
    "-ffp-contract=off",  # a fused multiply-add rounds once: other results than where there is none
    "-fomit-frame-pointer",
)
"""For every compiler and machine."""
SECTION_FLAGS = ("-ffunction-sections", "-fdata-sections", "-fno-asynchronous-unwind-tables")
"""For images: the linker can drop what is not used, and nothing unwinds the stack."""
NO_LIBRARY = {
    "string.h": """#ifndef AUTOMCU_STRING_H
#define AUTOMCU_STRING_H
#include <stddef.h>
void *memcpy(void *to, const void *from, size_t bytes);
void *memmove(void *to, const void *from, size_t bytes);
void *memset(void *to, int value, size_t bytes);
int memcmp(const void *left, const void *right, size_t bytes);
#endif
""",
    "math.h": "/* Included by CMSIS-NN, which uses nothing of it. */\n",
}
"""Headers of a C library, for toolchains without one: what the firmware, or a compiler's own library, defines."""
_SYSTEM = "system"  # a folder beside the sources, searched after them
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,100}\.[ch]")
_OVERFLOWS = (
    re.compile(r"will not fit in region '([^']+)': overflowed by (\d+) bytes"),  # ld.lld
    re.compile(r"region [`']([^']+)' overflowed by (\d+) bytes?"),  # GNU ld
)
_SOURCE_ERRORS = (
    re.compile(r"^\S+\.[ch]:\d+:(?:\d+:)? (?:fatal )?error: .*", re.MULTILINE),
    re.compile(r"^ld\.lld: error: (?!cannot open|failed to|could not|.*unknown file type).*", re.MULTILINE),
    re.compile(r"^.*\b(?:undefined reference to|multiple definition of)\b.*", re.MULTILINE),  # GNU ld, as the next
    re.compile(r"^\S*\bld:(?! ?(?:warning:|cannot |final link failed|.*: in function)).*", re.MULTILINE),
)
"""Complaints about the project, the most telling first. All others are about the machine: no space, no such file."""


@dataclass(frozen=True, slots=True)
class Compiler:
    """A compiler and how it is called. `label` is its name and version; `program` the start of every command;
    `libraries` come last in that of the linker; `headers` are those of the system that it lacks; `variables` are what
    it needs in its environment, `remedy` is what helps where it does not work."""

    label: str
    program: tuple[str, ...]
    compile_flags: tuple[str, ...]
    link_flags: tuple[str, ...]
    remedy: str
    time_limit_seconds: float
    libraries: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)

    def run(self, command: Sequence[str], folder: Path) -> None:
        """Run one of its commands in `folder`. Raises as `Toolchain.build` does."""
        limit = self.time_limit_seconds
        done = run_program(command, folder, limit, variables=self.variables, slow_remedy=self.remedy)
        if done.status != 0:
            raise complaint(self, done.status, done.output)


def of_core(table: Mapping[str, tuple[str, ...]], core: str) -> tuple[str, ...]:
    """What `table` has for `core`. Raises `CandidateFailure` where it has nothing."""
    if core not in table:
        raise CandidateFailure(f"there is no compiler for the core {core:.40}; use one of: {', '.join(table)}")
    return table[core]


def version_of(command: Sequence[str], time_limit_seconds: float, remedy: str) -> str:
    """The first line that `command` prints. Raises `InfraFailure`, which ends with `remedy`, where it does not work."""
    with temporary_folder() as folder:
        done = run_program(command, folder, time_limit_seconds, slow_remedy=remedy)
    if done.status != 0 or not done.output.strip():
        raise InfraFailure(f"{' '.join(command):.100} does not tell its version ({done.output.strip():.200}); {remedy}")
    return done.output.strip().splitlines()[0]


def complaint(compiler: Compiler, status: int, output: str) -> Exception:
    """What a call that ended with `status`, not 0, and printed `output` failed for."""
    overflows = [(int(size), region) for form in _OVERFLOWS for region, size in form.findall(output)]
    if overflows:
        over_bytes, region = max(overflows)
        return ImageTooLarge(region, over_bytes)
    said = next((line[0].strip() for form in _SOURCE_ERRORS if (line := form.search(output))), None)
    if said is not None and status > 0:
        return CandidateFailure(f"{compiler.label} does not build the image: {said:.300}; report it with the model")
    lines = output.strip().splitlines() or ["nothing"]
    return InfraFailure(f"{compiler.label} ended with status {status} and said: {lines[0]:.300}; {compiler.remedy}")


def require_script(project: Project) -> str:
    """The linker script of `project`. Raises `CandidateFailure` where there is none."""
    if LINKER_SCRIPT not in project.sources:
        raise CandidateFailure(f"the project has no {LINKER_SCRIPT}; give one with the part's memory regions")
    return project.sources[LINKER_SCRIPT]


def link(compiler: Compiler, sources: Mapping[str, str], cache: ObjectCache) -> bytes:
    """Compile the `.c` files among `sources`, those that `cache` does not have in parallel, and link them.

    Raises as `Toolchain.build` does.
    """
    for name in sources:
        if name != LINKER_SCRIPT and not _PLAIN_NAME.fullmatch(name):
            raise CandidateFailure(f"{name!r:.100} is no name of a source; use a plain name that ends in .c or .h")
    units = sorted(name for name in sources if name.endswith(".c"))
    if not units:
        raise CandidateFailure("there is no .c file to compile; give the sources of the network and the firmware")
    with temporary_folder() as folder:
        try:
            (folder / _SYSTEM).mkdir()
            files = {**sources} | {f"{_SYSTEM}/{name}": text for name, text in compiler.headers.items()}
            for name, text in files.items():
                (folder / name).write_text(text, encoding="utf-8", errors="replace", newline="\n")
            with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
                for _ in pool.map(lambda unit: _compile(compiler, unit, sources, folder, cache), units):
                    pass
            objects = [_object(unit) for unit in units]
            compiler.run(
                [*compiler.program, *compiler.link_flags, *objects, *compiler.libraries, "-o", "image.elf"], folder
            )
            return (folder / "image.elf").read_bytes()
        except OSError as error:
            raise InfraFailure(f"a file of the build is not there ({error.strerror}); free disk space") from error


def _compile(compiler: Compiler, unit: str, sources: Mapping[str, str], folder: Path, cache: ObjectCache) -> None:
    """Put the object of `unit` into `folder`."""
    command = [*compiler.program, *compiler.compile_flags, "-I.", "-isystem", _SYSTEM]
    key = cache.key([compiler.label, *compiler.headers.values(), *command], unit, sources)
    path = folder / _object(unit)
    if (known := cache.get(key)) is not None:
        path.write_bytes(known)
        return
    compiler.run([*command, "-c", unit, "-o", _object(unit)], folder)
    cache.put(key, path.read_bytes())


def _object(unit: str) -> str:
    return unit.removesuffix(".c") + ".o"
