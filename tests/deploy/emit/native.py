"""Emitted networks, many at once, as one program of this host that computes with them."""

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from automcu.deploy.emit.emitter import EmittedNetwork, emit_network
from automcu.graph.int8_model import Int8Model
from automcu.graph.kernel_sets import KernelSet
from automcu.graph.planner import plan_memory

SHA256 = "ab" * 32
_STRICT = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Wno-sign-conversion", "-Werror")
_MAIN = """
#include <stdio.h>
#include <string.h>
{includes}

static int serve(void *(*input)(uint32_t), uint32_t (*input_bytes)(uint32_t), uint32_t inputs,
                 const void *(*output)(uint32_t), uint32_t (*output_bytes)(uint32_t), uint32_t outputs,
                 void (*run)(void))
{{
    for (int sample = 0; sample < {samples}; sample++) {{
        for (uint32_t i = 0; i < inputs; i++) {{
            if (fread(input(i), 1, input_bytes(i), stdin) != input_bytes(i)) return 1;
        }}
        run();
        for (uint32_t i = 0; i < outputs; i++) {{
            fwrite(output(i), 1, output_bytes(i), stdout);
        }}
    }}
    return 0;
}}

int main(void)
{{
    return {calls};
}}
"""


def emit(
    model: Int8Model, name: str = "network", kernels: KernelSet = "portable", in_place_add: bool = True
) -> EmittedNetwork:
    """`model` with its plan."""
    plan = plan_memory(model.graph, in_place_add=in_place_add, kernels=kernels)
    return emit_network(model, plan, kernels, SHA256, name)


def compiler() -> list[str]:
    """The host's C compiler, with checks for undefined behaviour and for accesses out of bounds where it has them."""
    found = shutil.which("gcc")
    if found is None:
        return [sys.executable, "-m", "ziglang", "cc", *_STRICT, "-O1"]
    return [found, *_STRICT, "-O1", "-fsanitize=undefined,address", "-fno-sanitize-recover"]


def run_networks(
    networks: Mapping[str, EmittedNetwork], samples: Sequence[np.ndarray], folder: Path
) -> list[np.ndarray]:
    """The outputs of each network (by the name that it was emitted with) for its `samples` (uint8, as many rows for
    each): rows of the bytes of all outputs."""
    sources: dict[str, str] = {}
    calls = []
    for name, network in networks.items():
        sources |= network.sources
        ends = (f"{name}_{side}, {name}_{side}_bytes, {name.upper()}_{side.upper()}S" for side in ("input", "output"))
        calls.append(f"serve({', '.join(ends)}, {name}_run)")
    sources["main.c"] = _MAIN.format(
        includes="\n".join(f'#include "{name}.h"' for name in networks),
        samples=len(samples[0]),
        calls=" || ".join(calls),
    )
    for file, text in sources.items():
        (folder / file).write_text(text, encoding="utf-8")
    program = folder / "program"
    compiled = [*compiler(), "-o", str(program), *(file for file in sources if file.endswith(".c"))]
    done = subprocess.run(compiled, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    fed = b"".join(rows.tobytes() for rows in samples)
    ran = subprocess.run([program], input=fed, capture_output=True, timeout=300)
    assert ran.returncode == 0, ran.stderr.decode()[-4000:]
    outputs = []
    begin = 0
    for network, rows in zip(networks.values(), samples, strict=True):
        end = begin + len(rows) * network.output_bytes
        outputs.append(np.frombuffer(ran.stdout[begin:end], np.uint8).reshape(len(rows), -1))
        begin = end
    assert begin == len(ran.stdout)
    return outputs
