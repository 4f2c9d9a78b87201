#include "automcu_kernels.h"

void automcu_rescale(const automcu_rescale_parameters *parameters, const int8_t *restrict input,
                     int8_t *restrict output)
{
    const automcu_rescale_parameters p = *parameters;
#pragma GCC unroll 1
    for (int32_t i = 0; i < p.count; i++) {
        const int32_t x = (int8_t)(input[i] ^ p.input_flip);
        output[i] = (int8_t)(automcu_apply(&p.rescaling, x - p.input_zero_point) ^ p.output_flip);
    }
}

void automcu_flip(const void *restrict input, void *restrict output, int32_t count)
{
    const uint32_t *from = input;
    uint32_t *to = output;
#pragma GCC unroll 1
    for (int32_t i = 0; i < count; i += 4) {
        *to++ = *from++ ^ UINT32_C(0x80808080);
    }
}

void automcu_clip(const int8_t *restrict input, int8_t *restrict output, int32_t count, int32_t minimum,
                  int32_t maximum)
{
#pragma GCC unroll 1
    for (int32_t i = 0; i < count; i++) {
        output[i] = (int8_t)automcu_clamp(input[i], minimum, maximum);
    }
}
