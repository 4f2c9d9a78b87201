#include "automcu_kernels.h"

/* A window whose first tap lies at row y and column x of the map, perhaps outside of it, `first` elements from its
 * start. */
typedef struct {
    int32_t y, x, first;
    const int8_t *input;
} window;

/* sums[k] = the dot product of channel k of the window, k < 4. Taps outside the map read `padding`. */
AUTOMCU_NOINLINE static void four_channels(const automcu_convolution_parameters *p, const window *w, int32_t channel,
                                           const int8_t padding[4], uint32_t sums[4])
{
    const int32_t depth = p->input_depth, end = w->x + p->kernel_width;
    const uint32_t width = (uint32_t)p->input_width;
    const int8_t *weight = p->weights + channel, *input = w->input + channel;
    uint32_t sum0 = 0, sum1 = 0, sum2 = 0, sum3 = 0;
    int32_t first = w->first;
#pragma GCC unroll 1
    for (int32_t row = 0; row < p->kernel_height; row++, first += p->input_width * depth) {
        const uint32_t inside = (uint32_t)(w->y + row) < (uint32_t)p->input_height ? width : 0;
        int32_t offset = first;
#pragma GCC unroll 1
        for (int32_t x = w->x; x < end; x++, offset += depth, weight += depth) {
            const int8_t *pixel = (uint32_t)x < inside ? input + offset : padding;
            sum0 += (uint32_t)(pixel[0] * weight[0]);
            sum1 += (uint32_t)(pixel[1] * weight[1]);
            sum2 += (uint32_t)(pixel[2] * weight[2]);
            sum3 += (uint32_t)(pixel[3] * weight[3]);
        }
    }
    sums[0] = sum0;
    sums[1] = sum1;
    sums[2] = sum2;
    sums[3] = sum3;
}

/* The dot product of output channel `channel` with input channel `source`. */
AUTOMCU_NOINLINE static uint32_t one_channel(const automcu_convolution_parameters *p, const window *w, int32_t channel,
                                             int32_t source, int32_t padding)
{
    const int8_t *weight = p->weights + channel, *input = w->input + source;
    uint32_t sum = 0;
    int32_t first = w->first;
#pragma GCC unroll 1
    for (int32_t row = 0; row < p->kernel_height; row++, first += p->input_width * p->input_depth) {
        const uint32_t inside = (uint32_t)(w->y + row) < (uint32_t)p->input_height ? (uint32_t)p->input_width : 0;
        int32_t offset = first;
#pragma GCC unroll 1
        for (int32_t x = w->x; x < w->x + p->kernel_width; x++) {
            sum += (uint32_t)(((uint32_t)x < inside ? input[offset] : padding) * *weight);
            offset += p->input_depth;
            weight += p->output_depth;
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
    const int8_t zero = (int8_t)p.input_zero_point, padding[4] = {zero, zero, zero, zero};
    for (int32_t y = -p.top, row = 0; row < p.output_height; row++, y += p.stride_height) {
        for (int32_t x = -p.left, column = 0; column < p.output_width; column++, x += p.stride_width) {
            const window w = {y, x, (y * p.input_width + x) * p.input_depth, input};
            for (int32_t channel = 0, source = 0, copy = 0; channel < p.output_depth;) {
                uint32_t sums[4];
                int32_t made = 1;
                if (copies == 1 && channel + 4 <= p.output_depth) {
                    four_channels(&p, &w, channel, padding, sums);
                    made = 4;
                } else {
                    sums[0] = one_channel(&p, &w, channel, copies == 1 ? channel : source, zero);
                    if (++copy == copies) {
                        copy = 0;
                        source++;
                    }
                }
#pragma GCC unroll 1
                for (int32_t i = 0; i < made; i++, channel++) {
                    const uint32_t sum = sums[i] + (p.bias ? (uint32_t)p.bias[channel] : 0);
                    *output++ = automcu_output(&p.scaling, (int32_t)sum,
                                               p.scaling.multiplier[channel * p.scaling.step],
                                               p.scaling.shift[channel * p.scaling.step]);
                }
            }
        }
    }
}
