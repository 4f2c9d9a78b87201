/* AutoMCU's int8 kernels for cores with the DSP extension: Cortex-M4, M7, M33.
 *
 * Byte for byte the results of TensorFlow Lite Micro's reference kernels. Activations are widened to pairs of int16
 * once, in scratch memory, for all output channels; weights stay int8, in an order made when the network was emitted.
 * Word loads from int8 maps and weights may be unaligned, which these cores allow.
 *
 * All kernels scale accumulators by the same rule. With m the channel's multiplier, e >= 1 how far its scale shifts
 * right, z the output's zero point, and x2 = 2 * accumulator, TensorFlow Lite Micro's output before clamping is
 *
 *     (h + 2^(e-1) + (z << e) - (x2 < 0)) >> e     with h = (x2 * m + 2^31) >> 32
 *
 * (rounded half up, then half away from zero; the sign of x2 serves as that of h since both give 0 where h is 0).
 * SMMLAR adds (2z + 1) << (e - 1) on the way, SSAT does the last shift. The emitter sees to it that nothing overflows.
 */
#ifndef AUTOMCU_DSP_H
#define AUTOMCU_DSP_H

#include <arm_acle.h>
#include <stdint.h>
#include <string.h>

#if !defined(__ARM_FEATURE_DSP) || !defined(__ARM_FEATURE_UNALIGNED)
#error "these kernels need the DSP extension; use the portable ones"
#endif

/* A word at any address, of any type. */
typedef uint32_t __attribute__((may_alias, aligned(1))) automcu_word;

/* Not worth copies of its code. */
#define AUTOMCU_ONCE static __attribute__((noinline))
#if defined(__clang__)
#define AUTOMCU_NO_UNROLL _Pragma("clang loop unroll(disable)")
#else
#define AUTOMCU_NO_UNROLL
#endif

/* Two int16: the lower and the upper half of a word. */
typedef uint32_t automcu_pair;

/* `units` dot products of `depth` numbers, scaled.
 *
 * The `depth` activations are taken as pairs, in the order that `automcu_dsp_expand4` makes. For two channels (u, u + 1)
 * and a pair (i, j), `weights` holds 4 bytes, the halves of a word: w[u][i] + 256 * w[u+1][i], and the same with j. The
 * word as it is gives sum[u] + 256 * sum[u+1], its lower bytes give sum[u]; one SXTB16 does for four weights. An odd
 * depth has one activation without a partner, which comes first; an odd last channel has two bytes for each pair.
 * Where 256 * sum[u+1] may not fit in 32 bits, the bytes are plain, and rows are multiplied one by one, by
 * `automcu_dsp_multiply1_wide`.
 *
 * `channels` has three numbers for each channel: 2 * bias, where the bias includes minus the input's zero point times
 * the sum of weights; the multiplier; and e - 1. `rounding` is 2z + 1; `multiply1` computes one row; `at_once` is 4, or 1 if rows are taken
 * one by one. */
typedef struct automcu_dsp_matrix {
    int32_t depth, units, rounding, at_once;
    const int8_t *weights;
    const int32_t *channels;
    void (*multiply1)(const struct automcu_dsp_matrix *matrix, const automcu_pair *columns, int8_t *output);
} automcu_dsp_matrix;

/* Dense layers: `rows` of `depth` inputs each. */
typedef struct {
    automcu_dsp_matrix matrix;
    int32_t rows;
} automcu_dsp_dense_parameters;

/* Convolutions. `top` and `left` are the rows and columns of padding, which holds `input_zero_point`. */
typedef struct {
    automcu_dsp_matrix matrix;
    int32_t input_height, input_width, input_depth;
    int32_t output_height, output_width;
    int32_t kernel_height, kernel_width;
    int32_t stride_height, stride_width;
    int32_t top, left;
    int32_t input_zero_point;
} automcu_dsp_conv_parameters;

