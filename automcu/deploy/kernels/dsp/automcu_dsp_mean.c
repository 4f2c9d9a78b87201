#include "automcu_dsp_sums.h"

/* Four channels at a time (the last four may overlap those before). */
void automcu_dsp_mean(const automcu_dsp_mean_parameters *parameters, const int8_t *input, int8_t *output)
{
    const automcu_dsp_mean_parameters p = *parameters;
    for (int32_t first = 0; first < p.depth; first += 4) {
        if (first + 4 > p.depth) {
            first = p.depth - 4;
        }
        int32_t sums[4] = {p.offset, p.offset, p.offset, p.offset};
        automcu_dsp_sums(input + first, 1, p.count, 0, p.depth, sums);
        AUTOMCU_NO_UNROLL
        for (int32_t c = 0; c < 4; c++) {
            output[first + c] = (int8_t)automcu_dsp_output(2 * sums[c], p.multiplier, p.shift, p.rounding);
        }
    }
}
