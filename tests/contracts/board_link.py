"""What every `BoardLink` must do; inherit and give it a `link` and an `image` of `firmware(...)`."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from automcu.board import Board
from automcu.deploy.boards.link import BoardDisconnected, BoardFault, BoardHung, BoardLink, BoardSession, Statistics
from automcu.deploy.emit.emitter import EmittedNetwork
from automcu.deploy.firmware.project import firmware_project
from automcu.deploy.toolchain.toolchain import Image, Project
from automcu.errors import DataError

INPUT_BYTES, OUTPUT_BYTES, ARENA_BYTES = 8, 4, 32
SHA256 = bytes(range(100, 132))
COMPUTE, HANG, READ, WRITE, CALL, RECURSE, UNDEFINED = range(7)
NOWHERE = 0x6000_0000
"""No part of the table has memory there, nor has a program on a 64-bit host."""
WEIGHTS = bytes((7 * i * i + 3 * i) % 251 for i in range(1_000))

_HEADER = f"""\
#include <stdint.h>
#define NETWORK_ARENA_BYTES {ARENA_BYTES}
#define NETWORK_INPUT_BYTES {INPUT_BYTES}
#define NETWORK_OUTPUT_BYTES {OUTPUT_BYTES}
#define NETWORK_INPUTS 1
#define NETWORK_OUTPUTS 1
extern const uint8_t network_sha256[32];
void *network_input(uint32_t i);
uint32_t network_input_bytes(uint32_t i);
const void *network_output(uint32_t i);
uint32_t network_output_bytes(uint32_t i);
void network_run(void);
"""
_SOURCE = f"""\
#include "network.h"
const uint8_t network_sha256[32] = {{{", ".join(map(str, SHA256))}}};
static const uint8_t weights[{len(WEIGHTS)}] = {{{", ".join(map(str, WEIGHTS))}}};
#ifdef __ELF__
__attribute__((section(".arena"), aligned(16)))
#endif
static uint8_t arena[{ARENA_BYTES}];
void *network_input(uint32_t i) {{ (void)i; return arena; }}
uint32_t network_input_bytes(uint32_t i) {{ (void)i; return {INPUT_BYTES}; }}
const void *network_output(uint32_t i) {{ (void)i; return arena + 16; }}
uint32_t network_output_bytes(uint32_t i) {{ (void)i; return {OUTPUT_BYTES}; }}

/* Branches, conditions and loads from Flash, as many as the input says. */
__attribute__((noinline)) uint32_t layer(const uint8_t *in, uint32_t count)
{{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < count; i++) {{
        uint32_t product = (uint32_t)in[i % {INPUT_BYTES}] * weights[i];
        if (product & 1) {{
            sum = sum * 31 + product;
        }} else {{
            sum -= product > 5000 ? 5000 : product;
        }}
    }}
    return sum;
}}

__attribute__((noinline)) uint32_t recurse(uint32_t depth)
{{
    volatile uint32_t here[16];
    here[depth & 15] = depth;
    return recurse(depth + 1) + here[depth & 7];
}}

