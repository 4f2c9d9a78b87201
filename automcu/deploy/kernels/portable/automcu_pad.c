#include <string.h>

#include "automcu_kernels.h"

void automcu_pad(const automcu_pad_parameters *parameters, const int8_t *restrict input, int8_t *restrict output)
{
    const automcu_pad_parameters p = *parameters;
    int32_t steps[4] = {0, 0, 0, 1}; /* distances in the output between neighbours along each axis */
#pragma GCC unroll 1
    for (int32_t axis = 2; axis >= 0; axis--) {
        steps[axis] = steps[axis + 1] * (p.before[axis + 1] + p.sizes[axis + 1] + p.after[axis + 1]);
    }
    memset(output, (int)p.value, (size_t)(steps[0] * (p.before[0] + p.sizes[0] + p.after[0])));
#pragma GCC unroll 1
    for (int32_t axis = 0; axis < 4; axis++) {
        output += steps[axis] * p.before[axis];
    }
#pragma GCC unroll 1
    for (int32_t i = 0; i < p.sizes[0]; i++) {
#pragma GCC unroll 1
        for (int32_t j = 0; j < p.sizes[1]; j++) {
#pragma GCC unroll 1
            for (int32_t k = 0; k < p.sizes[2]; k++) {
                memcpy(output + i * steps[0] + j * steps[1] + k * steps[2], input, (size_t)p.sizes[3]);
                input += p.sizes[3];
            }
        }
    }
}
