#include "automcu_cmsis_nn.h"

/* The functions below refuse nothing but wrong arguments, which the emitter does not give. */

void automcu_cmsis_conv(const automcu_cmsis_conv_parameters *parameters, const int8_t *input, int8_t *output,
                        void *scratch)
{
    const automcu_cmsis_conv_parameters *p = parameters;
    const cmsis_nn_context context = {scratch, p->scratch_bytes};
    const cmsis_nn_dims bias = {1, 1, 1, p->output.c};
    arm_convolve_wrapper_s8(&context, &p->convolution, &p->scaling, &p->input, input, &p->filter, p->weights, &bias,
                            p->bias, &p->output, output);
}

void automcu_cmsis_depthwise_conv(const automcu_cmsis_depthwise_conv_parameters *parameters, const int8_t *input,
                                  int8_t *output, void *scratch)
{
    const automcu_cmsis_depthwise_conv_parameters *p = parameters;
    const cmsis_nn_context context = {scratch, p->scratch_bytes};
    const cmsis_nn_dims bias = {1, 1, 1, p->output.c};
    arm_depthwise_conv_wrapper_s8(&context, &p->convolution, &p->scaling, &p->input, input, &p->filter, p->weights,
                                  &bias, p->bias, &p->output, output);
}

void automcu_cmsis_fully_connected(const automcu_cmsis_fully_connected_parameters *parameters, const int8_t *input,
                                   int8_t *output, void *scratch)
{
    const automcu_cmsis_fully_connected_parameters *p = parameters;
    const cmsis_nn_context context = {scratch, 0};
    const cmsis_nn_dims bias = {1, 1, 1, p->output.c};
    arm_fully_connected_s8(&context, &p->dense, &p->scaling, &p->input, input, &p->filter, p->weights, &bias, p->bias,
                           &p->output, output);
}

void automcu_cmsis_average_pool(const automcu_cmsis_pool_parameters *parameters, const int8_t *input, int8_t *output,
                                void *scratch)
{
    const automcu_cmsis_pool_parameters *p = parameters;
    const cmsis_nn_context context = {scratch, p->scratch_bytes};
    arm_avgpool_s8(&context, &p->pool, &p->input, input, &p->filter, &p->output, output);
}

void automcu_cmsis_max_pool(const automcu_cmsis_pool_parameters *parameters, const int8_t *input, int8_t *output,
                            void *scratch)
{
    const automcu_cmsis_pool_parameters *p = parameters;
    const cmsis_nn_context context = {scratch, p->scratch_bytes};
    arm_max_pool_s8(&context, &p->pool, &p->input, input, &p->filter, &p->output, output);
}
