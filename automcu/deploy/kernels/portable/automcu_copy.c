#include <string.h>

#include "automcu_kernels.h"

void automcu_copy_rows(const int8_t *restrict input, int8_t *restrict output, int32_t rows, int32_t run, int32_t step)
{
#pragma GCC unroll 1
    for (int32_t row = 0; row < rows; row++) {
        memcpy(output, input, (size_t)run);
        input += run;
        output += step;
    }
}
