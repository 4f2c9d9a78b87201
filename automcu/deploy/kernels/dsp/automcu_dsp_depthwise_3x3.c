#include "automcu_dsp.h"

/* What one channel needs, unpacked: for the kernel's columns k = 0, 1, 2 the pairs (w0k, w1k), (w1k, w2k) of the weights
 * of its rows; then the numbers of the output rule, `addend` being rounding << right. */
typedef struct {
    automcu_pair weights[6];
    int32_t bias, multiplier, addend, right, left;
} channel;

/* Where outputs go: bytes between columns and to the second row, and how many columns. Without a second row, that is 0
 * bytes away: the first row is stored last. */
typedef struct {
    int32_t column_bytes, row_bytes, columns;
} layout;

/* A column of the map for four channels: the pairs of rows (0, 1) and (2, 3) of each. */
typedef struct {
    automcu_pair pairs[4][2];
} column;

/* The output for the sum `x`, in its place; r4 multiplier, r5 addend, r6 right, r7 left. See automcu_dsp.h. */
#define OUTPUT(x)                                                                                                      \
    "lsl " x ", " x ", r7\n"                                                                                           \
    "smmlar r2, " x ", r4, r5\n"                                                                                       \
    "add r2, r2, " x ", asr #31\n"                                                                                     \
    "asr r2, r2, r6\n"                                                                                                 \
    "ssat " x ", #8, r2, asr #1\n"
#define NUMBERS "ldm r0, {r4, r5, r6, r7}\n"
/* Weights in r4-r9, the bias in lr. */
#define WEIGHTS "ldmdb r0, {r4, r5, r6, r7, r8, r9, lr}\n"

/* The frame of both functions below: `WORK` makes two columns of outputs of one channel from the columns at r1, and
 * stores them by r3 (bytes to the next column), r5 (address), r6 (bytes to the second row); it leaves the next address
 * in r5 and the end of the columns in r2. `STEP` is the bytes of columns that it moves on by. The last column of an odd number comes with one that is not
 * there, which is stored first, in the same place.
 * r0 the channel's multiplier, r1 column. Stack: 0 end of the columns; 4 bytes to the next output; 8 output; 12 bytes to the second row;
 * 16 first output and 20 first column of the channel; 24 layout; 28 channels left. */
#define FOUR_CHANNELS(WORK, STEP, STEP_SHIFT)                                                                          \
    "push {r4-r11, lr}\n"                                                                                              \
    "sub sp, #36\n"                                                                                                    \
    "adds r0, #28\n"                                                                                                   \
    "movs r4, #4\n"                                                                                                    \
    "strd r3, r4, [sp, #24]\n"                                                                                         \
    "str r2, [sp, #16]\n"                                                                                              \
    "1:\n"                                                                                                             \
    "ldr r3, [sp, #24]\n"                                                                                              \
    "ldr r2, [sp, #16]\n"                                                                                              \
    "ldm r3, {r4, r5, r6}\n"                                                                                           \
    "str r1, [sp, #20]\n"                                                                                              \
    "strd r2, r5, [sp, #8]\n"                                                                                          \
    "bic r6, r6, #1\n"                                                                                                 \
    "add r3, r1, r6, lsl #" STEP_SHIFT "\n"                                                                            \
    "strd r3, r4, [sp]\n"                                                                                              \
    "cmp r1, r3\n"                                                                                                     \
    "beq 3f\n"                                                                                                         \
    ".p2align 2\n"                                                                                                     \
    "2:\n" WORK "str r5, [sp, #8]\n"                                                                                   \
    "cmp r1, r2\n"                                                                                                     \
    "bne 2b\n"                                                                                                         \
    "3:\n"                                                                                                             \
    "ldr r3, [sp, #24]\n"                                                                                              \
    "ldr r4, [sp, #4]\n"                                                                                               \
    "ldr r7, [r3, #8]\n"                                                                                               \
    "cbz r4, 4f\n"                                                                                                     \
    "lsls r7, r7, #31\n"                                                                                               \
    "beq 4f\n"                                                                                                         \
    "movs r5, #0\n"                                                                                                    \
    "add r4, r1, #" STEP "\n"                                                                                          \
    "strd r4, r5, [sp]\n"                                                                                              \
    "b 2b\n"                                                                                                           \
    "4:\n"                                                                                                             \
    "ldrd r2, r1, [sp, #16]\n"                                                                                         \
    "adds r2, #1\n"                                                                                                    \
    "adds r1, #8\n"                                                                                                    \
    "str r2, [sp, #16]\n"                                                                                              \
    "ldr r4, [sp, #28]\n"                                                                                              \
    "adds r0, #44\n"                                                                                                   \
    "subs r4, #1\n"                                                                                                    \
    "str r4, [sp, #28]\n"                                                                                              \
    "bne 1b\n"                                                                                                         \
    "add sp, #36\n"                                                                                                    \
    "pop {r4-r11, pc}\n"

