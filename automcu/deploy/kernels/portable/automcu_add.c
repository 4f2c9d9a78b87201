#include "automcu_kernels.h"

static inline int32_t term(const automcu_term *t, int32_t x)
{
    return t->sign * automcu_requantize((x - t->zero_point) * (1 << 20), t->multiplier, t->shift);
}

void automcu_add(const automcu_add_parameters *parameters, const int8_t *whole, const int8_t *other, int8_t *output)
{
    const automcu_add_parameters p = *parameters;
#pragma GCC unroll 1
    for (int32_t i = 0, j = 0, times = 0; i < p.count; i++) {
        output[i] = (int8_t)automcu_apply(&p.rescaling, term(&p.whole, whole[i]) + term(&p.other, other[j]));
        if (++times == p.repeat) {
            times = 0;
            j = j + 1 < p.period ? j + 1 : 0;
        }
    }
}
