"""A network in a few lines of C, with two inputs and two outputs, that can also misbehave; and images of it."""

from functools import cache

from automcu.board_table import load_board
from automcu.deploy.emit.emitter import EmittedNetwork
from automcu.deploy.firmware.project import firmware_project
from automcu.deploy.toolchain.toolchain import Image
from automcu.deploy.toolchain.zig import ZigToolchain

BOARDS = ("nucleo_g071rb", "stm32l151", "nucleo_f446re", "nucleo_h743zi2", "nucleo_u575zi_q")
"""Every core, both kinds of UART, one and several RAM regions."""
INPUT_BYTES = 16 + 8
OUTPUT_BYTES = 8 + 4
DATA_BYTES = 28
OUT_OF_RAM, OVERFLOW = 77, 78
"""First byte of the inputs: write where there is no memory, call itself without end."""

_HEADER = """\
#include <stdint.h>
#define NETWORK_ARENA_BYTES {arena_bytes}
#define NETWORK_INPUT_BYTES 24
#define NETWORK_OUTPUT_BYTES 12
#define NETWORK_INPUTS 2
#define NETWORK_OUTPUTS 2
extern const uint8_t network_sha256[32];
void *network_input(uint32_t i);
uint32_t network_input_bytes(uint32_t i);
const void *network_output(uint32_t i);
uint32_t network_output_bytes(uint32_t i);
void network_run(void);
"""
# The table is in .data, and keeps the functions of memory.c in the image.
_SOURCE = """\
#include <string.h>
#include "network.h"
static int8_t arena[NETWORK_ARENA_BYTES] __attribute__((aligned(16), section(".arena")));
static const volatile uint8_t filler[{constant_bytes}] = {{1}};
void __aeabi_memset(void *to, size_t count, int value);
void __aeabi_memclr(void *to, size_t count);
static void *volatile table[] = {{arena, memcpy, memmove, memset, memcmp, __aeabi_memset, __aeabi_memclr}};
static volatile int called;
const uint8_t network_sha256[32] = {{1, 2, 3, 255}};
void *network_input(uint32_t i) {{ return arena + (i ? 16 : 0); }}
uint32_t network_input_bytes(uint32_t i) {{ return i ? 8 : 16; }}
const void *network_output(uint32_t i) {{ return arena + (i ? 48 : 32); }}
uint32_t network_output_bytes(uint32_t i) {{ return i ? 4 : 8; }}
static int deep(int n) {{ volatile int here[8] = {{n}}; return n ? deep(n + 1) + here[0] : 0; }}
void network_run(void)
{{
    int8_t *a = table[0];
    if (a[0] == 77) {{ *(volatile int *)0x60000000 = 1; }}
    if (a[0] == 78) {{ called = deep(1); }}
    for (int i = 0; i < 8; i++) a[32 + i] = (int8_t)(a[i] + a[i + 8]);
    for (int i = 0; i < 4; i++) a[48 + i] = (int8_t)(a[16 + i] - a[20 + i]);
    a[32] = (int8_t)(a[32] + filler[0] - 1);
}}
"""


def network(arena_bytes: int = 64, constant_bytes: int = 1) -> EmittedNetwork:
    """The network, with an arena and constants as large as asked for."""
    header = _HEADER.format(arena_bytes=arena_bytes)
    source = _SOURCE.format(constant_bytes=constant_bytes)
    return EmittedNetwork({"network.h": header, "network.c": source}, INPUT_BYTES, OUTPUT_BYTES, arena_bytes)


def outputs(inputs: bytes) -> bytes:
    """What the network answers."""
    first = [inputs[i] + inputs[i + 8] for i in range(8)]
    second = [inputs[16 + i] - inputs[20 + i] for i in range(4)]
    return bytes(value & 255 for value in first + second)


@cache
def toolchain() -> ZigToolchain:
    """One for all tests."""
    return ZigToolchain()


@cache
def image(board: str, arena_bytes: int = 64, constant_bytes: int = 1) -> Image:
    """The image for a board of the table. Raises as `Toolchain.build` does."""
    return toolchain().build(firmware_project(load_board(board), network(arena_bytes, constant_bytes)))
