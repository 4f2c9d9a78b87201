#include "automcu_dsp.h"

static inline __attribute__((always_inline)) int8_t *copy(int8_t *to, const int8_t *from, int32_t count)
{
    for (; count >= 4; count -= 4, to += 4, from += 4) {
        *(automcu_word *)to = *(const automcu_word *)from;
    }
    for (; count > 0; count--) {
        *to++ = *from++;
    }
    return to;
}

static inline __attribute__((always_inline)) int8_t *fill(int8_t *to, int32_t value, int32_t count)
{
    for (; count > 0; count--) {
        *to++ = (int8_t)value;
        __asm__ volatile(""); /* no call of memset for a few bytes */
    }
    return to;
}

/* Widen the window whose first corner is at row y, column x. */
static inline __attribute__((always_inline)) void gather(const automcu_dsp_conv_parameters *p, const int8_t *input,
                                                         int32_t y, int32_t x, automcu_pair *columns, int32_t step,
                                                         int8_t *window)
{
    const int32_t run = p->kernel_width * p->input_depth, row = p->input_width * p->input_depth;
    const int32_t inside = x >= 0 && x + p->kernel_width <= p->input_width;
    const int8_t *from = input + y * row + x * p->input_depth;
    if (inside && !(run & 3)) {
        const uint32_t padding = (uint16_t)p->input_zero_point * 0x10001u;
        for (int32_t i = 0; i < p->kernel_height; i++, y++, from += row) {
            if ((uint32_t)y < (uint32_t)p->input_height) {
                automcu_dsp_expand(columns, from, run, step);
                columns += run / 2 * step;
            } else {
                for (int32_t pair = run / 2; pair > 0; pair--, columns += step) {
                    *columns = padding;
                }
            }
        }
        return;
    }
    const int32_t first = x < 0 ? -x * p->input_depth : 0;
    const int32_t beyond = (x + p->kernel_width - p->input_width) * p->input_depth, last = beyond > 0 ? beyond : 0;
    int8_t *to = window;
    for (int32_t i = 0; i < p->kernel_height; i++, y++, from += row) {
        if ((uint32_t)y < (uint32_t)p->input_height && first + last < run) {
            to = fill(to, p->input_zero_point, first);
            to = copy(to, from + first, run - first - last);
            to = fill(to, p->input_zero_point, last);
        } else {
            to = fill(to, p->input_zero_point, run);
        }
    }
    automcu_dsp_expand(columns, window, p->matrix.depth, step);
}

/* Four windows at a time, through the map row by row; what is left one by one. */
void automcu_dsp_conv(const automcu_dsp_conv_parameters *parameters, const int8_t *input, int8_t *output,
                      void *columns, int8_t *window)
{
    const automcu_dsp_conv_parameters *p = parameters;
    const int32_t end_x = p->output_width * p->stride_width - p->left;
    int32_t left = p->output_height * p->output_width, y = -p->top, x = -p->left;
    while (left > 0) {
        const int32_t count = left >= 4 && !p->matrix.wide ? 4 : 1;
        for (int32_t i = 0; i < count; i++) {
            if (count == 4) {
                gather(p, input, y, x, (automcu_pair *)columns + i, 4, window);
            } else {
                gather(p, input, y, x, columns, 1, window);
            }
            x += p->stride_width;
            if (x == end_x) {
                x = -p->left;
                y += p->stride_height;
            }
        }
        if (count == 4) {
            automcu_dsp_multiply4(&p->matrix, columns, output);
        } else {
            automcu_dsp_multiply1(&p->matrix, columns, output);
        }
        output += count * p->matrix.units;
        left -= count;
    }
}
