"""The target: a board with its memory regions, the budget a network must keep, and what breaks it."""

from dataclasses import dataclass, replace
from typing import Literal

from automcu.errors import ConfigError
from automcu.results import FeasibilityReport

Resource = Literal["ram", "flash", "macs", "latency"]


@dataclass(frozen=True, slots=True)
class MemoryRegion:
    """One contiguous memory of a part: its linker name, start address and size in bytes."""

    name: str
    kind: Literal["flash", "ram"]
    address: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class RegisterWrite:
    """One step of a set-up: of the register (32 bits) at `address`, the bits of `clear` become 0, then those of `set`
    become 1."""

    address: int
    clear: int
    set: int


@dataclass(frozen=True, slots=True)
class Uart:
    """The serial port through which a board talks to the host: the one its debug probe offers as a virtual COM port.

    `stm32_v1` has a data register for both ways (F1, F2, F4, L1), `stm32_v2` one for each (all newer series).
    `clock_hz` is the clock that its baud rate is divided from, once the board's `set_up` is done. A `low_power` UART
    (LPUART) divides 256 times that clock.
    """

    kind: Literal["stm32_v1", "stm32_v2"]
    address: int
    clock_hz: int
    low_power: bool = False

    def divisor(self, baud_rate: int) -> int:
        """What the baud rate register (BRR) holds for `baud_rate`, at the oversampling by 16 of a reset."""
        return round(self.clock_hz * (256 if self.low_power else 1) / baud_rate)


@dataclass(frozen=True, slots=True)
class Board:
    """An STM32 board of the table in `conf/board`.

    `clock_hz` is the fastest that the core runs, `reset_clock_hz` what it runs on after a reset. `regions` has the RAM
    regions in the order in which they are preferred for the stack. `set_up` has the writes, in order, that prepare a
    part after a reset: clocks and pins of its UART, an instruction cache where the part has one. `reserved_ram_bytes`
    (stack, application data) and `reserved_flash_bytes` (the application around the network) are kept away from the
    network. `stedgeai_target` is the series name ST Edge AI takes, or None where ST supports none; `openocd` the file
    of OpenOCD's scripts for the board, or None where it has none.
    """

    name: str
    part: str
    core: str
    clock_hz: int
    reset_clock_hz: int
    regions: tuple[MemoryRegion, ...]
    reserved_ram_bytes: int
    reserved_flash_bytes: int
    stedgeai_target: str | None
    openocd: str | None
    set_up: tuple[RegisterWrite, ...]
    uart: Uart
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

    @property
    def free_ram_bytes(self) -> int:
        """What the largest RAM region has for the network: all of it, where another region takes the reserve."""
        sizes = sorted(region.size_bytes for region in self.regions if region.kind == "ram")
        if len(sizes) > 1 and sizes[-2] >= self.reserved_ram_bytes:
            return sizes[-1]
        return sizes[-1] - self.reserved_ram_bytes

    @property
    def free_flash_bytes(self) -> int:
        """What the largest Flash region has for the network, after the reserve."""
        return self.flash_bytes - self.reserved_flash_bytes


@dataclass(frozen=True, slots=True)
class Change:
    """An edit of the network that lowers a figure: `text` says it in words, `value` is what the figure would be then,
    `fits` whether the whole network would keep its budget."""

    text: str
    value: int
    fits: bool


@dataclass(frozen=True, slots=True)
class Violation:
    """One limit that a report breaks. `binding` names the layer that decides the figure.

    `limit` and `value` are in bytes, multiply-accumulates, or microseconds (latency). `parts` says what `value` is made
    of, `changes` are the cheapest edits known that would lower it, the best first.
    """

    resource: Resource
    limit: int
    value: int
    binding: str
    parts: str = ""
    changes: tuple[Change, ...] = ()

    @property
    def over(self) -> int:
        """By how much `value` exceeds `limit`."""
        return self.value - self.limit

    def __str__(self) -> str:
        unit = _UNITS[self.resource]
        share = f" (+{100 * self.over / self.limit:.0f} %)" if self.limit > 0 else ""
        parts = f" = {self.parts}" if self.parts else ""
        told = f"{self.resource} {self.value:,}{unit}{parts} > {self.limit:,}{unit}{share}, decided by {self.binding}"
        for change in self.changes:
            told += f"; {change.text}: {change.value:,}{unit}{', fits' if change.fits else ''}"
        return told


_UNITS: dict[Resource, str] = {"ram": " B", "flash": " B", "macs": "", "latency": " us"}


@dataclass(frozen=True, slots=True)
class Budget:
    """Upper limits for a network, runtime included: RAM and Flash in bytes; multiply-accumulates and milliseconds for
    an inference where set.

    Latency is judged by the estimate of cycles in a report, at the clock of the board (see `on`).
    """

    ram_bytes: int
    flash_bytes: int
    macs: int | None
    latency_ms: float | None = None
    clock_hz: int = 0

    def on(self, board: Board) -> "Budget":
        """This budget, cut down to what the board has left after its reserves, and with its clock."""
        return replace(
            self,
            ram_bytes=min(self.ram_bytes, board.free_ram_bytes),
            flash_bytes=min(self.flash_bytes, board.free_flash_bytes),
            clock_hz=board.clock_hz,
        )

    def figure(self, resource: Resource, report: FeasibilityReport) -> int:
        """What `report` says of `resource`, in the unit of `Violation.value`.

        Raises `ConfigError` for the latency by a tier that has no estimate for the board's core.
        """
        match resource:
            case "ram":
                return report.ram_bytes
            case "flash":
                return report.flash_bytes
            case "macs":
                return report.macs
            case "latency":
                if report.cycles is None or not self.clock_hz:
                    raise ConfigError(
                        f"tier {report.tier} has no latency estimate for {report.target}; leave the latency limit out, "
                        "or judge by tier planner"
                    )
                return round(report.cycles * 1_000_000 / self.clock_hz)

    def violations(self, report: FeasibilityReport) -> tuple[Violation, ...]:
        """The limits that `report` breaks; empty when the network fits. Raises as `figure`."""
        found = []
        if report.ram_bytes > self.ram_bytes:
            margin = f" + {report.margin:.0%} margin" if report.margin else ""
            parts = f"{report.activations_bytes:,} activations{margin} + {report.runtime_ram_bytes:,} runtime"
            found.append(Violation("ram", self.ram_bytes, report.ram_bytes, report.binding_layer, parts))
        if report.flash_bytes > self.flash_bytes:
            parts = f"{report.weights_bytes:,} weights + {report.code_bytes:,} code"
            found.append(Violation("flash", self.flash_bytes, report.flash_bytes, report.heaviest_layer, parts))
        if self.macs is not None and report.macs > self.macs:
            found.append(Violation("macs", self.macs, report.macs, report.busiest_layer))
        if self.latency_ms is not None:
            limit, estimate = round(self.latency_ms * 1000), self.figure("latency", report)
            if estimate > limit:
                parts = f"about {report.cycles:,} cycles at {self.clock_hz / 1e6:g} MHz"
                found.append(Violation("latency", limit, estimate, report.busiest_layer, parts))
        return tuple(found)
