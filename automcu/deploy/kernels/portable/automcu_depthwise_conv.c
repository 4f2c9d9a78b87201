#include "automcu_kernels.h"

/* One window: its part inside the map, and where that lies in the map and in the kernel. */
typedef struct {
    int32_t first_row, end_row, first_column, end_column;
    const int8_t *pixels, *weights;
} window;

/* sums[k] += the dot product of channel k of the window, k < 4. */
static void four_channels(const automcu_convolution_parameters *p, const window *w, int32_t channel, uint32_t sums[4])
{
    const int32_t depth = p->input_depth, columns = w->end_column - w->first_column;
    const int32_t input_gap = (p->input_width - columns) * depth, weight_gap = (p->kernel_width - columns) * depth;
    const int8_t *pixel = w->pixels + channel, *weight = w->weights + channel;
    uint32_t sum0 = sums[0], sum1 = sums[1], sum2 = sums[2], sum3 = sums[3];
#pragma GCC unroll 1
    for (int32_t row = w->first_row; row < w->end_row; row++) {
#pragma GCC unroll 1
        for (int32_t column = columns; column > 0; column--) {
            sum0 += (uint32_t)(pixel[0] * weight[0]);
            sum1 += (uint32_t)(pixel[1] * weight[1]);
            sum2 += (uint32_t)(pixel[2] * weight[2]);
            sum3 += (uint32_t)(pixel[3] * weight[3]);
            pixel += depth;
            weight += depth;
        }
        pixel += input_gap;
        weight += weight_gap;
    }
    sums[0] = sum0;
    sums[1] = sum1;
    sums[2] = sum2;
    sums[3] = sum3;
}

/* The dot product of output channel `channel` with input channel `source`. */
static uint32_t one_channel(const automcu_convolution_parameters *p, const window *w, int32_t channel, int32_t source)
{
    const int8_t *pixels = w->pixels + source, *weights = w->weights + channel;
    uint32_t sum = 0;
#pragma GCC unroll 1
    for (int32_t row = w->first_row; row < w->end_row; row++) {
        const int8_t *pixel = pixels, *weight = weights;
#pragma GCC unroll 1
        for (int32_t column = w->first_column; column < w->end_column; column++) {
            sum += (uint32_t)(*pixel * *weight);
            pixel += p->input_depth;
            weight += p->output_depth;
        }
        pixels += p->input_width * p->input_depth;
        weights += p->kernel_width * p->output_depth;
    }
    return sum;
}

/* The sum of the channel's weights outside the map. */
static int32_t left_out(const automcu_convolution_parameters *p, const window *w, int32_t channel)
{
    const int8_t *weight = p->weights + channel;
    int32_t sum = 0;
    for (int32_t row = 0; row < p->kernel_height; row++) {
        const int32_t inside = row >= w->first_row && row < w->end_row;
        for (int32_t column = 0; column < p->kernel_width; column++, weight += p->output_depth) {
            if (!inside || column < w->first_column || column >= w->end_column) {
                sum += *weight;
            }
        }
    }
    return sum;
}

/* Output channel c reads input channel c / (output_depth / input_depth); four channels at a time where each input has
 * one output. The part of a window outside the map holds the input's zero point. */
void automcu_depthwise_conv(const automcu_convolution_parameters *parameters, const int8_t *restrict input,
                            int8_t *restrict output)
{
    const automcu_convolution_parameters p = *parameters;
    const int32_t copies = p.output_depth / p.input_depth;
    for (int32_t y = -p.top, row = 0; row < p.output_height; row++, y += p.stride_height) {
        for (int32_t x = -p.left, column = 0; column < p.output_width; column++, x += p.stride_width) {
            window w = {y < 0 ? -y : 0, p.kernel_height, x < 0 ? -x : 0, p.kernel_width, input, p.weights};
            w.end_row = p.input_height - y < w.end_row ? p.input_height - y : w.end_row;
            w.end_column = p.input_width - x < w.end_column ? p.input_width - x : w.end_column;
            w.pixels += ((y + w.first_row) * p.input_width + x + w.first_column) * p.input_depth;
            w.weights += (w.first_row * p.kernel_width + w.first_column) * p.output_depth;
            const int32_t size = (w.end_row - w.first_row) * (w.end_column - w.first_column);
            const int32_t skips = p.input_zero_point != 0 && size != p.kernel_height * p.kernel_width;
            for (int32_t channel = 0, source = 0, copy = 0; channel < p.output_depth;) {
                uint32_t sums[4] = {0, 0, 0, 0};
                int32_t made = 1;
                if (copies == 1 && channel + 4 <= p.output_depth) {
                    four_channels(&p, &w, channel, sums);
                    made = 4;
                } else {
                    sums[0] = one_channel(&p, &w, channel, copies == 1 ? channel : source);
                    if (++copy == copies) {
                        copy = 0;
                        source++;
                    }
                }
                for (int32_t i = 0; i < made; i++, channel++) {
                    uint32_t sum = sums[i] + (p.bias ? (uint32_t)p.bias[channel] : 0);
                    if (skips) {
                        sum += (uint32_t)(p.input_zero_point * left_out(&p, &w, channel));
                    }
                    *output++ = automcu_output(&p.scaling, (int32_t)sum,
                                               p.scaling.multiplier[channel * p.scaling.step],
                                               p.scaling.shift[channel * p.scaling.step]);
                }
            }
        }
    }
}
