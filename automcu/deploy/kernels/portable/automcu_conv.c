#include "automcu_kernels.h"

/* The dot products of `rows` runs of `run` inputs with the kernels of two output channels, runs being `input_step` and
 * `kernel_step` apart; added to sums[0] and sums[1]. */
static void dot_products(const int8_t *input, const int8_t *weights, const int8_t *other, int32_t rows, int32_t run,
                         int32_t input_step, int32_t kernel_step, uint32_t sums[2])
{
    uint32_t sum0 = sums[0], sum1 = sums[1];
    for (int32_t row = 0; row < rows; row++) {
        for (int32_t i = 0; i < run; i++) {
            const int32_t x = input[i];
            sum0 += (uint32_t)(x * weights[i]);
            sum1 += (uint32_t)(x * other[i]);
        }
        input += input_step;
        weights += kernel_step;
        other += kernel_step;
    }
    sums[0] = sum0;
    sums[1] = sum1;
}

/* The sum of `rows` runs of `run` weights, runs being `step` apart. */
static int32_t weight_sum(const int8_t *weights, int32_t rows, int32_t run, int32_t step)
{
    int32_t sum = 0;
    for (int32_t row = 0; row < rows; row++) {
        for (int32_t i = 0; i < run; i++) {
            sum += weights[i];
        }
        weights += step;
    }
    return sum;
}

/* A window's part inside the map is read in runs of whole pixels, two output channels at a time. The rest would hold
 * the input's zero point, so that its weights are summed and multiplied by that once. */
void automcu_conv(const automcu_convolution_parameters *parameters, const int8_t *restrict input,
                  int8_t *restrict output)
{
    const automcu_convolution_parameters p = *parameters;
    const int32_t kernel_row = p.kernel_width * p.input_depth, kernel = p.kernel_height * kernel_row;
    const int32_t input_row = p.input_width * p.input_depth;
    for (int32_t y = -p.top, row = 0; row < p.output_height; row++, y += p.stride_height) {
        const int32_t first_row = y < 0 ? -y : 0;
        const int32_t end_row = p.input_height - y < p.kernel_height ? p.input_height - y : p.kernel_height;
        for (int32_t x = -p.left, column = 0; column < p.output_width; column++, x += p.stride_width) {
            const int32_t first = (x < 0 ? -x : 0) * p.input_depth;
            const int32_t end = p.input_width - x < p.kernel_width ? (p.input_width - x) * p.input_depth : kernel_row;
            const int32_t rows = end_row - first_row, run = end - first;
            const int32_t skips = p.input_zero_point != 0 && rows * run != kernel;
            const int8_t *inside = input + (y + first_row) * input_row + x * p.input_depth + first;
            const int8_t *weights = p.weights;
            const int32_t *multiplier = p.scaling.multiplier;
            const int8_t *shift = p.scaling.shift;
            for (int32_t channel = 0; channel < p.output_depth; channel += 2) {
                const int32_t second = channel + 1 < p.output_depth; /* an odd last channel is computed twice */
                const int32_t offset = first_row * kernel_row + first, other = second ? kernel : 0;
                uint32_t sums[2] = {0, 0};
                if (p.bias) {
                    sums[0] = (uint32_t)p.bias[channel];
                    sums[1] = (uint32_t)p.bias[channel + second];
                }
                dot_products(inside, weights + offset, weights + other + offset, rows, run, input_row, kernel_row, sums);
                for (int32_t i = 0; i <= second; i++, weights += kernel) {
                    if (skips) {
                        sums[i] += (uint32_t)(p.input_zero_point * (weight_sum(weights, 1, kernel, 0) -
                                                                    weight_sum(weights + offset, rows, run, kernel_row)));
                    }
                    *output++ = automcu_output(&p.scaling, (int32_t)sums[i], *multiplier, *shift);
                    multiplier += p.scaling.step;
                    shift += p.scaling.step;
                }
            }
        }
    }
}
