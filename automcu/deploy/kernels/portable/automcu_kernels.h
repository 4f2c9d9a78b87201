/* AutoMCU's portable int8 kernels: plain C99, no heap, no library function beyond mem*.
 *
 * Their results equal those of TensorFlow Lite Micro's reference kernels byte for byte. Feature maps are laid out as
 * height, width, depth. Each kernel takes its parameters, which lie in Flash, by pointer; sizes count elements.
 * Loops are not unrolled (`#pragma GCC unroll 1`): the kernels would be twice as large, and hardly faster.
 */
#ifndef AUTOMCU_KERNELS_H
#define AUTOMCU_KERNELS_H

#include <stdint.h>

/* For inner loops: within a large function they would not get the registers that they need. */
#if defined(__GNUC__)
#define AUTOMCU_NOINLINE __attribute__((noinline))
#else
#define AUTOMCU_NOINLINE
#endif

/* From int32 accumulators to int8 outputs: channel c is scaled by multiplier[c * step] * 2^(shift[c * step] - 31),
 * step being 1, or 0 where one scale serves all channels; then zero_point is added, and the sum clamped to
 * minimum..maximum. */
typedef struct {
    const int32_t *multiplier;
    const int8_t *shift;
    int32_t step;
    int32_t zero_point, minimum, maximum;
} automcu_scaling;

/* Rows of `depth` inputs each times weights[units][depth]: FULLY_CONNECTED, and CONV_2D with a 1x1 kernel, where every
 * pixel is a row. `bias` (or NULL) is the network's bias minus the input's zero point times the sum of the unit's
 * weights, in wrapping int32, so that inputs enter as they are stored. */
typedef struct {
    int32_t rows, depth, units;
    const int8_t *weights;
    const int32_t *bias;
    automcu_scaling scaling;
} automcu_dense_parameters;

/* CONV_2D, weights[output_depth][kernel_height][kernel_width][input_depth], or DEPTHWISE_CONV_2D,
 * weights[kernel_height][kernel_width][output_depth]. `top` and `left` are the rows and columns of padding before the
 * map. `bias` as above; `input_zero_point` is what padding holds. */
typedef struct {
    int32_t input_height, input_width, input_depth;
    int32_t output_height, output_width, output_depth;
    int32_t kernel_height, kernel_width;
    int32_t stride_height, stride_width;
    int32_t top, left;
    int32_t input_zero_point;
    const int8_t *weights;
    const int32_t *bias;
    automcu_scaling scaling;
} automcu_convolution_parameters;

/* AVERAGE_POOL_2D and MAX_POOL_2D; only the part of a window inside the map counts. */
typedef struct {
    int32_t input_height, input_width, depth;
    int32_t output_height, output_width;
    int32_t kernel_height, kernel_width;
    int32_t stride_height, stride_width;
    int32_t top, left;
    int32_t minimum, maximum;
} automcu_pool_parameters;

/* A scaled value: x * multiplier * 2^(shift - 31) + zero_point, clamped to minimum..maximum. */
typedef struct {
    int32_t multiplier, shift;
    int32_t zero_point, minimum, maximum;
} automcu_rescaling;

/* MEAN of `count` pixels of `depth` channels; `offset` is added to each sum before it is scaled. */
typedef struct {
    int32_t count, depth, offset;
    automcu_rescaling rescaling;
} automcu_mean_parameters;

/* An operand of ADD or SUB: (x - zero_point) * 2^20 is scaled by (multiplier, shift) and counted `sign` times. */
typedef struct {
    int32_t zero_point, multiplier, shift, sign;
} automcu_term;

/* Pairwise operators: `count` elements of one operand and of the other, of which output i reads element
 * i / repeat % period. */
typedef struct {
    int32_t count, period, repeat;
    automcu_term whole, other;
    automcu_rescaling rescaling;
} automcu_add_parameters;

typedef struct {
    int32_t count, period, repeat;
    int32_t whole_zero_point, other_zero_point;
    automcu_rescaling rescaling;
} automcu_mul_parameters;

