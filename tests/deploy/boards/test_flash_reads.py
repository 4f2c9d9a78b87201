"""Counting what is read from Flash does not change what is executed."""

import pytest

from automcu.board_table import load_board
from automcu.deploy.boards.virtual import VirtualBoard
from automcu.deploy.emit.emitter import EmittedNetwork
from automcu.deploy.firmware.project import firmware_project
from automcu.deploy.toolchain.zig import ZigToolchain

HEADER = """
#include <stdint.h>
#define NETWORK_ARENA_BYTES 16
#define NETWORK_INPUT_BYTES 4
#define NETWORK_OUTPUT_BYTES 4
#define NETWORK_INPUTS 1
#define NETWORK_OUTPUTS 1
extern const uint8_t network_sha256[32];
void *network_input(uint32_t i);
uint32_t network_input_bytes(uint32_t i);
const void *network_output(uint32_t i);
uint32_t network_output_bytes(uint32_t i);
void network_run(void);
"""
SOURCE = """
#include "network.h"
const uint8_t network_sha256[32];
static uint32_t arena[4] __attribute__((section(".arena")));
void *network_input(uint32_t i) { return arena; }
uint32_t network_input_bytes(uint32_t i) { return 4; }
const void *network_output(uint32_t i) { return arena + 1; }
uint32_t network_output_bytes(uint32_t i) { return 4; }

/* A load from Flash in an IT block that a call ends soon after: 100 instructions follow, each adds 1. */
void network_run(void)
{
    static const uint32_t constant = 11;
    uint32_t sum = arena[0];
    __asm__ volatile(
        "cmp %0, #5\\n"
        "ite lt\\n"
        "ldrlt.w r1, [%1]\\n"
        "movge r1, #0\\n"
        "b 1f\\n"
        ".p2align 2\\n"
        "1:\\n"
        ".rept 100\\n"
        "adds %0, #1\\n"
        ".endr\\n"
        "add %0, r1\\n"
        : "+r"(sum) : "r"(&constant) : "r1", "cc");
    arena[1] = sum;
}
"""


@pytest.mark.parametrize("board", ["nucleo_f446re", "nucleo_u575zi_q"])
def test_loads_in_it_blocks(board: str) -> None:
    network = EmittedNetwork({"network.h": HEADER, "network.c": SOURCE}, 4, 4, 16)
    image = ZigToolchain().build(firmware_project(load_board(board), network))
    with VirtualBoard(load_board(board)).open(image) as session:
        for given, expected in ((2, 113), (7, 107)):
            inputs = given.to_bytes(4, "little")
            plain = session.infer(inputs)
            profile = session.profile(inputs)
            assert int.from_bytes(plain.outputs, "little") == expected
            with session._emulator.counting_flash_reads():
                assert session.infer(inputs) == plain
            assert profile.instructions == plain.ticks
            assert profile.flash_bytes >= 4 * (given < 5)
