"""The functions of a linked image, static ones too, from its ELF's symbol table."""

import io
from dataclasses import dataclass

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

ENTRY = "network_run"
"""The function of every firmware that runs its network once."""


@dataclass(frozen=True, slots=True, order=True)
class Function:
    """Code from `start` up to `end`, without the Thumb bit."""

    start: int
    end: int
    name: str


def functions(elf: bytes) -> tuple[Function, ...]:
    """All functions of an ELF that `read_image` has read, by address."""
    table = ELFFile(io.BytesIO(elf)).get_section_by_name(".symtab")
    if not isinstance(table, SymbolTableSection):
        return ()
    return tuple(
        sorted(
            Function(start, start + symbol["st_size"], symbol.name)
            for symbol in table.iter_symbols()
            if symbol["st_info"]["type"] == "STT_FUNC" and (start := symbol["st_value"] & ~1)
        )
    )
