#include "automcu_kernels.h"

void automcu_mul(const automcu_mul_parameters *parameters, const int8_t *whole, const int8_t *other, int8_t *output)
{
    const automcu_mul_parameters p = *parameters;
#pragma GCC unroll 1
    for (int32_t i = 0, j = 0, times = 0; i < p.count; i++) {
        const int32_t product = (whole[i] - p.whole_zero_point) * (other[j] - p.other_zero_point);
        output[i] = (int8_t)automcu_apply(&p.rescaling, product);
        if (++times == p.repeat) {
            times = 0;
            j = j + 1 < p.period ? j + 1 : 0;
        }
    }
}
