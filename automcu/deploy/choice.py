"""How firmware is built and where it runs: names become a toolchain and a link to a board."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from automcu.board import Board
from automcu.errors import ConfigError

if TYPE_CHECKING:  # a configuration is read long before anything is deployed
    from automcu.deploy.boards.link import BoardLink
    from automcu.deploy.prover import Prover
    from automcu.deploy.toolchain.toolchain import Toolchain

LinkName = Literal["virtual", "qemu", "serial", "host"]
ToolchainName = Literal["zig", "gcc"]
KernelsName = Literal["auto", "portable", "dsp", "cmsis_nn"]
FlasherName = Literal["auto", "stm32_programmer_cli", "openocd", "pyocd", "st-flash"]


@dataclass(frozen=True, slots=True)
class ProverSettings:
    """`link` says which board runs the firmware: a virtual one (any board of the table), one that QEMU models, the one
    wired to `port` (None: the only ST-LINK found), or this host, which runs the portable kernels alone. `flasher` and
    `probe` (a serial number) are for real boards. `kernels` auto takes the fastest that the core can run.

    Raises `ConfigError` for settings that do not go together, whatever is installed."""

    link: LinkName = "virtual"
    toolchain: ToolchainName = "zig"
    kernels: KernelsName = "auto"
    keep_constant_channels: bool = False
    port: str | None = None
    flasher: FlasherName = "auto"
    probe: str | None = None

    def __post_init__(self) -> None:
        if self.link != "serial" and (self.port, self.flasher, self.probe) != (None, "auto", None):
            raise ConfigError(
                f"port, flasher and probe are for a board on a serial line, not for {self.link}; leave them out, or "
                "use link serial"
            )
        if self.link == "host" and self.kernels not in ("auto", "portable"):
            raise ConfigError(f"this host cannot run {self.kernels} kernels; use kernels portable with link host")


def prover_for(board: Board, settings: ProverSettings) -> "Prover":
    """What builds firmware for `board` and runs it.

    Raises `ConfigError` for a flasher that is none or kernels that the core cannot run, `InfraFailure` when a program
    is missing on this host.
    """
    from automcu.deploy.images import FirmwareOptions
    from automcu.deploy.prover import Prover
    from automcu.graph.kernel_sets import kernel_set_for

    kernels = None if settings.kernels == "auto" else settings.kernels
    if settings.link == "host":
        kernels = "portable"
    if kernels == "dsp" and kernel_set_for(board.core) != "dsp":
        raise ConfigError(f"the {board.core} of {board.name} cannot run dsp kernels; use kernels auto or portable")
    options = FirmwareOptions(kernels, settings.keep_constant_channels)
    return Prover(board, _toolchain(settings), _link(board, settings), options)


def _toolchain(settings: ProverSettings) -> "Toolchain":
    if settings.link == "host":
        from automcu.deploy.toolchain.host import HostToolchain

        return HostToolchain()
    if settings.toolchain == "gcc":
        from automcu.deploy.toolchain.gcc import ArmGccToolchain

        return ArmGccToolchain()
    from automcu.deploy.toolchain.zig import ZigToolchain

    return ZigToolchain()


def _link(board: Board, settings: ProverSettings) -> "BoardLink":
    match settings.link:
        case "virtual":
            from automcu.deploy.boards.virtual import VirtualBoard

            return VirtualBoard(board)
        case "qemu":
            from automcu.deploy.boards.qemu import QemuBoard

            return QemuBoard(board)
        case "serial":
            from automcu.deploy.boards.flashing.flasher import find_flasher
            from automcu.deploy.boards.serial import SerialBoard

            return SerialBoard(board, settings.port, find_flasher(board, settings.flasher), settings.probe)
        case "host":
            from automcu.deploy.boards.host import HostBoard

            return HostBoard()
