#include "automcu_kernels.h"

/* round(x / scale) + zero_point, half away from zero, clamped to int8. */
void automcu_quantize(const void *restrict input, int8_t *restrict output, int32_t count, float scale,
                      int32_t zero_point)
{
    const float *values = input;
#pragma GCC unroll 1
    for (int32_t i = 0; i < count; i++) {
        const float x = values[i] / scale;
        /* Beyond these the result is clamped anyway; not a number becomes the least. */
        const float bounded = x > 1000.0f ? 1000.0f : x > -1000.0f ? x : -1000.0f;
        int32_t rounded = (int32_t)bounded;
        const float rest = bounded - (float)rounded;
        rounded += (rest >= 0.5f) - (rest <= -0.5f);
        output[i] = (int8_t)automcu_clamp(rounded + zero_point, -128, 127);
    }
}

void automcu_dequantize(const int8_t *restrict input, void *restrict output, int32_t count, float scale,
                        int32_t zero_point, int32_t flip)
{
    float *values = output;
#pragma GCC unroll 1
    for (int32_t i = 0; i < count; i++) {
        values[i] = scale * (float)((int8_t)(input[i] ^ flip) - zero_point);
    }
}
