#include "automcu_kernels.h"

void automcu_extremum(const automcu_extremum_parameters *parameters, const int8_t *whole, const int8_t *other,
                      int8_t *output)
{
    const automcu_extremum_parameters p = *parameters;
#pragma GCC unroll 1
    for (int32_t i = 0, j = 0, times = 0; i < p.count; i++) {
        const int8_t a = whole[i], b = other[j];
        output[i] = (a > b) == p.maximum ? a : b;
        if (++times == p.repeat) {
            times = 0;
            j = j + 1 < p.period ? j + 1 : 0;
        }
    }
}
