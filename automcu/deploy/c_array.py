"""An int8 .tflite file as C99 source that a firmware project compiles in."""

from automcu.export.int8_file import Int8File

_HEADER = """\
/* The network as a .tflite file in Flash, for TensorFlow Lite Micro or any runtime that reads .tflite.
 *
 * Input:  int8[{height}][{width}][{channels}], each value = pixel - 128 (pixel 0..255)
 * Output: int8[{outputs}], logits; real value = (stored - ({output_zero_point})) * {output_scale}; the largest wins
 */
#ifndef AUTOMCU_MODEL_H
#define AUTOMCU_MODEL_H

#define AUTOMCU_MODEL_BYTES {size}
#define AUTOMCU_INPUT_HEIGHT {height}
#define AUTOMCU_INPUT_WIDTH {width}
#define AUTOMCU_INPUT_CHANNELS {channels}
#define AUTOMCU_INPUT_BYTES {input_bytes}
#define AUTOMCU_INPUT_SCALE {input_scale}f
#define AUTOMCU_INPUT_ZERO_POINT ({input_zero_point})
#define AUTOMCU_OUTPUT_BYTES {outputs}
#define AUTOMCU_OUTPUT_SCALE {output_scale}f
#define AUTOMCU_OUTPUT_ZERO_POINT ({output_zero_point})

#ifdef __cplusplus
extern "C" {{
#endif

/* Aligned to 16 bytes, as TensorFlow Lite Micro asks. */
extern const unsigned char automcu_model[AUTOMCU_MODEL_BYTES];

#ifdef __cplusplus
}}
#endif

#endif
"""
_SOURCE = """\
#include "model.h"

#if defined(__GNUC__)
#define ALIGNED __attribute__((aligned(16)))
#else
#define ALIGNED
#endif

const unsigned char automcu_model[AUTOMCU_MODEL_BYTES] ALIGNED = {{
{rows}
}};
"""
_BYTES_PER_ROW = 16


def c_header(tflite: bytes) -> str:
    """`model.h`: sizes, shapes and quantization as macros, and the array's declaration."""
    file = Int8File.read(tflite)
    height, width, channels = file.input_shape
    return _HEADER.format(
        size=len(tflite),
        height=height,
        width=width,
        channels=channels,
        input_bytes=height * width * channels,
        input_scale=f"{file.input.scale:.9e}",
        input_zero_point=file.input.zero_point,
        outputs=file.output_count,
        output_scale=f"{file.output.scale:.9e}",
        output_zero_point=file.output.zero_point,
    )


def c_source(tflite: bytes) -> str:
    """`model.c`: the array's definition."""
    values = [f"0x{byte:02x}," for byte in tflite]
    rows = ["    " + " ".join(values[i : i + _BYTES_PER_ROW]) for i in range(0, len(values), _BYTES_PER_ROW)]
    return _SOURCE.format(rows="\n".join(rows))
