/* AutoMCU's portable int8 kernels: plain C99, no heap, no library function beyond mem*.
 *
 * Their results equal those of TensorFlow Lite Micro's reference kernels byte for byte. Feature maps are laid out as
 * height, width, depth. Each kernel takes its parameters, which lie in Flash, by pointer; sizes count elements.
 */
#ifndef AUTOMCU_KERNELS_H
#define AUTOMCU_KERNELS_H

#include <stdint.h>

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

void automcu_dense(const automcu_dense_parameters *parameters, const int8_t *input, int8_t *output);
void automcu_conv(const automcu_convolution_parameters *parameters, const int8_t *input, int8_t *output);
void automcu_depthwise_conv(const automcu_convolution_parameters *parameters, const int8_t *input, int8_t *output);

/* x * multiplier * 2^(shift - 31), rounded twice as TensorFlow Lite Micro's MultiplyByQuantizedMultiplier does: half
 * up to an integer on the scale of 2^-31, then half away from zero. */
static inline int32_t automcu_requantize(int32_t x, int32_t multiplier, int32_t shift)
{
    if (shift > 0) {
        x = (int32_t)((uint32_t)x << shift);
    }
    int32_t high = (int32_t)(((int64_t)x * multiplier + (1 << 30)) >> 31);
    if (shift < 0) {
        /* floor((y + 1/2 unit) / unit) of y = high, less 1 where negative; no sum here can overflow. */
        high = (high + (high >> 31)) >> (-shift - 1);
        high = (high >> 1) + (high & 1);
    }
    return high;
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

#endif
