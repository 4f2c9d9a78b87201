#include "automcu_kernels.h"

void automcu_mean(const automcu_mean_parameters *parameters, const int8_t *restrict input, int8_t *restrict output)
{
    const automcu_mean_parameters p = *parameters;
#pragma GCC unroll 1
    for (int32_t channel = 0; channel < p.depth; channel++) {
        int32_t sum = p.offset;
        const int8_t *pixel = input + channel;
#pragma GCC unroll 1
        for (int32_t i = 0; i < p.count; i++, pixel += p.depth) {
            sum += *pixel;
        }
        *output++ = (int8_t)automcu_apply(&p.rescaling, sum);
    }
}
