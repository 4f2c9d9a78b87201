#include "automcu_dsp.h"

/* One pixel of four channels. `step`: bytes between the window's rows; taps are `depth` bytes apart. */
static inline __attribute__((always_inline)) void four_channels(const automcu_dsp_depthwise_parameters *p,
                                                                const int8_t *input, int32_t step, int32_t first,
                                                                int8_t *output)
{
    const int32_t *numbers = p->channels + 3 * first, depth = p->depth;
    const int8_t *weights = p->weights + first;
    int32_t sum0 = numbers[0], sum1 = numbers[3], sum2 = numbers[6], sum3 = numbers[9];
    input += first;
    for (int32_t row = p->kernel_height; row > 0; row--) {
        const int8_t *tap = input;
        for (int32_t column = p->kernel_width; column > 0; column--) {
            const uint32_t four = *(const automcu_word *)tap, other = *(const automcu_word *)weights;
            const int32_t even = (int32_t)__sxtb16(four), odd = (int32_t)__sxtb16(__ror(four, 8));
            const int32_t even_weights = (int32_t)__sxtb16(other), odd_weights = (int32_t)__sxtb16(__ror(other, 8));
            sum0 = __smlabb(even, even_weights, sum0);
            sum1 = __smlabb(odd, odd_weights, sum1);
            sum2 = __smlatt(even, even_weights, sum2);
            sum3 = __smlatt(odd, odd_weights, sum3);
            tap += depth;
            weights += depth;
        }
        input += step;
    }
    const int32_t sums[4] = {sum0, sum1, sum2, sum3};
    output += first;
#pragma clang loop unroll(full)
    for (int32_t c = 0; c < 4; c++, numbers += 3) {
        const int32_t doubled = (int32_t)((uint32_t)sums[c] << (numbers[2] >> 8));
        output[c] = (int8_t)automcu_dsp_output(doubled, numbers[1], numbers[2] & 255, p->rounding);
    }
}

/* Pixel by pixel, four channels at a time (the last four may overlap those before). A window that reaches over an edge
 * is copied first. */
void automcu_dsp_depthwise(const automcu_dsp_depthwise_parameters *parameters, const int8_t *input, int8_t *output,
                           int8_t *window)
{
    const automcu_dsp_depthwise_parameters *p = parameters;
    const int32_t depth = p->depth, row_bytes = p->input_width * depth, run = p->kernel_width * depth;
    for (int32_t i = 0, y = -p->top; i < p->output_height; i++, y += p->stride_height) {
        for (int32_t j = 0, x = -p->left; j < p->output_width; j++, x += p->stride_width) {
            const int8_t *from = input + y * row_bytes + x * depth;
            int32_t step = row_bytes;
            if (y < 0 || y + p->kernel_height > p->input_height || x < 0 || x + p->kernel_width > p->input_width) {
                const int32_t first = x < 0 ? -x * depth : 0;
                const int32_t beyond = (x + p->kernel_width - p->input_width) * depth, last = beyond > 0 ? beyond : 0;
                memset(window, p->input_zero_point, (size_t)(p->kernel_height * run));
                for (int32_t row = 0; row < p->kernel_height; row++) {
                    if ((uint32_t)(y + row) < (uint32_t)p->input_height && first + last < run) {
                        memcpy(window + row * run + first, from + row * row_bytes + first,
                               (size_t)(run - first - last));
                    }
                }
                from = window;
                step = run;
            }
            for (int32_t first = 0; first < depth - 3; first += 4) {
                four_channels(p, from, step, first, output);
            }
            if (depth & 3) {
                four_channels(p, from, step, depth - 4, output);
            }
            output += depth;
        }
    }
}
