"""What the planner states before anything is linked is never less than what firmware takes."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from automcu.board import Board
from automcu.board_table import load_board, load_boards
from automcu.deploy.boards.virtual import VirtualBoard
from automcu.deploy.firmware.linker_script import arena_region
from automcu.deploy.images import FirmwareOptions, build_firmware
from automcu.deploy.toolchain.zig import ZigToolchain
from automcu.feasibility.planner_tier import PlannerTier
from automcu.graph.kernel_sets import kernel_set_for
from automcu.graph.tflite.constants import read_model
from automcu.graph.tflite.writer import write_model, write_tflite
from benchmarks.bit_exact import random_cases
from benchmarks.random_graphs import random_graphs
from tests.deploy.random_models import random_inputs

ROOM_BYTES = 8 << 20
TOOLCHAIN = ZigToolchain()


def networks(graphs: int, models: int) -> Iterator[tuple[str, bytes]]:
    """Files of random architectures of the search space, and of random networks over all operators, some of them with
    constant channels or extreme weights."""
    for number, graph in enumerate(random_graphs("mcu_cnn", graphs, 5)):
        yield f"mcu_cnn {number}", write_tflite(graph, number)
    for label, model, _ in random_cases(range(models)):
        yield label, write_model(model)


def roomy(board: Board) -> Board:
    """`board` with Flash and a RAM region for any network."""
    larger = {"flash", arena_region(board).name}
    return replace(
        board,
        regions=tuple(
            replace(region, size_bytes=ROOM_BYTES) if region.name in larger else region for region in board.regions
        ),
    )


def require_planned(label: str, tflite: bytes, board: Board, options: FirmwareOptions, run: bool) -> None:
    """Build for `board`, and measure its stack there if asked to `run`."""
    model = read_model(tflite)
    planned = PlannerTier(kernel_set_for(board.core)).report(model.graph, Path)
    firmware = build_firmware(tflite, roomy(board), TOOLCHAIN, options)
    linked_ram_bytes = firmware.image.ram_bytes - board.reserved_ram_bytes
    found = {
        "Flash": planned.flash_bytes - firmware.image.flash_bytes,
        "arena": planned.activations_bytes - firmware.plan.arena_bytes,
        "RAM": planned.ram_bytes - linked_ram_bytes,
    }
    if run:
        with VirtualBoard(roomy(board)).open(firmware.image) as session:
            session.infer(random_inputs(model, 0, 1)[0].tobytes())
            measured = session.statistics()
        used = firmware.plan.arena_bytes + measured.static_ram_bytes + measured.stack_peak_bytes
        found["RAM in use"] = planned.ram_bytes - used
    assert min(found.values()) >= 0, f"{label} on {board.name}: planned less linked {found}"


@pytest.mark.parametrize("name", ["nucleo_l010rb", "nucleo_f746zg"])
def test_firmware_takes_no_more_than_was_planned(name: str) -> None:
    board = load_board(name)
    for label, tflite in networks(graphs=2, models=2):
        require_planned(label, tflite, board, FirmwareOptions(), run=label.startswith("random"))


@pytest.mark.slow
def test_sixty_networks_on_all_boards() -> None:
    boards = load_boards()
    order = np.random.default_rng(0).permutation(len(boards))
    for number, (label, tflite) in enumerate(networks(graphs=30, models=30)):
        board = boards[order[number % len(boards)]]
        for keep in (True, False):
            require_planned(label, tflite, board, FirmwareOptions(keep_constant_channels=keep), run=not keep)