/* Column k of the kernel on a column of the map, its pairs in r2 and r3: adds to the sums of the row at input rows 0 to 2
 * and the row at 1 to 3. a and b are the pairs of weights. */
#define COLUMN(a, b, row0, row1, from0, from1)                                                                         \
    "smlad " row0 ", r2, " a ", " from0 "\n"                                                                           \
    "smlatb " row1 ", r2, " a ", " from1 "\n"                                                                          \
    "smlabt " row0 ", r3, " b ", " row0 "\n"                                                                           \
    "smlad " row1 ", r3, " b ", " row1 "\n"
#define ADD_COLUMN(a, b, row0, row1) COLUMN(a, b, row0, row1, row0, row1)

/* Stride 1, two rows: sums in r10 and r11 of the first column, r12 and lr of the second. */
__attribute__((naked)) static void two_rows(const channel *channels, const automcu_pair *columns, int8_t *output,
                                            const layout *to)
{
    __asm__ volatile(FOUR_CHANNELS(
        WEIGHTS
        "ldrd r2, r3, [r1], #64\n" COLUMN("r4", "r5", "r10", "r11", "lr", "lr")
        "ldrd r2, r3, [r1, #-32]\n" ADD_COLUMN("r6", "r7", "r10", "r11") COLUMN("r4", "r5", "r12", "lr", "lr", "lr")
        "ldrd r2, r3, [r1]\n" ADD_COLUMN("r8", "r9", "r10", "r11") ADD_COLUMN("r6", "r7", "r12", "lr")
        "ldrd r2, r3, [r1, #32]\n" ADD_COLUMN("r8", "r9", "r12", "lr")
        NUMBERS OUTPUT("r10") OUTPUT("r11") OUTPUT("r12") OUTPUT("lr")
        "ldm sp, {r2, r3, r5, r6}\n"
        "add r7, r5, r3\n"
        "strb lr, [r7, r6]\n"
        "strb r12, [r7]\n"
        "strb r11, [r5, r6]\n"
        "strb r10, [r5]\n"
        "add r5, r7, r3\n", "64", "5"));
}

/* The first row alone; the sum in `to`, begun from `from`. */
#define ROW(a, b, to, from)                                                                                            \
    "smlad " to ", r2, " a ", " from "\n"                                                                              \
    "smlabt " to ", r3, " b ", " to "\n"

/* Stride 2, one row: sums in r10 of the first column and lr of the second. */
__attribute__((naked)) static void one_row(const channel *channels, const automcu_pair *columns, int8_t *output,
                                           const layout *to)
{
    __asm__ volatile(FOUR_CHANNELS(
        WEIGHTS
        "ldrd r2, r3, [r1], #128\n" ROW("r4", "r5", "r10", "lr")
        "ldrd r2, r3, [r1, #-96]\n" ROW("r6", "r7", "r10", "r10")
        "ldrd r2, r3, [r1, #-64]\n" ROW("r8", "r9", "r10", "r10") ROW("r4", "r5", "lr", "lr")
        "ldrd r2, r3, [r1, #-32]\n" ROW("r6", "r7", "lr", "lr")
        "ldrd r2, r3, [r1]\n" ROW("r8", "r9", "lr", "lr")
        NUMBERS OUTPUT("r10") OUTPUT("lr")
        "ldm sp, {r2, r3, r5}\n"
        "strb lr, [r5, r3]\n"
        "strb r10, [r5]\n"
        "add r5, r5, r3, lsl #1\n", "128", "6"));
}

static inline automcu_pair pair(int32_t low, int32_t high)
{
    return (uint16_t)low | (uint32_t)high << 16;
}

AUTOMCU_ONCE void unpack(const automcu_dsp_sliding_parameters *p, int32_t first, channel *channels)
{
    AUTOMCU_NO_UNROLL
    for (int32_t c = first; c < first + 4; c++, channels++) {
        AUTOMCU_NO_UNROLL
        for (int32_t k = 0; k < 3; k++) {
            const int8_t *weights = p->weights + k * p->depth + c;
            const int32_t w0 = weights[0], w1 = weights[3 * p->depth], w2 = weights[6 * p->depth];
            channels->weights[2 * k] = pair(w0, w1);
            channels->weights[2 * k + 1] = pair(w1, w2);
        }
        const int32_t *numbers = p->channels + 3 * c;
        channels->bias = numbers[0];
        channels->multiplier = numbers[1];
        channels->right = numbers[2] & 255;
        channels->left = numbers[2] >> 8;
        channels->addend = (int32_t)((uint32_t)p->rounding << channels->right);
    }
}

