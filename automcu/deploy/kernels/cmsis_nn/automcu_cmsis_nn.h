/* Calls of CMSIS-NN 4.0.0 with the parameters of a layer in one constant. Dilation is 1, the batch too. */
#ifndef AUTOMCU_CMSIS_NN_H
#define AUTOMCU_CMSIS_NN_H

#include "arm_nnfunctions.h"

/* CONV_2D; FULLY_CONNECTED with a scale for each unit, as a 1x1 convolution of a map one row high. `scratch_bytes` is
 * what `arm_convolve_wrapper_s8_get_buffer_size` asks for. */
typedef struct {
    cmsis_nn_conv_params convolution;
    cmsis_nn_per_channel_quant_params scaling;
    cmsis_nn_dims input, filter, output;
    const int8_t *weights;
    const int32_t *bias;
    int32_t scratch_bytes;
} automcu_cmsis_conv_parameters;

/* DEPTHWISE_CONV_2D. */
typedef struct {
    cmsis_nn_dw_conv_params convolution;
    cmsis_nn_per_channel_quant_params scaling;
    cmsis_nn_dims input, filter, output;
    const int8_t *weights;
    const int32_t *bias;
    int32_t scratch_bytes;
} automcu_cmsis_depthwise_conv_parameters;

/* FULLY_CONNECTED with one scale. */
typedef struct {
    cmsis_nn_fc_params dense;
    cmsis_nn_per_tensor_quant_params scaling;
    cmsis_nn_dims input, filter, output;
    const int8_t *weights;
    const int32_t *bias;
} automcu_cmsis_fully_connected_parameters;

/* AVERAGE_POOL_2D and MAX_POOL_2D. */
typedef struct {
    cmsis_nn_pool_params pool;
    cmsis_nn_dims input, filter, output;
    int32_t scratch_bytes;
} automcu_cmsis_pool_parameters;

void automcu_cmsis_conv(const automcu_cmsis_conv_parameters *parameters, const int8_t *input, int8_t *output,
                        void *scratch);
void automcu_cmsis_depthwise_conv(const automcu_cmsis_depthwise_conv_parameters *parameters, const int8_t *input,
                                  int8_t *output, void *scratch);
void automcu_cmsis_fully_connected(const automcu_cmsis_fully_connected_parameters *parameters, const int8_t *input,
                                   int8_t *output, void *scratch);
void automcu_cmsis_average_pool(const automcu_cmsis_pool_parameters *parameters, const int8_t *input, int8_t *output,
                                void *scratch);
void automcu_cmsis_max_pool(const automcu_cmsis_pool_parameters *parameters, const int8_t *input, int8_t *output,
                            void *scratch);

#endif
