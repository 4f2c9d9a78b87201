"""Whether what the planner tier lets pass really fits: its verdicts against tflite-micro's memory and the file's bytes.

    python -m benchmarks.soundness [--architectures 10000] [--boards 10]

Random architectures, all different, as many of each search space, are judged by the planner tier for boards that are
spread over the board table by RAM. What each really needs is taken from its .tflite file: the arena that tflite-micro's
recording allocator states (its head), and the bytes of the weight and bias tensors. With the planner's constants for
the runtime and the board's reserves these must find room in the board's memory regions. A false fit is a network that
passed and has no room; the exit status is 1 if there is any. Code size is the planner's own here: only linking the
firmware can check it.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import tflite

from automcu.board import Board, Budget
from automcu.board_table import load_boards
from automcu.feasibility.planner_tier import PlannerTier
from automcu.feasibility.tflm import TflmTier
from automcu.graph.tflite.writer import write_tflite
from automcu.results import FeasibilityReport
from automcu.spaces import SPACES
from benchmarks.random_graphs import random_graphs

NEAR = 0.95
"""A figure above this share of the limit counts as close to it."""


def spread(boards: tuple[Board, ...], count: int) -> list[Board]:
    """`count` boards from the smallest to the largest RAM."""
    ordered = sorted(boards, key=lambda board: (board.ram_bytes, board.flash_bytes, board.name))
    steps = max(count - 1, 1)
    return [ordered[round(step * (len(ordered) - 1) / steps)] for step in range(count)]


def constant_bytes(data: bytes) -> int:
    """Bytes of the constants that operators multiply by or add, counted in the file; not those that state a shape."""
    model = tflite.Model.GetRootAs(data, 0)
    graph = model.Subgraphs(0)
    buffers = set()
    for position in range(graph.OperatorsLength()):
        operator = graph.Operators(position)
        if model.OperatorCodes(operator.OpcodeIndex()).BuiltinCode() != tflite.BuiltinOperator.RESHAPE:
            buffers |= {graph.Tensors(index).Buffer() for index in operator.InputsAsNumpy().tolist()}
    return sum(int(model.Buffers(number).DataLength()) for number in buffers)


def has_room(board: Board, ram_bytes: int, flash_bytes: int) -> bool:
    """Whether the regions take the network's RAM in one piece, the reserve in one piece, and its Flash with reserve."""
    ram = [region.size_bytes for region in board.regions if region.kind == "ram"]
    flash = [region.size_bytes for region in board.regions if region.kind == "flash"]
    together = max(ram) >= ram_bytes + board.reserved_ram_bytes
    apart = any(
        size >= ram_bytes and max([0, *ram[:place], *ram[place + 1 :]]) >= board.reserved_ram_bytes
        for place, size in enumerate(ram)
    )
    return (together or apart) and max(flash) >= flash_bytes + board.reserved_flash_bytes


def near(board: Board, report: FeasibilityReport) -> bool:
    """Whether RAM or Flash is close to what the board has to give."""
    ram, flash = report.ram_bytes / board.free_ram_bytes, report.flash_bytes / board.free_flash_bytes
    return max(ram, flash) > NEAR


def networks(count: int) -> Iterator[tuple[FeasibilityReport, bytes]]:
    """The planner tier's report and the file of `count` random architectures."""
    planner = PlannerTier()
    names = sorted(SPACES)
    for place, name in enumerate(names):
        share = count // len(names) + (place < count % len(names))
        for graph in random_graphs(name, share, seed=1):
            yield planner.report(graph, Path), write_tflite(graph, seed=1)


def main() -> None:
    """Judge, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--architectures", type=int, default=10_000)
    parser.add_argument("--boards", type=int, default=10)
    asked = parser.parse_args()
    boards = spread(load_boards(), asked.boards)
    budgets = {board.name: Budget(board.free_ram_bytes, board.free_flash_bytes, None) for board in boards}
    counts: dict[str, Counter[tuple[bool, bool]]] = {board.name: Counter() for board in boards}
    close = count = 0
    tier = TflmTier()
    began = time.perf_counter()
    for report, data in networks(asked.architectures):
        count += 1
        ram = tier.allocations(data).head + report.runtime_ram_bytes
        flash = constant_bytes(data) + report.code_bytes
        for board in boards:
            fits, room = not budgets[board.name].violations(report), has_room(board, ram, flash)
            counts[board.name][fits, room] += 1
            close += fits and near(board, report)
            if fits and not room:
                print(
                    f"  false fit: graph {report.graph_fingerprint} on {board.name}: {ram:,} B RAM, {flash:,} B Flash"
                )
    tier.close()
    seconds = time.perf_counter() - began
    print(f"planner tier against tflite-micro {tier.version}: {count:,} architectures, {len(boards)} boards")
    print(f"{'board':<20}{'fits, true':>12}{'fits, false':>12}{'not, true':>12}{'not, false':>12}")
    total: Counter[tuple[bool, bool]] = Counter()
    for board in boards:
        found = counts[board.name]
        total += found
        print(board.name.ljust(20) + "".join(f"{found[cell]:>12,}" for cell in CELLS))
    print("all".ljust(20) + "".join(f"{total[cell]:>12,}" for cell in CELLS))
    print(
        f"{close:,} of the fits are within {1 - NEAR:.0%} of a limit; {seconds:.0f} s, {count / seconds:.0f} networks/s"
    )
    sys.exit(1 if total[True, False] else 0)


CELLS = ((True, True), (True, False), (False, False), (False, True))
"""What the planner says, and whether there is room: in the order of the columns."""


if __name__ == "__main__":
    main()
