"""What networks are judged for, and what each tier says of one."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from automcu.architecture import Architecture
from automcu.board import Board, Budget
from automcu.board_table import load_board
from automcu.feasibility.planner_tier import PlannerTier
from automcu.feasibility.st.estimate import StEstimate
from automcu.feasibility.tflm import TflmTier
from automcu.feasibility.tier import FeasibilityTier
from automcu.graph.kernel_sets import KernelSet, kernel_set_for
from automcu.graph.lowering import lower
from automcu.graph.planner import plan_memory
from automcu.graph.tflite.writer import write_tflite
from automcu.results import FeasibilityReport
from automcu.spaces.space import Space

ALL = 2**31
"""A limit in bytes that no board reaches: all that the board has."""
KERNELS: tuple[KernelSet, ...] = ("portable", "dsp")
"""AutoMCU's own: those of Cortex-M0+ and M3, and those of Cortex-M4, M7 and M33."""


@dataclass(frozen=True, slots=True)
class Target:
    """A board and the limits asked for on it."""

    name: str
    board: Board
    asked: Budget

    @property
    def kernels(self) -> KernelSet:
        """The kernels that run there."""
        return kernel_set_for(self.board.core)

    @property
    def budget(self) -> Budget:
        """What the network may take: the limits asked for, or what the board has after its reserves."""
        return self.asked.on(self.board)

    def fits(self, report: FeasibilityReport, factor: float = 1.0) -> bool:
        """Whether a network of `report` fits, with both limits scaled by `factor`."""
        budget = self.budget
        return not Budget(round(factor * budget.ram_bytes), round(factor * budget.flash_bytes), budget.macs).violations(
            report
        )

    def fullness(self, report: FeasibilityReport) -> float:
        """What the network takes of the scarcer resource, as a share of its limit: above 1 it does not fit."""
        return max(report.ram_bytes / self.budget.ram_bytes, report.flash_bytes / self.budget.flash_bytes)

    def scarcer(self, report: FeasibilityReport) -> str:
        """`ram` or `flash`: the one of which the network takes the larger share."""
        budget = self.budget
        return "ram" if report.ram_bytes / budget.ram_bytes > report.flash_bytes / budget.flash_bytes else "flash"


def targets() -> tuple[Target, ...]:
    """Three whole boards (a Cortex-M0+; two M4, one of them with two RAM regions), and the two limits of the paper on
    boards with room (a Cortex-M7 and an M33)."""
    whole = ("nucleo_l010rb", "nucleo_l476rg", "nucleo_f446re")
    return (
        *(Target(name, load_board(name), Budget(ALL, ALL, None)) for name in whole),
        Target("64/64 KB", load_board("nucleo_f746zg"), Budget(64_000, 64_000, None)),
        Target("256/512 KB", load_board("nucleo_h563zi"), Budget(256_000, 512_000, None)),
    )


@dataclass(frozen=True, slots=True)
class Judged:
    """An architecture that can be built, and what it costs.

    `aim` is the target that the proposer knew of, empty where it knew none. `planner` has the planner's report by
    kernel set, `in_place_bytes` the arena if sums may lie where an operand lay, as in firmware; `others` has the
    reports of the other tiers by label.
    """

    proposer: str
    aim: str
    architecture: Architecture
    planner: Mapping[KernelSet, FeasibilityReport]
    in_place_bytes: Mapping[KernelSet, int]
    others: Mapping[str, FeasibilityReport]

    def reports(self, target: Target) -> dict[str, FeasibilityReport]:
        """What every tier says for `target`, by label."""
        return {"planner": self.planner[target.kernels], **self.others}


def other_tiers() -> dict[str, FeasibilityTier]:
    """The tiers beside the planner that need no program of ST's, by label; `close` them all."""
    return {"tflm": TflmTier(), **{f"st_estimate {version}": StEstimate(version) for version in ("8.1", "10.2", "4.0")}}


def judged(
    space: Space, proposed: Iterable[tuple[str, str, Architecture]], others: Mapping[str, FeasibilityTier]
) -> Iterator[Judged]:
    """What the planner and `others` say of each proposed (proposer, aim, architecture)."""
    planners = {kernels: PlannerTier(kernels) for kernels in KERNELS}
    with TemporaryDirectory(prefix="automcu-") as folder:
        file = Path(folder) / "model.tflite"
        for proposer, aim, architecture in proposed:
            graph = lower(space.build(architecture))
            file.write_bytes(write_tflite(graph, seed=0))
            yield Judged(
                proposer,
                aim,
                architecture,
                {kernels: planner.report(graph, Path) for kernels, planner in planners.items()},
                {kernels: plan_memory(graph, in_place_add=True, kernels=kernels).arena_bytes for kernels in KERNELS},
                {label: tier.report(graph, lambda: file) for label, tier in others.items()},
            )
