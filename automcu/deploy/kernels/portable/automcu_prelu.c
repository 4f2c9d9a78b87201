#include "automcu_kernels.h"

void automcu_prelu(const automcu_prelu_parameters *parameters, const int8_t *input, const int8_t *slopes,
                   int8_t *output)
{
    const automcu_prelu_parameters p = *parameters;
#pragma GCC unroll 1
    for (int32_t i = 0, j = 0, times = 0; i < p.count; i++) {
        const int32_t x = input[i] - p.input_zero_point;
        output[i] = (int8_t)(x >= 0 ? automcu_apply(&p.positive, x)
                                    : automcu_apply(&p.negative, x * (slopes[j] - p.slope_zero_point)));
        if (++times == p.repeat) {
            times = 0;
            j = j + 1 < p.period ? j + 1 : 0;
        }
    }
}
