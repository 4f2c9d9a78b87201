"""Many emitted networks in one image of a virtual board, each with a guard behind its arena."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from automcu.board_table import load_board
from automcu.deploy.boards.virtual import VirtualBoard
from automcu.deploy.emit.emitter import EmittedNetwork
from automcu.deploy.firmware.project import firmware_project
from automcu.deploy.toolchain.zig import ZigToolchain

CORES = {"cortex-m4f": "nucleo_l4r5zi", "cortex-m7f": "nucleo_h743zi2", "cortex-m33f": "nucleo_u575zi_q"}
"""A large board with each core that has the DSP extension."""
_NETWORK = """
#include <string.h>
#include "network.h"
{includes}

#define ARENA __attribute__((section(".arena")))
const uint8_t network_sha256[32];
static uint8_t fed[NETWORK_INPUT_BYTES] ARENA, made[NETWORK_OUTPUT_BYTES] ARENA;

void *network_input(uint32_t i) {{ return fed; }}
uint32_t network_input_bytes(uint32_t i) {{ return NETWORK_INPUT_BYTES; }}
const void *network_output(uint32_t i) {{ return made; }}
uint32_t network_output_bytes(uint32_t i) {{ return NETWORK_OUTPUT_BYTES; }}

void network_run(void)
{{
    uint8_t *from = fed + 2, *to = made;
    switch (fed[0] + 256 * fed[1]) {{
{cases}
    }}
}}
"""
_CASE = """\
    case {number}:
        for (uint32_t i = 0; i < {macro}_INPUTS; from += {name}_input_bytes(i++)) {{
            memcpy({name}_input(i), from, {name}_input_bytes(i));
        }}
        {name}_guard(1);
        {name}_run();
        made[NETWORK_OUTPUT_BYTES - 1] = {name}_guard(0);
        for (uint32_t i = 0; i < {macro}_OUTPUTS; to += {name}_output_bytes(i++)) {{
            memcpy(to, {name}_output(i), {name}_output_bytes(i));
        }}
        break;"""
_GUARD = """
int {name}_guard(int set)
{{
    int kept = 1;
    for (int i = 0; i < {bytes}; i++) {{
        int8_t *guard = {name}_arena + {macro}_ARENA_BYTES + i;
        kept &= *guard == 90;
        if (set) *guard = 90;
    }}
    return kept;
}}
"""
_GUARD_BYTES = 64
_HEADER = """
#include <stdint.h>
#define NETWORK_ARENA_BYTES 0
#define NETWORK_INPUT_BYTES {inputs}
#define NETWORK_OUTPUT_BYTES {outputs}
#define NETWORK_INPUTS 1
#define NETWORK_OUTPUTS 1
extern const uint8_t network_sha256[32];
void *network_input(uint32_t i);
uint32_t network_input_bytes(uint32_t i);
const void *network_output(uint32_t i);
uint32_t network_output_bytes(uint32_t i);
void network_run(void);
"""


def run_networks(networks: Mapping[str, EmittedNetwork], samples: Sequence[np.ndarray], core: str) -> list[np.ndarray]:
    """The outputs of each network (by the name that it was emitted with) for its `samples` (uint8): rows of the bytes
    of all inputs become rows of those of all outputs. Fails when a network writes behind its arena."""
    inputs = 2 + max(network.input_bytes for network in networks.values())
    outputs = 1 + max(network.output_bytes for network in networks.values())
    cases = [_CASE.format(number=i, name=name, macro=name.upper()) for i, name in enumerate(networks)]
    includes = "\n".join(f'#include "{name}.h"\nint {name}_guard(int set);' for name in networks)
    sources = {key: text for network in networks.values() for key, text in network.sources.items()}
    for name in networks:
        source = sources[f"{name}.c"].replace(f"{name}_arena[", f"{name}_arena[{_GUARD_BYTES} + ", 1)
        sources[f"{name}.c"] = source + _GUARD.format(name=name, macro=name.upper(), bytes=_GUARD_BYTES)
    sources["network.h"] = _HEADER.format(inputs=inputs, outputs=outputs)
    sources["network.c"] = _NETWORK.format(includes=includes, cases="\n".join(cases))
    whole = replace(next(iter(networks.values())), sources=sources)
    board = load_board(CORES[core])
    image = ZigToolchain().build(firmware_project(board, whole))
    made = []
    with VirtualBoard(board).open(image) as session:
        for number, ((name, network), rows) in enumerate(zip(networks.items(), samples, strict=True)):
            found = [
                session.infer((number.to_bytes(2, "little") + row.tobytes()).ljust(inputs, b"\0")).outputs
                for row in rows
            ]
            assert all(answer[-1] for answer in found), f"{name} writes behind its arena"
            made.append(np.array([np.frombuffer(bytes_[: network.output_bytes], np.uint8) for bytes_ in found]))
    return made