void network_run(void)
{{
    uint32_t address = arena[4] | arena[5] << 8 | arena[6] << 16 | (uint32_t)arena[7] << 24;
    volatile uint8_t *memory = (volatile uint8_t *)(uintptr_t)address;
    uint32_t result;
    switch (arena[0]) {{
    case {HANG}:
        for (;;) {{
            (void)*(volatile uint8_t *)arena;
        }}
    case {READ}:
        result = *memory;
        break;
    case {WRITE}:
        *memory = 1;
        result = *memory;
        break;
    case {CALL}:
        ((void (*)(void))(uintptr_t)(address | 1))();
        result = 0;
        break;
    case {RECURSE}:
        result = recurse(0);
        break;
    case {UNDEFINED}:
        __builtin_trap();
    default:
        result = layer(arena, {len(WEIGHTS)}) ^ layer(arena, arena[1]);
    }}
    for (int i = 0; i < {OUTPUT_BYTES}; i++) {{
        arena[16 + i] = (uint8_t)(result >> 8 * i);
    }}
}}
"""


def firmware(board: Board, source: str = _SOURCE) -> Project:
    """The real firmware for `board`, with a 'network' whose first input byte says what it does: `COMPUTE`, or what no
    network should."""
    files = {"network.c": source, "network.h": _HEADER}
    return firmware_project(board, EmittedNetwork(files, INPUT_BYTES, OUTPUT_BYTES, ARENA_BYTES))


def inputs(what: int, address: int = 0, more: int = 0) -> bytes:
    return bytes([what, more, 0, 0]) + address.to_bytes(4, "little")


def expected(given: bytes) -> bytes:
    """What the network computes for `COMPUTE`."""

    def layer(count: int) -> int:
        total = 0
        for i in range(count):
            product = given[i % INPUT_BYTES] * WEIGHTS[i]
            total = total * 31 + product if product & 1 else total - min(product, 5000)
        return total & 0xFFFF_FFFF

    return (layer(len(WEIGHTS)) ^ layer(given[1])).to_bytes(OUTPUT_BYTES, "little")


class BoardLinkContract:
    """One suite for all links. `link_of` makes a link with a time limit for an inference, in seconds."""

    @pytest.fixture
    def link_of(self) -> Callable[[float], BoardLink]:
        raise NotImplementedError

    @pytest.fixture
    def image(self) -> Image:
        raise NotImplementedError

    @pytest.fixture
    def opened(self, link_of, image) -> AbstractContextManager[BoardSession]:
        return link_of(60.0).open(image)

    def test_the_board_says_what_it_runs(self, opened):
        with opened as session:
            for _ in range(2):
                identity = session.identify()
                assert identity.network_sha256 == SHA256.hex()
                sizes = identity.input_bytes, identity.output_bytes, identity.arena_bytes
                assert sizes == (INPUT_BYTES, OUTPUT_BYTES, ARENA_BYTES)
                assert identity.clock_hz > 0

    def test_inferences_are_right_in_any_order(self, link_of, image):
        link = link_of(60.0)
        assert link.unit in ("instructions", "cycles", "nanoseconds") and link.name
        all_inputs = [inputs(COMPUTE, 0x01020304, 17), inputs(COMPUTE, 0xA5A5A5A5, 255), inputs(COMPUTE)]
        with link.open(image) as session:
            for given in (*all_inputs, *reversed(all_inputs)):
                answer = session.infer(given)
                assert answer.outputs == expected(given)
                assert answer.ticks > 0

    def test_statistics_are_those_of_the_stack(self, opened):
        with opened as session:
            before = session.statistics()
            session.infer(inputs(COMPUTE))
            after = session.statistics()
        assert isinstance(after, Statistics)
        assert before.stack_peak_bytes <= after.stack_peak_bytes <= after.stack_bytes
        assert before.stack_bytes == after.stack_bytes and before.static_ram_bytes == after.static_ram_bytes

    def test_wrong_size_of_the_input_is_refused_and_harmless(self, opened):
        with opened as session:
            for wrong in (b"", bytes(INPUT_BYTES - 1), bytes(INPUT_BYTES + 1)):
                with pytest.raises(DataError, match=f"takes {INPUT_BYTES} bytes"):
                    session.infer(wrong)
            assert session.infer(inputs(COMPUTE)).outputs == expected(inputs(COMPUTE))

    def test_a_hung_firmware_is_told(self, link_of, image):
        with link_of(0.2).open(image) as session, pytest.raises(BoardHung):
            session.infer(inputs(HANG))

    def test_a_faulting_firmware_is_told(self, opened):
        with opened as session, pytest.raises(BoardFault):
            session.infer(inputs(READ, NOWHERE))

    def test_each_start_is_a_fresh_one(self, link_of, image):
        link = link_of(60.0)
        with pytest.raises(BoardFault), link.open(image) as session:
            session.infer(inputs(WRITE, NOWHERE))
        with link.open(image) as session:
            assert session.infer(inputs(COMPUTE)).outputs == expected(inputs(COMPUTE))

    def test_after_the_end_nothing_answers(self, opened):
        with opened as session:
            session.identify()
        with pytest.raises((BoardHung, BoardDisconnected, BoardFault)):
            session.infer(inputs(COMPUTE))

    def test_nothing_is_left_behind(self, link_of, image, monkeypatch, tmp_path):
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        with pytest.raises(ZeroDivisionError), link_of(60.0).open(image) as session:
            session.infer(inputs(COMPUTE))
            raise ZeroDivisionError
        assert not list(Path(tmp_path).iterdir())
