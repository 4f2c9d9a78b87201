#include "automcu_dsp_multiply1.h"

void automcu_dsp_multiply1_wide(const automcu_dsp_matrix *matrix, const automcu_pair *columns, int8_t *output)
{
    automcu_dsp_multiply(matrix, columns, output, 1);
}
