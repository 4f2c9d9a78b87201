#include "automcu_dsp.h"

/* Copy the window whose first corner is at row y, column x, with its padding. */
AUTOMCU_ONCE void copy_window(const automcu_dsp_conv_parameters *p, const int8_t *input, int32_t y, int32_t x,
                        int8_t *window)
{
    const int32_t depth = p->input_depth, run = p->kernel_width * depth;
    const int32_t before = x < 0 ? -x : 0, beyond = x + p->kernel_width - p->input_width;
    const int32_t inside = (p->kernel_width - before - (beyond > 0 ? beyond : 0)) * depth;
    memset(window, p->input_zero_point, (size_t)(p->kernel_height * run));
    window += before * depth;
    input += (y * p->input_width + x + before) * depth;
    for (int32_t row = p->kernel_height; row > 0; row--, y++) {
        if ((uint32_t)y < (uint32_t)p->input_height && inside > 0) {
            memcpy(window, input, (size_t)inside);
        }
        window += run;
        input += p->input_width * depth;
    }
}

/* Four windows at a time, through the map row by row; what is left one by one. */
void automcu_dsp_conv(const automcu_dsp_conv_parameters *parameters, const int8_t *input, int8_t *output,
                      void *columns, int8_t *copies)
{
    const automcu_dsp_conv_parameters own = *parameters, *p = &own;
    const int32_t run = p->kernel_width * p->input_depth, row_bytes = p->input_width * p->input_depth;
    const int32_t end_x = p->output_width * p->stride_width - p->left;
    const int32_t last_y = p->input_height - p->kernel_height, last_x = p->input_width - p->kernel_width;
    int32_t left = p->output_height * p->output_width, y = -p->top, x = -p->left;
    while (left > 0) {
        const int32_t count = left >= p->matrix.at_once ? p->matrix.at_once : 1;
        automcu_dsp_windows windows;
        int8_t *copy = copies;
        for (int32_t i = 0; i < count; i++) {
            if (y < 0 || y > last_y || x < 0 || x > last_x) {
                copy_window(p, input, y, x, copy);
                windows.from[i] = copy;
                windows.gap[i] = run & 3;
                copy += p->matrix.depth;
            } else {
                windows.from[i] = input + y * row_bytes + x * p->input_depth;
                windows.gap[i] = row_bytes - (run & ~3);
            }
            x += p->stride_width;
            if (x == end_x) {
                x = -p->left;
                y += p->stride_height;
            }
        }
        if (count == 4) {
            automcu_dsp_expand4(columns, &windows, run, p->kernel_height);
            automcu_dsp_multiply4(&p->matrix, columns, output);
        } else {
            automcu_dsp_expand1(columns, windows.from[0], windows.gap[0] + (run & ~3), run, p->kernel_height);
            p->matrix.multiply1(&p->matrix, columns, output);
        }
        output += count * p->matrix.units;
        left -= count;
    }
}
