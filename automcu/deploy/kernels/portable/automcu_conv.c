#include "automcu_kernels.h"

/* The part of a window inside the map, along one axis: from `first` up to `end`. */
typedef struct {
    int32_t first, end;
} part;

static part clip(int32_t start, int32_t kernel, int32_t extent)
{
    const part inside = {start < 0 ? -start : 0, extent - start < kernel ? extent - start : kernel};
    return inside;
}

static int32_t same(part a, part b)
{
    return a.first == b.first && a.end == b.end;
}

/* The sum of the weights from `kernel` up to `end` that `runs` leave out, of which the first begins at `inside`. */
static int32_t left_out(const int8_t *kernel, const int8_t *end, const int8_t *inside, const automcu_runs *runs)
{
    int32_t sum = 0;
    for (int32_t row = 0; row <= runs->rows; row++) {
        const int8_t *stop = row == runs->rows ? end : inside;
#pragma GCC unroll 1
        while (kernel < stop) {
            sum += *kernel++;
        }
        kernel += row == runs->rows ? 0 : runs->run;
        inside += runs->run + runs->weight_gap;
    }
    return sum;
}

/* Two windows and two output channels at a time. The windows are clipped alike: one above the other, else side by side;
 * a window without such a neighbour, and an odd last channel, is its own partner and computed, and stored, twice. What
 * is clipped would hold the input's zero point: its weights are summed and multiplied by that once. */
void automcu_conv(const automcu_convolution_parameters *parameters, const int8_t *restrict input,
                  int8_t *restrict output)
{
    const automcu_convolution_parameters p = *parameters;
    const int32_t kernel_row = p.kernel_width * p.input_depth, kernel = p.kernel_height * kernel_row;
    const int32_t input_row = p.input_width * p.input_depth, output_row = p.output_width * p.output_depth;
    int32_t rows_done;
    for (int32_t row = 0; row < p.output_height; row += rows_done) {
        const int32_t y = row * p.stride_height - p.top;
        const part high = clip(y, p.kernel_height, p.input_height);
        rows_done = row + 1 < p.output_height && same(high, clip(y + p.stride_height, p.kernel_height, p.input_height))
                        ? 2
                        : 1;
        int32_t columns_done;
        for (int32_t column = 0; column < p.output_width; column += columns_done) {
            const int32_t x = column * p.stride_width - p.left;
            const part wide = clip(x, p.kernel_width, p.input_width);
            int32_t input_step = 0, output_step = 0; /* to the partner */
            columns_done = 1;
            if (rows_done == 2) {
                input_step = p.stride_height * input_row;
                output_step = output_row;
            } else if (column + 1 < p.output_width &&
                       same(wide, clip(x + p.stride_width, p.kernel_width, p.input_width))) {
                input_step = p.stride_width * p.input_depth;
                output_step = p.output_depth;
                columns_done = 2;
            }
            const int32_t run = (wide.end - wide.first) * p.input_depth;
            const automcu_runs runs = {high.end - high.first, run, input_row - run, kernel_row - run};
            const int32_t skips = p.input_zero_point != 0 && runs.rows * run != kernel;
            const int32_t offset = high.first * kernel_row + wide.first * p.input_depth;
            const int8_t *inside = input + (y + high.first) * input_row + (x + wide.first) * p.input_depth;
            const int8_t *weights = p.weights;
            int8_t *pixel = output + column * p.output_depth;
            for (int32_t channel = 0; channel < p.output_depth; channel += 2) {
                const int32_t next = channel + 1 < p.output_depth;
                const int8_t *other = weights + next * kernel;
                uint32_t first = 0, second = 0;
                if (p.bias) {
                    first = (uint32_t)p.bias[channel];
                    second = (uint32_t)p.bias[channel + next];
                }
#pragma GCC unroll 1
                for (int32_t i = 0; skips && i < 2; i++) {
                    const int8_t *start = i ? other : weights;
                    const int32_t padding = left_out(start, start + kernel, start + offset, &runs);
                    *(i ? &second : &first) += (uint32_t)(p.input_zero_point * padding);
                }
                uint32_t sums[4] = {first, second, first, second};
                automcu_dot(inside, inside + input_step, weights + offset, other + offset, &runs, sums);
                automcu_store(&p.scaling, sums, channel, next, pixel, pixel + output_step);
                weights += 2 * kernel;
            }
        }
        output += rows_done * output_row;
    }
}
