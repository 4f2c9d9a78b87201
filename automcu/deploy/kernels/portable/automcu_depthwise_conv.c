#include "automcu_kernels.h"

/* Output channel c reads input channel c / (output_depth / input_depth). The part of a window outside the map holds
 * the input's zero point. */
void automcu_depthwise_conv(const automcu_convolution_parameters *parameters, const int8_t *restrict input,
                            int8_t *restrict output)
{
    const automcu_convolution_parameters p = *parameters;
    const int32_t copies = p.output_depth / p.input_depth;
    const int32_t kernel_row = p.kernel_width * p.output_depth, input_row = p.input_width * p.input_depth;
    for (int32_t y = -p.top, row = 0; row < p.output_height; row++, y += p.stride_height) {
        const int32_t first_row = y < 0 ? -y : 0;
        const int32_t end_row = p.input_height - y < p.kernel_height ? p.input_height - y : p.kernel_height;
        for (int32_t x = -p.left, column = 0; column < p.output_width; column++, x += p.stride_width) {
            const int32_t first = x < 0 ? -x : 0;
            const int32_t end = p.input_width - x < p.kernel_width ? p.input_width - x : p.kernel_width;
            const int32_t skips = p.input_zero_point != 0 &&
                                  (end_row - first_row) * (end - first) != p.kernel_height * p.kernel_width;
            const int8_t *inside = input + (y + first_row) * input_row + (x + first) * p.input_depth;
            const int32_t *multiplier = p.scaling.multiplier;
            const int8_t *shift = p.scaling.shift;
            for (int32_t channel = 0, copy = 0; channel < p.output_depth; channel++) {
                const int8_t *pixels = inside, *weights = p.weights + channel + first_row * kernel_row;
                uint32_t sum = p.bias ? (uint32_t)p.bias[channel] : 0;
                for (int32_t i = first_row; i < end_row; i++) {
                    const int8_t *pixel = pixels, *weight = weights + first * p.output_depth;
                    for (int32_t j = first; j < end; j++) {
                        sum += (uint32_t)(*pixel * *weight);
                        pixel += p.input_depth;
                        weight += p.output_depth;
                    }
                    pixels += input_row;
                    weights += kernel_row;
                }
                if (skips) {
                    int32_t skipped = 0;
                    weights = p.weights + channel;
                    for (int32_t i = 0; i < p.kernel_height; i++) {
                        for (int32_t j = 0; j < p.kernel_width; j++) {
                            if (i < first_row || i >= end_row || j < first || j >= end) {
                                skipped += *weights;
                            }
                            weights += p.output_depth;
                        }
                    }
                    sum += (uint32_t)(p.input_zero_point * skipped);
                }
                *output++ = automcu_output(&p.scaling, (int32_t)sum, *multiplier, *shift);
                multiplier += p.scaling.step;
                shift += p.scaling.step;
                if (++copy == copies) {
                    copy = 0;
                    inside++;
                }
            }
        }
    }
}
