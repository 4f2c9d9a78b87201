#include "automcu_kernels.h"

/* The part of a window inside the map. */
typedef struct {
    const int8_t *pixel;
    int32_t rows, columns, row_step;
} clipped;

static clipped clip(const automcu_pool_parameters *p, const int8_t *input, int32_t row, int32_t column)
{
    int32_t y = row * p->stride_height - p->top, x = column * p->stride_width - p->left;
    int32_t end_y = y + p->kernel_height, end_x = x + p->kernel_width;
    y = y < 0 ? 0 : y;
    x = x < 0 ? 0 : x;
    end_y = end_y > p->input_height ? p->input_height : end_y;
    end_x = end_x > p->input_width ? p->input_width : end_x;
    const int32_t row_step = p->input_width * p->depth;
    const clipped window = {input + y * row_step + x * p->depth, end_y - y, end_x - x, row_step};
    return window;
}

/* Means are rounded half away from zero. */
void automcu_average_pool(const automcu_pool_parameters *parameters, const int8_t *restrict input,
                          int8_t *restrict output)
{
    const automcu_pool_parameters p = *parameters;
#pragma GCC unroll 1
    for (int32_t row = 0; row < p.output_height; row++) {
#pragma GCC unroll 1
        for (int32_t column = 0; column < p.output_width; column++) {
            const clipped window = clip(&p, input, row, column);
            const int32_t count = window.rows * window.columns;
#pragma GCC unroll 1
            for (int32_t channel = 0; channel < p.depth; channel++) {
                const int8_t *pixels = window.pixel + channel;
                int32_t sum = 0;
#pragma GCC unroll 1
                for (int32_t i = 0; i < window.rows; i++, pixels += window.row_step) {
#pragma GCC unroll 1
                    for (int32_t j = 0; j < window.columns; j++) {
                        sum += pixels[j * p.depth];
                    }
                }
                sum = (sum > 0 ? sum + count / 2 : sum - count / 2) / count;
                *output++ = (int8_t)automcu_clamp(sum, p.minimum, p.maximum);
            }
        }
    }
}

void automcu_max_pool(const automcu_pool_parameters *parameters, const int8_t *restrict input,
                      int8_t *restrict output)
{
    const automcu_pool_parameters p = *parameters;
#pragma GCC unroll 1
    for (int32_t row = 0; row < p.output_height; row++) {
#pragma GCC unroll 1
        for (int32_t column = 0; column < p.output_width; column++) {
            const clipped window = clip(&p, input, row, column);
#pragma GCC unroll 1
            for (int32_t channel = 0; channel < p.depth; channel++) {
                const int8_t *pixels = window.pixel + channel;
                int32_t largest = -128;
#pragma GCC unroll 1
                for (int32_t i = 0; i < window.rows; i++, pixels += window.row_step) {
#pragma GCC unroll 1
                    for (int32_t j = 0; j < window.columns; j++) {
                        const int32_t value = pixels[j * p.depth];
                        largest = value > largest ? value : largest;
                    }
                }
                *output++ = (int8_t)automcu_clamp(largest, p.minimum, p.maximum);
            }
        }
    }
}
