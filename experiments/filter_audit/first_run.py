"""The recorded run of `experiments/first_run`: what of its proposals was rejected, and whether what it trained fits."""

import json
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from automcu.architecture import Architecture
from automcu.board import Budget
from automcu.board_table import load_board
from automcu.feasibility.planner_tier import PlannerTier
from automcu.feasibility.tflm import TflmTier
from automcu.graph.kernel_sets import kernel_set_for
from automcu.graph.lowering import lower
from automcu.graph.tflite.writer import write_tflite
from automcu.spaces import make_space

_RECORD = Path(__file__).parent.parent / "first_run" / "candidates.parquet"
_BOARD = load_board("nucleo_f746zg")
_BUDGET = Budget(256_000, 512_000, 15_000_000).on(_BOARD)


@dataclass(frozen=True, slots=True)
class FirstRun:
    """Counts of candidates. `infeasible_trained` are trained ones that were recorded, or are judged today, as breaking
    a limit; `other_arena` those whose arena by tflite-micro's allocator is not the recorded one."""

    proposed: int
    rejected: int
    trained: int
    not_reached: int
    infeasible_trained: int
    other_arena: int


def trained_in_first_run() -> FirstRun:
    """Count the record, and judge what it trained again, by today's planner and by tflite-micro."""
    rows = pq.read_table(_RECORD).to_pylist()
    trained = [row for row in rows if row["epochs"] is not None]
    space, allocator = make_space("mcu_cnn", (32, 32, 3), 100), TflmTier()
    planner = PlannerTier(kernel_set_for(_BOARD.core))
    infeasible = other_arena = 0
    try:
        for row in trained:
            graph = lower(space.build(Architecture.of(row["space"], json.loads(row["architecture"]))))
            infeasible += bool(row["violations"] or _BUDGET.violations(planner.report(graph, Path)))
            other_arena += allocator.allocations(write_tflite(graph, seed=0)).head != row["activations_bytes"]
    finally:
        allocator.close()
    return FirstRun(
        proposed=len(rows),
        rejected=sum(row["status"] == "rejected" for row in rows),
        trained=len(trained),
        not_reached=sum(row["status"] == "skipped" for row in rows),
        infeasible_trained=infeasible,
        other_arena=other_arena,
    )
