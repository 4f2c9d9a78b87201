#include "automcu_dsp_sums.h"

/* Four channels at a time (the last four may overlap those before). */
void automcu_dsp_average_pool(const automcu_dsp_pool_parameters *parameters, const int8_t *input, int8_t *output)
{
    const automcu_dsp_pool_parameters p = *parameters;
    for (int32_t i = 0, y = -p.top; i < p.output_height; i++, y += p.stride_height) {
        const int32_t top = y < 0 ? 0 : y;
        const int32_t bottom = y + p.kernel_height < p.input_height ? y + p.kernel_height : p.input_height;
        for (int32_t j = 0, x = -p.left; j < p.output_width; j++, x += p.stride_width) {
            const int32_t left = x < 0 ? 0 : x;
            const int32_t right = x + p.kernel_width < p.input_width ? x + p.kernel_width : p.input_width;
            const int32_t count = (bottom - top) * (right - left), half = count / 2;
            const int8_t *from = input + (top * p.input_width + left) * p.depth;
            for (int32_t first = 0; first < p.depth; first += 4) {
                if (first + 4 > p.depth) {
                    first = p.depth - 4;
                }
                int32_t sums[4] = {0, 0, 0, 0};
                automcu_dsp_sums(from + first, bottom - top, right - left, p.input_width * p.depth, p.depth, sums);
                AUTOMCU_NO_UNROLL
                for (int32_t c = 0; c < 4; c++) {
                    /* Rounded half away from zero; a mean of int8 is one. */
                    output[first + c] = (int8_t)((sums[c] + (sums[c] > 0 ? half : -half)) / count);
                }
            }
            output += p.depth;
        }
    }
}
