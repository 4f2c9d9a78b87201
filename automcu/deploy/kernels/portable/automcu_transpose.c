#include "automcu_kernels.h"

void automcu_transpose(const automcu_transpose_parameters *parameters, const int8_t *restrict input,
                       int8_t *restrict output)
{
    const automcu_transpose_parameters p = *parameters;
#pragma GCC unroll 1
    for (int32_t i = 0; i < p.sizes[0]; i++) {
#pragma GCC unroll 1
        for (int32_t j = 0; j < p.sizes[1]; j++) {
#pragma GCC unroll 1
            for (int32_t k = 0; k < p.sizes[2]; k++) {
                const int8_t *from = input + i * p.steps[0] + j * p.steps[1] + k * p.steps[2];
#pragma GCC unroll 1
                for (int32_t l = 0; l < p.sizes[3]; l++) {
                    *output++ = from[l * p.steps[3]];
                }
            }
        }
    }
}