typedef struct {
    int32_t count, period, repeat;
    int32_t maximum; /* 1: MAXIMUM, 0: MINIMUM */
} automcu_extremum_parameters;

typedef struct {
    int32_t count, period, repeat;
    int32_t input_zero_point, slope_zero_point;
    automcu_rescaling positive, negative;
} automcu_prelu_parameters;

/* One 8-bit value to another scale. Values are read and written with the bits of `flip` inverted: 128 makes an int8 of
 * a uint8, and the reverse. */
typedef struct {
    int32_t count;
    int32_t input_flip, output_flip;
    int32_t input_zero_point;
    automcu_rescaling rescaling;
} automcu_rescale_parameters;

/* SOFTMAX of each of `rows` rows. Inputs less the row's largest are scaled to 26 fractional bits by (multiplier,
 * shift); where that difference is below `lowest`, the output is 0. */
typedef struct {
    int32_t rows, depth;
    int32_t multiplier, shift, lowest;
} automcu_softmax_parameters;

/* PAD of four axes; sizes are those of the input. */
typedef struct {
    int32_t sizes[4], before[4], after[4];
    int32_t value;
} automcu_pad_parameters;

/* TRANSPOSE; sizes are those of the output, steps the distances in the input between neighbours along its axes. */
typedef struct {
    int32_t sizes[4], steps[4];
} automcu_transpose_parameters;

/* `rows` runs of `run` inputs and weights each; from the end of one run to the next it is `input_gap` and
 * `weight_gap`. */
typedef struct {
    int32_t rows, run, input_gap, weight_gap;
} automcu_runs;

/* Adds the four dot products of two windows and two kernels: sums[0] += x0 . w0, [1] x0 . w1, [2] x1 . w0, [3]
 * x1 . w1, in wrapping 32 bits. There is at least one run, and at least one element in it. */
void automcu_dot(const int8_t *x0, const int8_t *x1, const int8_t *w0, const int8_t *w1, const automcu_runs *runs,
                 uint32_t sums[4]);
void automcu_dense(const automcu_dense_parameters *parameters, const int8_t *input, int8_t *output);
void automcu_conv(const automcu_convolution_parameters *parameters, const int8_t *input, int8_t *output);
void automcu_depthwise_conv(const automcu_convolution_parameters *parameters, const int8_t *input, int8_t *output);
void automcu_average_pool(const automcu_pool_parameters *parameters, const int8_t *input, int8_t *output);
void automcu_max_pool(const automcu_pool_parameters *parameters, const int8_t *input, int8_t *output);
void automcu_mean(const automcu_mean_parameters *parameters, const int8_t *input, int8_t *output);
void automcu_softmax(const automcu_softmax_parameters *parameters, const int8_t *input, int8_t *output);
void automcu_pad(const automcu_pad_parameters *parameters, const int8_t *input, int8_t *output);
void automcu_transpose(const automcu_transpose_parameters *parameters, const int8_t *input, int8_t *output);
/* Pairwise operators may write over either operand. */
void automcu_add(const automcu_add_parameters *parameters, const int8_t *whole, const int8_t *other, int8_t *output);
void automcu_mul(const automcu_mul_parameters *parameters, const int8_t *whole, const int8_t *other, int8_t *output);
void automcu_extremum(const automcu_extremum_parameters *parameters, const int8_t *whole, const int8_t *other,
                      int8_t *output);
void automcu_prelu(const automcu_prelu_parameters *parameters, const int8_t *input, const int8_t *slopes,
                   int8_t *output);
void automcu_rescale(const automcu_rescale_parameters *parameters, const int8_t *input, int8_t *output);
/* output = input with the highest bit inverted: int8 of uint8 and the reverse. Addresses are multiples of 4, and up to
 * 3 bytes beyond `count` are read and written. */
