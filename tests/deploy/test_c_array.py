import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automcu.deploy.c_array import c_header, c_source
from tests.export.small import SMALL, SMALL_TFLITE

MAIN = """
#include <stdint.h>
#include <stdio.h>
#include "model.h"
int main(void) {
    if ((uintptr_t)automcu_model % 16) return 1;
    if (sizeof automcu_model != AUTOMCU_MODEL_BYTES) return 2;
    if (AUTOMCU_INPUT_SCALE != 1.0f / 128 || AUTOMCU_INPUT_ZERO_POINT != 0) return 3;
    if (AUTOMCU_INPUT_BYTES != AUTOMCU_INPUT_HEIGHT * AUTOMCU_INPUT_WIDTH * AUTOMCU_INPUT_CHANNELS) return 4;
    if (AUTOMCU_OUTPUT_SCALE <= 0 || AUTOMCU_OUTPUT_ZERO_POINT < -128) return 5;
    fwrite(automcu_model, 1, sizeof automcu_model, stdout);
    return 0;
}
"""


def test_the_array_compiles_and_holds_the_file(tmp_path: Path) -> None:
    (tmp_path / "model.h").write_text(c_header(SMALL_TFLITE))
    (tmp_path / "model.c").write_text(c_source(SMALL_TFLITE))
    (tmp_path / "main.c").write_text(MAIN)
    flags = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror"]
    try:
        subprocess.run(["cc", *flags, "model.c", "main.c", "-o", "main"], cwd=tmp_path, check=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("no C compiler named cc")
    ran = subprocess.run([tmp_path / "main"], capture_output=True, timeout=60)
    assert ran.returncode == 0 and ran.stdout == SMALL_TFLITE


def test_the_header_tells_shapes() -> None:
    header = c_header(SMALL_TFLITE)
    for macro, value in zip(("HEIGHT", "WIDTH", "CHANNELS"), SMALL.input_shape, strict=True):
        assert f"#define AUTOMCU_INPUT_{macro} {value}\n" in header
    assert "#define AUTOMCU_OUTPUT_BYTES 5\n" in header


@given(st.binary(min_size=1, max_size=100))
def test_every_byte_of_any_file_is_there(content: bytes) -> None:
    assert bytes(int(value, 16) for value in re.findall("0x(..),", c_source(content))) == content