/* Two new rows enter the columns from `to` to `end`, read from row2 and row3 in steps of step2 and step3 bytes; what were
 * rows 2 and 3 become rows 0 and 1. r5 and r6 hold row3 and step3. */
__attribute__((naked)) static void advance(column *to, const column *end, const int8_t *row2, int32_t step2,
                                           const int8_t *row3, int32_t step3)
{
    __asm__ volatile(
        "push {r4-r11, lr}\n"
        "ldrd r5, r6, [sp, #36]\n"
        "cmp r0, r1\n"
        "bhs 2f\n"
        ".p2align 2\n"
        "1:\n"
        "ldr r8, [r2]\n"
        "ldr r9, [r5]\n"
        "ldr r4, [r0, #4]\n"
        "ldr r12, [r0, #12]\n"
        "add r2, r2, r3\n"
        "add r5, r5, r6\n"
        "sxtb16 r10, r8\n"
        "sxtb16 r11, r9\n"
        "sxtb16 r8, r8, ror #8\n"
        "sxtb16 r9, r9, ror #8\n"
        "pkhbt r7, r10, r11, lsl #16\n"
        "pkhbt lr, r8, r9, lsl #16\n"
        "stm r0!, {r4, r7, r12, lr}\n"
        "ldr r4, [r0, #4]\n"
        "ldr r12, [r0, #12]\n"
        "pkhtb r7, r11, r10, asr #16\n"
        "pkhtb lr, r9, r8, asr #16\n"
        "stm r0!, {r4, r7, r12, lr}\n"
        "cmp r0, r1\n"
        "blo 1b\n"
        "2:\n"
        "pop {r4-r11, pc}\n");
}

/* Rows y + 2 and y + 3 of four channels enter all columns. Outside the map is padding. */
static void advance_all(const automcu_dsp_sliding_parameters *p, const int8_t *input, int32_t y, column *columns)
{
    const uint32_t padding = (uint8_t)p->input_zero_point * 0x01010101u;
    const int8_t *outside = (const int8_t *)&padding, *row2 = outside, *row3 = outside;
    int32_t step2 = 0, step3 = 0;
    if ((uint32_t)(y + 2) < (uint32_t)p->input_rows) {
        row2 = input + (y + 2) * p->input_row_bytes;
        step2 = p->input_column_bytes;
    }
    if ((uint32_t)(y + 3) < (uint32_t)p->input_rows) {
        row3 = input + (y + 3) * p->input_row_bytes;
        step3 = p->input_column_bytes;
    }
    column *end = columns + (p->output_columns - 1) * p->stride + 3;
    column *begin = columns + p->left;
    column *edge = end - begin > p->input_columns ? begin + p->input_columns : end;
    advance(columns, begin, outside, 0, outside, 0);
    advance(begin, edge, row2, step2, row3, step3);
    advance(edge, end, outside, 0, outside, 0);
}

/* Four channels at a time (the last four may overlap those before), and two rows of the map. */
void automcu_dsp_depthwise_3x3(const automcu_dsp_sliding_parameters *parameters, const int8_t *input,
                               int8_t *output, void *columns)
{
    const automcu_dsp_sliding_parameters copy = *parameters, *p = &copy;
    const int32_t rows = p->stride == 1 ? 2 : 1;
    channel channels[4];
    for (int32_t first = 0; first < p->depth; first += 4) {
        if (first + 4 > p->depth) {
            first = p->depth - 4;
        }
        unpack(p, first, channels);
        layout to = {p->output_column_bytes, p->output_row_bytes, p->output_columns};
        int8_t *made = output + first;
        int32_t y = -p->top;
        advance_all(p, input + first, y - 2, columns);
        for (int32_t row = 0; row < p->output_rows; row += rows, y += 2) {
            advance_all(p, input + first, y, columns);
            if (rows == 2) {
                if (row + 1 == p->output_rows) {
                    to.row_bytes = 0;
                }
                two_rows(channels, columns, made, &to);
            } else {
                one_row(channels, columns, made, &to);
            }
            made += rows * p->output_row_bytes;
        }
    }
}
