#include "automcu_kernels.h"

/* output[row][unit] = scaled(bias[unit] + input[row][0..depth) . weights[unit][0..depth)), two rows and two units at a
 * time. An odd last row or unit is its own partner: it is computed, and stored, twice. */
void automcu_dense(const automcu_dense_parameters *parameters, const int8_t *restrict input, int8_t *restrict output)
{
    const automcu_dense_parameters p = *parameters;
    const automcu_runs runs = {1, p.depth, 0, 0};
    for (int32_t row = 0; row < p.rows; row += 2) {
        const int32_t next_row = row + 1 < p.rows;
        const int8_t *weights = p.weights;
        int8_t *below = output + next_row * p.units;
#pragma GCC unroll 1
        for (int32_t unit = 0; unit < p.units; unit += 2) {
            const int32_t next = unit + 1 < p.units;
            uint32_t sums[4] = {0, 0, 0, 0};
            if (p.bias) {
                sums[0] = sums[2] = (uint32_t)p.bias[unit];
                sums[1] = sums[3] = (uint32_t)p.bias[unit + next];
            }
            automcu_dot(input, input + next_row * p.depth, weights, weights + next * p.depth, &runs, sums);
            automcu_store(&p.scaling, sums, unit, next, output, below);
            weights += 2 * p.depth;
        }
        input += 2 * p.depth;
        output += 2 * p.units;
    }
}
