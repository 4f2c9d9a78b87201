/* Sums over pixels, of four channels at a time. */
#ifndef AUTOMCU_DSP_SUMS_H
#define AUTOMCU_DSP_SUMS_H

#include "automcu_dsp.h"

/* Sums of four channels over at most this many values stay in int16. */
#define AUTOMCU_DSP_VALUES 255

/* Adds to sums[c] the `columns` pixels of each of `rows` rows of channel c of four. */
AUTOMCU_ONCE void automcu_dsp_sums(const int8_t *input, int32_t rows, int32_t columns,
                                                                int32_t row_bytes, int32_t depth, int32_t sums[4])
{
    uint32_t even = 0, odd = 0;
    int32_t room = AUTOMCU_DSP_VALUES;
    for (; rows > 0; rows--, input += row_bytes) {
        const int8_t *value = input;
        for (int32_t left = columns; left > 0;) {
            const int32_t count = left < room ? left : room;
            left -= count;
            room -= count;
            for (int32_t i = count; i > 0; i--, value += depth) {
                const uint32_t four = *(const automcu_word *)value;
                even = __sxtab16(even, four);
                odd = __sxtab16(odd, four >> 8 | four << 24);
            }
            if (room == 0) {
                sums[0] += (int16_t)even;
                sums[1] += (int16_t)odd;
                sums[2] += (int32_t)even >> 16;
                sums[3] += (int32_t)odd >> 16;
                even = odd = 0;
                room = AUTOMCU_DSP_VALUES;
            }
        }
    }
    sums[0] += (int16_t)even;
    sums[1] += (int16_t)odd;
    sums[2] += (int32_t)even >> 16;
    sums[3] += (int32_t)odd >> 16;
}

#endif
