"""The C arithmetic of the kernels equals the exact integers of `automcu.graph.requantize`."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from automcu.deploy.emit.kernel_set import PORTABLE
from automcu.graph.requantize import multiply_by_quantized_multiplier
from tests.deploy.emit.native import compiler

_PROGRAM = """
#include <stdio.h>
#include "automcu_kernels.h"
int main(void)
{
    int32_t rows[3];
    while (fread(rows, 4, 3, stdin) == 3) {
        int32_t y = automcu_requantize(rows[0], rows[1], rows[2]);
        fwrite(&y, 4, 1, stdout);
    }
    return 0;
}
"""


@pytest.mark.parametrize("core", [(), ("-D__ARM_ARCH_6M__",)])
def test_requantization_of_extreme_and_random_values(tmp_path: Path, core: tuple[str, ...]) -> None:
    random = np.random.default_rng(0)
    largest = 2**31 - 1
    extremes = [-(2**31), -largest, -(2**30), -1, 0, 1, 2**30, 2**30 + 1, largest]
    values = np.concatenate([extremes, random.integers(-(2**31), 2**31, 2000), random.integers(-3000, 3000, 2000)])
    multipliers = [2**30, largest, 0, *random.integers(2**30, 2**31, 12), *random.integers(-largest, -(2**30), 3)]
    rows = np.array(
        [(value, multiplier, shift) for shift in range(-31, 31) for multiplier in multipliers for value in values[::19]]
        + [
            (value, multiplier, shift)
            for shift in (-31, -9, -1, 0, 1)
            for multiplier in multipliers
            for value in values
        ],
        np.int64,
    )
    # The least int32 has no counterpart: rounding half away from zero starts from larger values.
    rows = rows[~((rows[:, 0] == -(2**31)) & (rows[:, 1] < 0))].astype(np.int32)
    (tmp_path / "main.c").write_text(_PROGRAM)
    program = tmp_path / "program"
    command = [*compiler(), *core, "-I", str(PORTABLE), "-o", str(program), "main.c"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    ran = subprocess.run([program], input=rows.tobytes(), capture_output=True, timeout=60, check=True)
    made = np.frombuffer(ran.stdout, np.int32)
    assert np.array_equal(made, multiply_by_quantized_multiplier(*rows.T))
