"""The portable kernels as they are compiled for microcontrollers, Armv6-M's own code among them, on virtual boards."""

import pytest

from automcu.board_table import load_board
from automcu.deploy.boards.virtual import VirtualBoard
from automcu.deploy.firmware.project import firmware_project
from automcu.deploy.toolchain.zig import ZigToolchain
from automcu.graph.tflite.writer import write_model
from tests.deploy.emit.native import emit
from tests.deploy.oracle import Oracle
from tests.deploy.random_models import random_inputs, random_model

SAMPLES = 3


def require_exact(board_name: str, seeds: range) -> None:
    board, toolchain = load_board(board_name), ZigToolchain()
    with Oracle() as oracle:
        for seed in seeds:
            model = random_model(seed)
            samples = random_inputs(model, seed, SAMPLES)
            expected = oracle.outputs(model.graph, write_model(model), samples)
            image = toolchain.build(firmware_project(board, emit(model)))
            with VirtualBoard(board).open(image) as session:
                outputs = [session.infer(sample.tobytes()).outputs for sample in samples]
            assert outputs == [row.tobytes() for row in expected], f"random model {seed}"


def test_a_network_on_the_smallest_core() -> None:
    require_exact("nucleo_g071rb", range(7, 8))


@pytest.mark.slow
@pytest.mark.parametrize("board", ["nucleo_f072rb", "nucleo_g071rb", "stm32l151", "nucleo_f446re"])
def test_many_networks(board: str) -> None:
    require_exact(board, range(2000, 2030))
