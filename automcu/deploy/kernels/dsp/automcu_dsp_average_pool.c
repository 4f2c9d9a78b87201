#include "automcu_dsp.h"

/* Sums of four channels over at most this many values stay in int16. */
#define VALUES 255

/* The window's rows and columns are inside the map. */
AUTOMCU_ONCE void four_channels(const int8_t *input, int32_t rows, int32_t columns,
                                                                int32_t row_bytes, int32_t depth, int32_t sums[4])
{
    uint32_t even = 0, odd = 0;
    int32_t room = VALUES;
    for (; rows > 0; rows--, input += row_bytes) {
        const int8_t *value = input;
        for (int32_t left = columns; left > 0;) {
            const int32_t count = left < room ? left : room;
            left -= count;
            room -= count;
            for (int32_t i = count; i > 0; i--, value += depth) {
                const uint32_t four = *(const automcu_word *)value;
                even = __sxtab16(even, four);
                odd = __sxtab16(odd, __ror(four, 8));
            }
            if (room == 0) {
                sums[0] += (int16_t)even;
                sums[1] += (int16_t)odd;
                sums[2] += (int32_t)even >> 16;
                sums[3] += (int32_t)odd >> 16;
                even = odd = 0;
                room = VALUES;
            }
        }
    }
    sums[0] += (int16_t)even;
    sums[1] += (int16_t)odd;
    sums[2] += (int32_t)even >> 16;
    sums[3] += (int32_t)odd >> 16;
}

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
                four_channels(from + first, bottom - top, right - left, p.input_width * p.depth, p.depth, sums);
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
