#include "automcu_dsp.h"

void automcu_dsp_mul(const automcu_dsp_mul_parameters *parameters, const int8_t *whole, const int8_t *other,
                     int8_t *output)
{
    const automcu_dsp_mul_parameters p = *parameters;
    const int32_t twice_zero_point = 2 * p.other_zero_point;
    const int8_t *end = whole + p.count;
    while (whole < end) {
        const int8_t *factor = other, *last = other + p.period;
#pragma clang loop unroll_count(2)
        while (factor < last) {
            const int32_t doubled = (*whole++ - p.whole_zero_point) * (2 * *factor++ - twice_zero_point);
            *output++ = (int8_t)automcu_dsp_output(doubled, p.multiplier, p.shift, p.rounding);
        }
    }
}
