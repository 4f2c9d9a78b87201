#include "automcu_dsp.h"

void automcu_dsp_dense(const automcu_dsp_dense_parameters *parameters, const int8_t *input, int8_t *output,
                       void *columns)
{
    const automcu_dsp_matrix *matrix = &parameters->matrix;
    const int32_t depth = matrix->depth, units = matrix->units;
    int32_t left = parameters->rows;
    if (!matrix->wide) {
        for (; left >= 4; left -= 4) {
            for (int32_t row = 0; row < 4; row++, input += depth) {
                automcu_dsp_expand((automcu_pair *)columns + row, input, depth, 4);
            }
            automcu_dsp_multiply4(matrix, columns, output);
            output += 4 * units;
        }
    }
    for (; left > 0; left--) {
        automcu_dsp_expand(columns, input, depth, 1);
        automcu_dsp_multiply1(matrix, columns, output);
        input += depth;
        output += units;
    }
}
