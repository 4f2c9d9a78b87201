/* One row times a matrix, for weights of either form; see automcu_dsp.h. */
#ifndef AUTOMCU_DSP_MULTIPLY1_H
#define AUTOMCU_DSP_MULTIPLY1_H

#include "automcu_dsp.h"

/* The sums of two channels. `wide`: the weights' bytes are plain. */
typedef struct {
    int32_t even, odd;
} sums;

static inline __attribute__((always_inline)) sums accumulate(sums s, automcu_pair pair, uint32_t four, int wide)
{
    s.even = __smlad((int32_t)pair, (int32_t)automcu_dsp_even(four), s.even);
    s.odd = __smlad((int32_t)pair, (int32_t)(wide ? automcu_dsp_odd(four) : four), s.odd);
    return s;
}

static inline const int32_t *store(int8_t *output, sums s, const int32_t *channel,
                                                                  int32_t rounding, int wide)
{
    output[0] = (int8_t)automcu_dsp_output(channel[0] + 2 * s.even, channel[1], channel[2], rounding);
    int32_t odd = wide ? 2 * s.odd : (s.odd - s.even) >> 7;
    output[1] = (int8_t)automcu_dsp_output(channel[3] + odd, channel[4], channel[5], rounding);
    return channel + 6;
}

/* Four channels at a time, then two, then one. The first word of an odd depth has 2 bytes of what lies before; they
 * meet a zero. */
static inline __attribute__((always_inline)) void automcu_dsp_multiply(const automcu_dsp_matrix *matrix,
                                                           const automcu_pair *columns, int8_t *output, int wide)
{
    const int32_t rounding = matrix->rounding, depth = matrix->depth, odd_bytes = 2 * (depth & 1);
    const int32_t *channel = matrix->channels;
    const int8_t *weights = matrix->weights;
    const automcu_pair *end = columns + (depth + 1) / 2;
    int32_t left = matrix->units;
    for (; left >= 4; left -= 4) {
        const automcu_word *first = (const automcu_word *)(weights - odd_bytes);
        const automcu_word *second = (const automcu_word *)(weights - odd_bytes + 2 * depth);
        sums a = {0, 0}, b = {0, 0};
#pragma clang loop unroll_count(4)
        for (const automcu_pair *pair = columns; pair < end; pair++) {
            a = accumulate(a, *pair, *first++, wide);
            b = accumulate(b, *pair, *second++, wide);
        }
        channel = store(output, a, channel, rounding, wide);
        channel = store(output + 2, b, channel, rounding, wide);
        output += 4;
        weights += 4 * depth;
    }
    if (left & 2) {
        const automcu_word *four = (const automcu_word *)(weights - odd_bytes);
        sums a = {0, 0};
        AUTOMCU_NO_UNROLL
        for (const automcu_pair *pair = columns; pair < end; pair++) {
            a = accumulate(a, *pair, *four++, wide);
        }
        channel = store(output, a, channel, rounding, wide);
        output += 2;
        weights += 2 * depth;
    }
    if (left & 1) {
        int32_t sum = 0;
        weights -= depth & 1;
        AUTOMCU_NO_UNROLL
        for (const automcu_pair *pair = columns; pair < end; pair++, weights += 2) {
            sum = __smlad((int32_t)*pair, (uint16_t)weights[0] | (int32_t)weights[1] << 16, sum);
        }
        *output = (int8_t)automcu_dsp_output(channel[0] + 2 * sum, channel[1], channel[2], rounding);
    }
}

#endif
