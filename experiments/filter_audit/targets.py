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
from automcu.graph.lowering import lower
from automcu.graph.planner import plan_memory
from automcu.graph.tflite.writer import write_tflite
from automcu.results import FeasibilityReport
from automcu.spaces.space import Space

ALL = 2**31
"""A limit in bytes that no board reaches: all that the board has."""


@dataclass(frozen=True, slots=True)
class Target:
    """A board and the limits asked for on it."""

    name: str
    board: Board
    asked: Budget

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
    """Three whole boards (the second with two RAM regions), and the two limits of the paper on a board with room."""
    whole = ("nucleo_l010rb", "nucleo_l476rg", "nucleo_f446re")
    roomy = load_board("nucleo_f746zg")
    return (
        *(Target(name, load_board(name), Budget(ALL, ALL, None)) for name in whole),
        Target("64/64 KB", roomy, Budget(64_000, 64_000, None)),
        Target("256/512 KB", roomy, Budget(256_000, 512_000, None)),
    )


@dataclass(frozen=True, slots=True)
class Judged:
    """An architecture that can be built, and what it costs by each tier.

    `aim` is the target that the proposer knew of, empty where it knew none. `in_place_bytes` is the planner's arena
    if sums may lie where an operand lay.
    """

    proposer: str
    aim: str
    architecture: Architecture
    reports: Mapping[str, FeasibilityReport]
    in_place_bytes: int


def tiers() -> dict[str, FeasibilityTier]:
    """The tiers that need no program of ST's, by label; `close` them all."""
    versions = ("8.1", "10.2", "4.0")
    return {
        "planner": PlannerTier(),
        "tflm": TflmTier(),
        **{f"st_estimate {version}": StEstimate(version) for version in versions},
    }


def judged(
    space: Space, proposed: Iterable[tuple[str, str, Architecture]], asked: Mapping[str, FeasibilityTier]
) -> Iterator[Judged]:
    """What every tier says of each proposed (proposer, aim, architecture)."""
    with TemporaryDirectory(prefix="automcu-") as folder:
        file = Path(folder) / "model.tflite"
        for proposer, aim, architecture in proposed:
            graph = lower(space.build(architecture))
            file.write_bytes(write_tflite(graph, seed=0))
            reports = {label: tier.report(graph, lambda: file) for label, tier in asked.items()}
            yield Judged(proposer, aim, architecture, reports, plan_memory(graph, in_place_add=True).arena_bytes)
