"""What a linked ELF says of a firmware: its binary, its sizes, its symbols. The file is not trusted."""

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from automcu.deploy.toolchain.toolchain import Image
from automcu.errors import InfraFailure

MAX_BINARY_BYTES = 64 * 1024 * 1024
"""More than any part's Flash. A longer span means that something to load lies outside Flash."""
_ERASED = b"\xff"  # what Flash holds where nothing was written


class UnreadableElf(InfraFailure):
    """The bytes are not an ELF of a firmware for a Cortex-M."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the ELF is not that of a firmware ({self.reason}); build it again with another toolchain"


@dataclass(frozen=True, slots=True)
class Section:
    """An allocated section: it takes memory on the part."""

    name: str
    address: int
    size_bytes: int


def read_image(elf: bytes, toolchain: str = "unknown") -> Image:
    """The image that `elf` is. `Image.binary` goes from the first load address to the last, what no segment fills as
    erased Flash. A section is in RAM when it runs outside that range, its initial values being counted as Flash too.

    Raises `UnreadableElf`.
    """
    try:
        return _image(elf, toolchain)
    except UnreadableElf:
        raise
    except Exception as error:  # pyelftools answers broken files with errors of many kinds, not all its own
        raise UnreadableElf(f"{type(error).__name__} while reading it") from error


def sections(elf: bytes) -> tuple[Section, ...]:
    """The allocated sections of an ELF that `read_image` has read."""
    return tuple(_allocated(ELFFile(io.BytesIO(elf))))


def _image(elf: bytes, toolchain: str) -> Image:
    file = ELFFile(io.BytesIO(elf))
    header = (file.elfclass, file.little_endian, file["e_machine"], file["e_type"])
    if header != (32, True, "EM_ARM", "ET_EXEC"):
        raise UnreadableElf("it is no 32-bit little-endian ARM executable")
    load_address, binary = _binary(elf, file)
    end = load_address + len(binary)
    allocated = tuple(_allocated(file))
    return Image(
        elf=elf,
        binary=binary,
        load_address=load_address,
        flash_bytes=len(binary),
        constant_bytes=sum(section.size_bytes for section in allocated if section.name.startswith(".rodata")),
        ram_bytes=sum(section.size_bytes for section in allocated if not load_address <= section.address < end),
        symbols=_symbols(file),
        toolchain=toolchain,
    )


def _binary(elf: bytes, file: ELFFile) -> tuple[int, bytes]:
    """The load address and what lies in Flash from there on."""
    loaded: list[tuple[int, bytes]] = []
    for segment in file.iter_segments("PT_LOAD"):
        start, size = segment["p_offset"], segment["p_filesz"]
        if start + size > len(elf):
            raise UnreadableElf("it is cut off")
        if size:
            loaded.append((segment["p_paddr"], elf[start : start + size]))
    if not loaded:
        raise UnreadableElf("it has nothing to load")
    loaded.sort()
    first = loaded[0][0]
    if loaded[-1][0] + len(loaded[-1][1]) - first > MAX_BINARY_BYTES:
        raise UnreadableElf("what it loads is not in one Flash")
    binary = bytearray()
    for address, content in loaded:
        if address - first < len(binary):
            raise UnreadableElf("its segments overlap")
        binary += _ERASED * (address - first - len(binary)) + content
    return first, bytes(binary)


def _allocated(file: ELFFile) -> Iterable[Section]:
    for section in file.iter_sections():
        if section["sh_flags"] & SH_FLAGS.SHF_ALLOC and section["sh_size"]:
            yield Section(section.name, section["sh_addr"], section["sh_size"])


def _symbols(file: ELFFile) -> Mapping[str, int]:
    table = file.get_section_by_name(".symtab")
    if not isinstance(table, SymbolTableSection):
        return {}
    return {
        symbol.name: symbol["st_value"]
        for symbol in table.iter_symbols()
        if symbol.name and symbol["st_info"]["bind"] == "STB_GLOBAL" and symbol["st_shndx"] != "SHN_UNDEF"
    }