/* output[row][unit]. `columns`: 16 bytes for each pair of a row's inputs (4 when there are fewer than 4 rows). */
void automcu_dsp_dense(const automcu_dsp_dense_parameters *parameters, const int8_t *input, int8_t *output,
                       void *columns);

/* CONV_2D. `columns` as above, a row being a window; `copies`: the bytes of 4 windows (of one, as above), needed only
 * when some window reaches over an edge. */
void automcu_dsp_conv(const automcu_dsp_conv_parameters *parameters, const int8_t *input, int8_t *output,
                      void *columns, int8_t *copies);

/* DEPTHWISE_CONV_2D of depth multiplier 1 and a depth of at least 4. `weights`[kernel_height][kernel_width][depth].
 * `channels` has three numbers for each channel: its bias as above, not doubled; the multiplier; and e - 1 plus 256
 * times how far the accumulator is shifted left to begin with, which is 1 unless its scale is 1/2 or more. */
typedef struct {
    int32_t depth, rounding;
    const int8_t *weights;
    const int32_t *channels;
    int32_t input_height, input_width;
    int32_t output_height, output_width;
    int32_t kernel_height, kernel_width;
    int32_t stride_height, stride_width;
    int32_t top, left;
    int32_t input_zero_point;
} automcu_dsp_depthwise_parameters;

/* Any window. `window`: the bytes of one window, needed only when some window reaches over an edge. */
void automcu_dsp_depthwise(const automcu_dsp_depthwise_parameters *parameters, const int8_t *input, int8_t *output,
                           int8_t *window);

/* The same, for kernels that slide along rows. What is called a row may be a column of the map, and a column a row (and
 * likewise in `weights`), so that columns are many: steps through memory are in bytes. */
typedef struct {
    int32_t depth, rounding;
    const int8_t *weights;
    const int32_t *channels;
    int32_t stride, kernel_rows, kernel_columns;
    int32_t input_rows, input_columns, input_row_bytes, input_column_bytes;
    int32_t output_rows, output_columns, output_row_bytes, output_column_bytes;
    int32_t top, left;
    int32_t input_zero_point;
} automcu_dsp_sliding_parameters;

/* A 3x3 kernel, stride 1 or 2. `columns`: 32 bytes for each column that an even number of output columns needs. */
void automcu_dsp_depthwise_3x3(const automcu_dsp_sliding_parameters *parameters, const int8_t *input, int8_t *output,
                               void *columns);

/* Stride 1, at most 8 columns in the kernel. `scratch`, with p = kernel_rows / 2 + 1: 16 p bytes for each column that a
 * multiple of 4 output columns needs; 80 bytes; and 32 p for each column of the kernel. */
void automcu_dsp_depthwise_stride1(const automcu_dsp_sliding_parameters *parameters, const int8_t *input,
                                   int8_t *output, void *scratch);

/* ADD of two maps of `count` numbers, of which `larger` has the larger scale (or the same): it counts
 * (larger - its zero point) << 19, exactly. The other one counts
 * round((smaller << 21) + smaller_offset, times multiplier / 2^32) >> shift, rounded half away from zero, where
 * smaller_offset is minus its zero point << 21; or, if `shift` is 0, as the larger one. `offset` is the sum of minus
 * the zero points that count so, << 20. The sum is scaled by the output rule, with `output_shift` = e - 1. */
typedef struct {
    int32_t count;
    int32_t smaller_offset, multiplier, shift;
    int32_t offset, output_multiplier, output_shift, rounding;
} automcu_dsp_add_parameters;

/* MUL of `count` numbers and of a period of others, scaled by the output rule with `shift` = e - 1. */
typedef struct {
    int32_t count, period;
    int32_t whole_zero_point, other_zero_point;
    int32_t multiplier, shift, rounding;
} automcu_dsp_mul_parameters;

