"""Real firmware of networks: start-up, protocol, kernels, constants and arena, and what the linker says of it.

Weights are random, and channels that happen to be constant by them are kept, because trained networks hardly have any:
that would flatter the planner's bounds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from automcu.board import Board
from automcu.deploy.firmware.linker_script import STATIC_BYTES, arena_region, stack_region
from automcu.deploy.images import FirmwareOptions, build_firmware
from automcu.deploy.toolchain.toolchain import ImageTooLarge, Toolchain
from automcu.results import FeasibilityReport
from experiments.filter_audit.targets import Judged, Target

_ROOM_BYTES = 64 * 2**20
_ARENA_ALIGNMENT = 16
_OPTIONS = FirmwareOptions(keep_constant_channels=True)


@dataclass(frozen=True, slots=True)
class Linked:
    """The linker's verdict. `flash_bytes` and `ram_bytes` (static RAM without the board's reserve) are what the image
    takes; where it does not fit, `region` overflows by `over_bytes`, the most of all regions."""

    fits: bool
    flash_bytes: int
    ram_bytes: int
    region: str
    over_bytes: int


def near_limit(judged: Sequence[Judged], target: Target, count: int) -> list[Judged]:
    """About `count` architectures within a factor of two of a limit: as many that the planner admits as it rejects, as
    many for which RAM is the scarcer as Flash. Half of each group are the closest, the rest are spread evenly."""
    found: list[Judged] = []
    for fits in (True, False):
        for resource in ("ram", "flash"):
            group = [
                (abs(target.fullness(report) - 1), item)
                for item in judged
                if target.fits(report := item.planner[target.kernels]) is fits
                and target.scarcer(report) == resource
                and 0.5 <= target.fullness(report) <= 2
            ]
            group.sort(key=lambda entry: (entry[0], entry[1].architecture.fingerprint))
            closest, others = group[: count // 8], group[count // 8 :]
            wanted = count // 4 - len(closest)
            step = max(len(others) // wanted, 1) if wanted > 0 else 1
            found += [item for _, item in closest + others[::step][:wanted]]
    return found


def may_fit(planned: FeasibilityReport, in_place_bytes: int, target: Target) -> bool:
    """Whether the linker might take a network, for all that is known without it: weights alone, and the arena with sums
    in place, fit."""
    # Variables need not take all of their share of the reserve: the arena may have the rest.
    least = replace(planned, code_bytes=0, activations_bytes=in_place_bytes, runtime_ram_bytes=-STATIC_BYTES)
    return target.fits(least)


def rejected_in_doubt(judged: Sequence[Judged], target: Target) -> list[Judged]:
    """All that the planner rejects and the linker might take."""
    kernels = target.kernels
    return [
        item
        for item in judged
        if not target.fits(item.planner[kernels])
        and may_fit(item.planner[kernels], item.in_place_bytes[kernels], target)
    ]


def link(tflite: bytes, target: Target, toolchain: Toolchain) -> Linked:
    """Build the firmware of an int8 .tflite for `target`; once more with room at the same addresses where it does not
    fit, for the bytes.

    Raises `AssertionError` where the linker's overflow is not that of the bytes.
    """
    board = limited(target)
    try:
        image = build_firmware(tflite, board, toolchain, _OPTIONS).image
        return Linked(True, image.flash_bytes, image.ram_bytes - board.reserved_ram_bytes, "", 0)
    except ImageTooLarge as error:
        refused = error
    firmware = build_firmware(tflite, _sized(board, _ROOM_BYTES, _ROOM_BYTES), toolchain, _OPTIONS)
    image, arena = firmware.image, arena_region(board)
    beside = arena == stack_region(board)
    over = {
        "flash": image.flash_bytes - board.flash_bytes,
        arena.name: (image.ram_bytes if beside else firmware.plan.arena_bytes) - arena.size_bytes,
    }
    if abs(over[refused.region] - refused.over_bytes) >= _ARENA_ALIGNMENT:
        raise AssertionError(f"{target.name}: {refused}, but by the bytes {over}")
    return Linked(
        False, image.flash_bytes, image.ram_bytes - board.reserved_ram_bytes, refused.region, refused.over_bytes
    )


def limited(target: Target) -> Board:
    """The board, with its regions cut down to the limits where less than the whole board was asked for."""
    board, budget = target.board, target.budget
    beside = arena_region(board).size_bytes - board.free_ram_bytes
    cut = _sized(board, budget.flash_bytes + board.reserved_flash_bytes, budget.ram_bytes + beside)
    assert arena_region(cut).name == arena_region(board).name  # another region would hold the arena then
    return cut


def _sized(board: Board, flash_bytes: int, arena_bytes: int) -> Board:
    """`board` with its Flash, and the region of its arena, of these sizes."""
    sizes = {"flash": flash_bytes, arena_region(board).name: arena_bytes}
    regions = (replace(region, size_bytes=sizes.get(region.name, region.size_bytes)) for region in board.regions)
    return replace(board, regions=tuple(regions))
