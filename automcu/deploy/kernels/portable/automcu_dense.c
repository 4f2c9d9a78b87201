#include "automcu_kernels.h"

/* output[row][unit] = scaled(bias[unit] + input[row][0..depth) . weights[unit][0..depth)), two units at a time. */
void automcu_dense(const automcu_dense_parameters *parameters, const int8_t *restrict input, int8_t *restrict output)
{
    const automcu_scaling scaling = parameters->scaling;
    const int32_t depth = parameters->depth, units = parameters->units;
    for (int32_t row = 0; row < parameters->rows; row++) {
        const int8_t *weights = parameters->weights;
        const int32_t *bias = parameters->bias, *multiplier = scaling.multiplier;
        const int8_t *shift = scaling.shift;
        for (int32_t unit = 0; unit < units; unit += 2) {
            /* An odd last unit is computed twice, stored once. */
            const int32_t second = unit + 1 < units;
            const int8_t *other = weights + (second ? depth : 0);
            uint32_t sum0 = 0, sum1 = 0;
            for (int32_t i = 0; i < depth; i++) {
                const int32_t x = input[i];
                sum0 += (uint32_t)(x * weights[i]);
                sum1 += (uint32_t)(x * other[i]);
            }
            if (bias) {
                sum0 += (uint32_t)bias[0];
                sum1 += (uint32_t)bias[second];
                bias += 2;
            }
            *output++ = automcu_output(&scaling, (int32_t)sum0, *multiplier, *shift);
            multiplier += scaling.step;
            shift += scaling.step;
            if (second) {
                *output++ = automcu_output(&scaling, (int32_t)sum1, *multiplier, *shift);
            }
            multiplier += scaling.step;
            shift += scaling.step;
            weights += 2 * depth;
        }
        input += depth;
    }
}