void automcu_flip(const void *input, void *output, int32_t count);
void automcu_clip(const int8_t *input, int8_t *output, int32_t count, int32_t minimum, int32_t maximum);
/* output = table[input as a byte without sign]. */
void automcu_table(const int8_t table[256], const int8_t *input, int8_t *output, int32_t count);
/* QUANTIZE of float32, and DEQUANTIZE to it; addresses of float32 are multiples of 4. */
void automcu_quantize(const void *input, int8_t *output, int32_t count, float scale, int32_t zero_point);
void automcu_dequantize(const int8_t *input, void *output, int32_t count, float scale, int32_t zero_point,
                        int32_t flip);
/* `rows` runs of `run` bytes, one after the other, to places that are `step` apart. */
void automcu_copy_rows(const int8_t *input, int8_t *output, int32_t rows, int32_t run, int32_t step);

/* x / 2^exponent, rounded half away from zero; exponent > 0, x > INT32_MIN. No sum here can overflow. */
static inline int32_t automcu_divide(int32_t x, int32_t exponent)
{
    const int32_t twice = (x + (x >> 31)) >> (exponent - 1);
    return (twice >> 1) + (twice & 1);
}

/* a * b / 2^31, rounded half up. */
static inline int32_t automcu_product(int32_t a, int32_t b)
{
#if defined(__ARM_ARCH_6M__)
    /* Without a 64-bit multiplication: by halves, of which only the lowest 16 bits of the product are not needed. */
    const int32_t a_low = a & 0xffff, a_high = a >> 16, b_low = b & 0xffff, b_high = b >> 16;
    const int32_t first = a_high * b_low + (int32_t)(((uint32_t)a_low * (uint32_t)b_low) >> 16);
    const int32_t second = a_low * b_high + (first & 0xffff);
    const int32_t high = a_high * b_high + (first >> 16) + (second >> 16);
    return high * 2 + ((((second & 0xffff) >> 14) + 1) >> 1);
#else
    return (int32_t)(((int64_t)a * b + (1 << 30)) >> 31);
#endif
}

/* x * multiplier * 2^(shift - 31), rounded twice as TensorFlow Lite Micro's MultiplyByQuantizedMultiplier does: half
 * up to an integer on the scale of 2^-31, then half away from zero. */
static inline int32_t automcu_requantize(int32_t x, int32_t multiplier, int32_t shift)
{
    if (shift > 0) {
        x = (int32_t)((uint32_t)x << shift);
    }
    const int32_t high = automcu_product(x, multiplier);
    return shift < 0 ? automcu_divide(high, -shift) : high;
}

static inline int32_t automcu_clamp(int32_t x, int32_t minimum, int32_t maximum)
{
    return x < minimum ? minimum : x > maximum ? maximum : x;
}

/* The output of an accumulator whose channel is scaled by (multiplier, shift). */
static inline int8_t automcu_output(const automcu_scaling *scaling, int32_t accumulator, int32_t multiplier,
                                    int32_t shift)
{
    int32_t scaled = automcu_requantize(accumulator, multiplier, shift) + scaling->zero_point;
    return (int8_t)automcu_clamp(scaled, scaling->minimum, scaling->maximum);
}

/* Stores the four sums of `automcu_dot`: channels c and c + next of two pixels. */
static inline void automcu_store(const automcu_scaling *scaling, const uint32_t sums[4], int32_t c, int32_t next,
                                 int8_t *pixel, int8_t *partner)
{
    for (int32_t i = 0, channel = c; i < 2; i++, channel = c + next) {
        const int32_t multiplier = scaling->multiplier[channel * scaling->step];
        const int32_t shift = scaling->shift[channel * scaling->step];
        pixel[channel] = automcu_output(scaling, (int32_t)sums[i], multiplier, shift);
        partner[channel] = automcu_output(scaling, (int32_t)sums[i + 2], multiplier, shift);
    }
}

static inline int32_t automcu_apply(const automcu_rescaling *rescaling, int32_t x)
{
    int32_t scaled = automcu_requantize(x, rescaling->multiplier, rescaling->shift) + rescaling->zero_point;
    return automcu_clamp(scaled, rescaling->minimum, rescaling->maximum);
}

#endif
