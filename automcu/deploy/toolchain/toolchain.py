"""The seam of toolchains: a project of C sources goes in, a linked image comes out, or a numeric finding."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from automcu.errors import CandidateFailure


@dataclass(frozen=True, slots=True, eq=False)
class Project:
    """All that one image is built from. `sources` maps plain file names to texts: each `.c` is compiled, each `.h` can
    be included by its name, and `link.ld` is the linker script, with the part's true regions. `core` is that of the
    board table, such as `cortex-m4f`."""

    sources: Mapping[str, str]
    core: str


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """A linked firmware. `binary` is what lies in Flash from `load_address` on; sizes are in bytes, from the ELF.

    `flash_bytes` is all that Flash holds (code, constants, initial values), `constant_bytes` the part of it in the
    sections `.rodata*`; `ram_bytes` is all static RAM: arena, `.data`, `.bss`, and the stack's reserve.
    `symbols` are the addresses of the global symbols. `toolchain` is the builder's name and version.
    """

    elf: bytes
    binary: bytes
    load_address: int
    flash_bytes: int
    constant_bytes: int
    ram_bytes: int
    symbols: Mapping[str, int]
    toolchain: str


class ImageTooLarge(CandidateFailure):
    """The linker found the image larger than a region of the part: `region` by `over_bytes`."""

    def __init__(self, region: str, over_bytes: int) -> None:
        super().__init__(region, over_bytes)
        self.region = region
        self.over_bytes = over_bytes

    def __str__(self) -> str:
        return f"the image exceeds {self.region} by {self.over_bytes:,} bytes; give a smaller network or a larger part"


class Toolchain(Protocol):
    """Builds images. `name` is as in the configuration, `version` as the program says it."""

    name: str
    version: str

    def build(self, project: Project) -> Image:
        """Compile and link. Deterministic: the same project and version give the same bytes.

        Raises `ImageTooLarge` when a region overflows, `CandidateFailure` when the sources do not compile, and
        `InfraFailure` when the program is missing, hangs or crashes.
        """
        ...
