#include "automcu_dsp.h"

void automcu_dsp_dense(const automcu_dsp_dense_parameters *parameters, const int8_t *input, int8_t *output,
                       void *columns)
{
    const automcu_dsp_matrix *matrix = &parameters->matrix;
    const int32_t depth = matrix->depth, units = matrix->units;
    int32_t left = parameters->rows;
    for (; matrix->at_once == 4 && left >= 4; left -= 4) {
        const automcu_dsp_windows rows = {{input, input + depth, input + 2 * depth, input + 3 * depth}, {0}};
        automcu_dsp_expand4(columns, &rows, depth, 1);
        automcu_dsp_multiply4(matrix, columns, output);
        input += 4 * depth;
        output += 4 * units;
    }
    for (; left > 0; left--) {
        automcu_dsp_expand1(columns, input, 0, depth, 1);
        matrix->multiply1(matrix, columns, output);
        input += depth;
        output += units;
    }
}