/* MEAN of `count` pixels, of a depth of at least 4: sums, to which `offset` is added, are scaled likewise. */
typedef struct {
    int32_t count, depth, offset;
    int32_t multiplier, shift, rounding;
} automcu_dsp_mean_parameters;

/* AVERAGE_POOL_2D of a depth of at least 4. */
typedef struct {
    int32_t input_height, input_width, depth;
    int32_t output_height, output_width;
    int32_t kernel_height, kernel_width;
    int32_t stride_height, stride_width;
    int32_t top, left;
} automcu_dsp_pool_parameters;

/* The output may lie in either operand's place. */
void automcu_dsp_add(const automcu_dsp_add_parameters *parameters, const int8_t *larger, const int8_t *smaller,
                     int8_t *output);

void automcu_dsp_mul(const automcu_dsp_mul_parameters *parameters, const int8_t *whole, const int8_t *other,
                     int8_t *output);

void automcu_dsp_mean(const automcu_dsp_mean_parameters *parameters, const int8_t *input, int8_t *output);

void automcu_dsp_average_pool(const automcu_dsp_pool_parameters *parameters, const int8_t *input, int8_t *output);

/* Four windows of a map, of `rows` rows with `run` bytes each: where they begin, and how far it is from the end of the
 * last whole word in a row to the next row. */
typedef struct {
    const int8_t *from[4];
    int32_t gap[4];
} automcu_dsp_windows;

/* Widen four windows to to[pair][window]. Pairs: an activation without a partner, in the upper half, if `run` and `rows`
 * are odd (the last of the last row); then of each row in turn, of each four, (0, 2) and (1, 3); then of each row in
 * turn the two that are left, as neighbours; then the single ones left of two rows. */
void automcu_dsp_expand4(automcu_pair *to, const automcu_dsp_windows *windows, int32_t run, int32_t rows);

/* Widen one window, of rows `row_bytes` apart, to to[pair]. */
void automcu_dsp_expand1(automcu_pair *to, const int8_t *from, int32_t row_bytes, int32_t run, int32_t rows);

/* Output of 4 rows: columns[pair][row], output[row * units + unit]. */
void automcu_dsp_multiply4(const automcu_dsp_matrix *matrix, const automcu_pair *columns, int8_t *output);

/* Output of one row: columns[pair], output[unit]. */
void automcu_dsp_multiply1(const automcu_dsp_matrix *matrix, const automcu_pair *columns, int8_t *output);
void automcu_dsp_multiply1_wide(const automcu_dsp_matrix *matrix, const automcu_pair *columns, int8_t *output);

/* Clamp `count` outputs to minimum..maximum. */
void automcu_dsp_clamp(int8_t *output, int32_t count, int32_t minimum, int32_t maximum);

/* The bytes at even places (0 and 2) of four int8, and those at odd places, as a pair. The compiler makes one SXTB16 of
 * each; not every <arm_acle.h> has __ror. */
static inline automcu_pair automcu_dsp_even(uint32_t four)
{
    return (automcu_pair)__sxtb16(four);
}

static inline automcu_pair automcu_dsp_odd(uint32_t four)
{
    return (automcu_pair)__sxtb16(four >> 8 | four << 24);
}

/* base + ((x * y + 2^31) >> 32) */
static inline int32_t automcu_dsp_multiply_high(int32_t x, int32_t y, int32_t base)
{
    int32_t result;
    __asm__("smmlar %0, %1, %2, %3" : "=r"(result) : "r"(x), "r"(y), "r"(base));
    return result;
}

/* The output for twice an accumulator, by the rule above; `shift` is e - 1. */
static inline int32_t automcu_dsp_output(int32_t doubled, int32_t multiplier, int32_t shift, int32_t rounding)
{
    int32_t high = automcu_dsp_multiply_high(doubled, multiplier, (int32_t)((uint32_t)rounding << shift));
    return __ssat((high + (doubled >> 31)) >> shift >> 1, 8);
}

#endif
