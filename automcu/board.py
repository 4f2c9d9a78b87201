"""The target: a board with its memory regions, the budget a network must keep, and what breaks it."""

from dataclasses import dataclass
from typing import Literal

from automcu.errors import ConfigError
from automcu.results import FeasibilityReport

Resource = Literal["ram", "flash", "macs", "operator"]


@dataclass(frozen=True, slots=True)
class MemoryRegion:
    """One contiguous memory of a part: its linker name, start address and size in bytes."""

    name: str
    kind: Literal["flash", "ram"]
    address: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Board:
    """An STM32 board of the table in `conf/board`.

    `reserved_ram_bytes` (stack, application data) and `reserved_flash_bytes` (the application around the network) are
    kept away from the network. `stedgeai_target` is the series name ST Edge AI takes, or None where ST supports none.
    """

    name: str
    part: str
    core: str
    clock_hz: int
    regions: tuple[MemoryRegion, ...]
    reserved_ram_bytes: int
    reserved_flash_bytes: int
    stedgeai_target: str | None
    source: str

    def __post_init__(self) -> None:
        if {region.kind for region in self.regions} != {"flash", "ram"}:
            raise ConfigError(f"board {self.name} needs a flash and a ram region; add them to its file in conf/board")

    @property
    def ram_bytes(self) -> int:
        """Size of the largest RAM region: the activation arena must fit in one region."""
        return max(region.size_bytes for region in self.regions if region.kind == "ram")

    @property
    def flash_bytes(self) -> int:
        """Size of the largest Flash region."""
        return max(region.size_bytes for region in self.regions if region.kind == "flash")


@dataclass(frozen=True, slots=True)
class Violation:
    """One limit that a report breaks. `binding` names what decides the figure: a layer, or the unsupported operator."""

    resource: Resource
    limit: int
    value: int
    binding: str

    def __str__(self) -> str:
        if self.resource == "operator":
            return f"operator not supported: {self.binding}"
        unit = "" if self.resource == "macs" else " B"
        over = f" (+{100 * (self.value - self.limit) / self.limit:.0f} %)" if self.limit > 0 else ""
        return f"{self.resource} {self.value:,}{unit} > {self.limit:,}{unit}{over}, decided by {self.binding}"


@dataclass(frozen=True, slots=True)
class Budget:
    """Upper limits for a network, runtime included: RAM and Flash in bytes, multiply-accumulates where set."""

    ram_bytes: int
    flash_bytes: int
    macs: int | None

    def on(self, board: Board) -> "Budget":
        """This budget, cut down to what the board has left after its reserves."""
        return Budget(
            ram_bytes=min(self.ram_bytes, board.ram_bytes - board.reserved_ram_bytes),
            flash_bytes=min(self.flash_bytes, board.flash_bytes - board.reserved_flash_bytes),
            macs=self.macs,
        )

    def violations(self, report: FeasibilityReport) -> tuple[Violation, ...]:
        """The limits that `report` breaks; empty when the network fits."""
        found = []
        if report.ram_bytes > self.ram_bytes:
            found.append(Violation("ram", self.ram_bytes, report.ram_bytes, report.binding_layer))
        if report.flash_bytes > self.flash_bytes:
            found.append(Violation("flash", self.flash_bytes, report.flash_bytes, report.heaviest_layer))
        if self.macs is not None and report.macs > self.macs:
            found.append(Violation("macs", self.macs, report.macs, report.busiest_layer))
        return tuple(found)
