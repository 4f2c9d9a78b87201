#include "automcu_kernels.h"

void automcu_table(const int8_t table[256], const int8_t *restrict input, int8_t *restrict output, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        output[i] = table[(uint8_t)input[i]];
    }
}
