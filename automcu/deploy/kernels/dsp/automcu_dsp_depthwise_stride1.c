#include "automcu_dsp.h"

/* One channel: the numbers of the output rule, `addend` being rounding << right; then for each pair p of rows and each
 * column of the kernel the pairs (w[2p], w[2p + 1]) and (w[2p - 1], w[2p]) of its weights, for two rows of outputs. */
typedef struct {
    int32_t multiplier, addend, right, left, bias;
    automcu_pair weights[];
} channel;

/* How two rows of outputs are made: bytes to the second row (0 if there is none: the first is stored last), and to the
 * next 3 columns; columns; bytes to the 3 columns of the last four, of which those that are not there lie on the last
 * that is. Then bytes: from the last column of the kernel in a plane to the first in the next, of the weights up to the
 * end of the planes, of all weights, of all planes of a channel, and of the code for columns that the kernel lacks. */
typedef struct {
    int32_t row_bytes, column_bytes[3], columns, last_bytes[3];
    int32_t step_bytes, first_bytes, weights_bytes, ring_bytes, skipped_bytes;
} job;

#define MAX_COLUMNS 8
#define COLUMN_BYTES 44
/* A column of the kernel: 4 columns of outputs, two rows each. r0 weights, r1 a plane; sums r5, r6 of the first column to
 * r11, r12 of the last. */
#define COLUMN                                                                                                         \
    "ldrd r2, r3, [r0], #8\n"                                                                                          \
    "ldrd r4, lr, [r1], #4\n"                                                                                          \
    "smlad r5, r4, r2, r5\n"                                                                                           \
    "smlad r6, r4, r3, r6\n"                                                                                           \
    "smlad r7, lr, r2, r7\n"                                                                                           \
    "smlad r8, lr, r3, r8\n"                                                                                           \
    "ldrd r4, lr, [r1, #4]\n"                                                                                          \
    "smlad r9, r4, r2, r9\n"                                                                                           \
    "smlad r10, r4, r3, r10\n"                                                                                         \
    "smlad r11, lr, r2, r11\n"                                                                                         \
    "smlad r12, lr, r3, r12\n"
/* The output for the sum `x`, in its place; r0 multiplier, r1 addend, r2 right, r3 left. See automcu_dsp.h. */
#define OUTPUT(x)                                                                                                      \
    "lsl " x ", " x ", r3\n"                                                                                           \
    "smmlar r4, " x ", r0, r1\n"                                                                                       \
    "add r4, r4, " x ", asr #31\n"                                                                                     \
    "asr r4, r4, r2\n"                                                                                                 \
    "ssat " x ", #8, r4, asr #1\n"

/* Two rows of one channel, four columns at a time. `plane`: that of the first pair of rows.
 * Stack: 0 step_bytes; 4 weights to stop at, after which the planes begin anew, or end; 8 where to start; 12 output, 16
 * row_bytes, 20 to 28 column_bytes; 32 columns left; 36 channel; 40 plane; 44 job. */
__attribute__((naked)) static void two_rows(const channel *numbers, const automcu_pair *plane, int8_t *output,
                                            const job *how)
{
    __asm__ volatile(
        "push {r4-r11, lr}\n"
        "sub sp, #48\n"
        "strd r0, r1, [sp, #36]\n"
        "str r3, [sp, #44]\n"
        "ldm r3, {r4, r5, r6, r7, r8}\n"
        "strd r2, r4, [sp, #12]\n"
        "strd r5, r6, [sp, #20]\n"
        "strd r7, r8, [sp, #28]\n"
        "ldr r4, [r3, #32]\n"
        "str r4, [sp]\n"
        "ldr r4, [r3, #48]\n"
        "adr.w r5, 2f\n"
        "add r5, r5, r4\n"
        "orr r5, r5, #1\n"
        "str r5, [sp, #8]\n"
        "cmp r8, #4\n"
        "blt.w 5f\n"
        "1:\n"
        "ldrd r0, r1, [sp, #36]\n"
        "ldr r2, [sp, #44]\n"
        "ldr r5, [r0, #16]\n" /* bias */
        "ldr r3, [r2, #36]\n"
        "adds r0, #20\n"
        "add r3, r0, r3\n"
        "str r3, [sp, #4]\n"
        "mov r6, r5\n"
        "mov r7, r5\n"
        "mov r8, r5\n"
        "mov r9, r5\n"
        "mov r10, r5\n"
        "mov r11, r5\n"
        "mov r12, r5\n"
        "ldr pc, [sp, #8]\n"
        ".p2align 2\n"
        "2:\n" COLUMN COLUMN COLUMN COLUMN COLUMN COLUMN COLUMN COLUMN
        "ldrd r2, r3, [sp]\n"
        "add r1, r1, r2\n"
        "cmp r0, r3\n"
        "beq 3f\n"
        "ldr pc, [sp, #8]\n"
        "3:\n"
        "ldr r2, [sp, #44]\n"
        "ldr r4, [sp, #36]\n"
        "ldrd r3, lr, [r2, #40]\n" /* weights_bytes, ring_bytes */
        "adds r4, #20\n"
        "add r4, r4, r3\n"
        "cmp r0, r4\n"
        "beq 4f\n"
        "sub r1, r1, lr\n"
        "str r4, [sp, #4]\n"
        "ldr pc, [sp, #8]\n"
        "4:\n"
        "ldr lr, [sp, #36]\n"
        "ldm lr, {r0, r1, r2, r3}\n" OUTPUT("r5") OUTPUT("r6") OUTPUT("r7") OUTPUT("r8") OUTPUT("r9") OUTPUT("r10")
            OUTPUT("r11") OUTPUT("r12")
        "add lr, sp, #12\n"
        "ldm lr, {r0, r1, r2, r3, r4}\n"
        "add lr, r0, r4\n"
        "strb r12, [lr, r1]\n"
        "strb r11, [lr]\n"
        "add lr, r0, r3\n"
        "strb r10, [lr, r1]\n"
        "strb r9, [lr]\n"
        "add lr, r0, r2\n"
        "strb r8, [lr, r1]\n"
        "strb r7, [lr]\n"
        "strb r6, [r0, r1]\n"
        "strb r5, [r0]\n"
        "add r0, r0, r4\n"
        "add r0, r0, r2\n"
        "str r0, [sp, #12]\n"
        "ldr r2, [sp, #40]\n"
        "ldr r3, [sp, #32]\n"
        "adds r2, #16\n"
        "str r2, [sp, #40]\n"
        "subs r3, #4\n"
        "ble 6f\n"
        "str r3, [sp, #32]\n"
        "cmp r3, #4\n"
        "bge.w 1b\n"
        "5:\n"
        "ldr r2, [sp, #44]\n"
        "ldrd r4, r5, [r2, #20]\n"
        "ldr r6, [r2, #28]\n"
        "strd r4, r5, [sp, #20]\n"
        "str r6, [sp, #28]\n"
        "b.w 1b\n"
        "6:\n"
        "add sp, #48\n"
        "pop {r4-r11, pc}\n");
}

/* Two rows of four channels as pairs: from `upper` and `lower`, in steps of so many bytes, to `to` up to `end` in the
 * planes of the first channel, and `ring_bytes` further on in those of each other. */
__attribute__((naked)) static void widen(automcu_pair *to, const automcu_pair *end, const int8_t *upper,
                                         int32_t upper_step, const int8_t *lower, int32_t lower_step,
                                         int32_t ring_bytes)
{
    __asm__ volatile(
        "push {r4-r11, lr}\n"
        "ldrd r5, r6, [sp, #36]\n"
        "ldr r7, [sp, #44]\n"
        "cmp r0, r1\n"
        "bhs 2f\n"
        ".p2align 2\n"
        "1:\n"
        "ldr r8, [r2]\n"
        "ldr r9, [r5]\n"
        "add r2, r2, r3\n"
        "add r5, r5, r6\n"
        "sxtb16 r10, r8\n"
        "sxtb16 r11, r9\n"
        "sxtb16 r8, r8, ror #8\n"
        "sxtb16 r9, r9, ror #8\n"
        "pkhbt r12, r10, r11, lsl #16\n"
        "pkhbt lr, r8, r9, lsl #16\n"
        "pkhtb r10, r11, r10, asr #16\n"
        "pkhtb r8, r9, r8, asr #16\n"
        "add r4, r0, r7\n"
        "str r12, [r0]\n"
        "str lr, [r0, r7]\n"
        "str r10, [r0, r7, lsl #1]\n"
        "str r8, [r4, r7, lsl #1]\n"
        "adds r0, #4\n"
        "cmp r0, r1\n"
        "blo 1b\n"
        "2:\n"
        "pop {r4-r11, pc}\n");
}

/* Rows y and y + 1 of four channels, to one plane of each. Outside the map is padding. */
static void widen_rows(const automcu_dsp_sliding_parameters *p, const int8_t *input, int32_t y, automcu_pair *plane,
                       int32_t ring_bytes)
{
    const uint32_t padding = (uint8_t)p->input_zero_point * 0x01010101u;
    const int8_t *outside = (const int8_t *)&padding, *upper = outside, *lower = outside;
    int32_t upper_step = 0, lower_step = 0;
    if ((uint32_t)y < (uint32_t)p->input_rows) {
        upper = input + y * p->input_row_bytes;
        upper_step = p->input_column_bytes;
    }
    if ((uint32_t)(y + 1) < (uint32_t)p->input_rows) {
        lower = input + (y + 1) * p->input_row_bytes;
        lower_step = p->input_column_bytes;
    }
    automcu_pair *end = plane + p->output_columns + p->kernel_columns - 1, *begin = plane + p->left;
    automcu_pair *edge = end - begin > p->input_columns ? begin + p->input_columns : end;
    widen(plane, begin, outside, 0, outside, 0, ring_bytes);
    widen(begin, edge, upper, upper_step, lower, lower_step, ring_bytes);
    widen(edge, end, outside, 0, outside, 0, ring_bytes);
}

/* Unpack channel c. Above and below the kernel weights are 0. */
AUTOMCU_ONCE void unpack(const automcu_dsp_sliding_parameters *p, int32_t c, channel *numbers)
{
    const int32_t *given = p->channels + 3 * c;
    numbers->bias = given[0];
    numbers->multiplier = given[1];
    numbers->right = given[2] & 255;
    numbers->left = given[2] >> 8;
    numbers->addend = (int32_t)((uint32_t)p->rounding << numbers->right);
    const int32_t columns = p->kernel_columns, row_bytes = columns * p->depth;
    const int8_t *column = p->weights + c;
    AUTOMCU_NO_UNROLL
    for (int32_t k = 0; k < columns; k++, column += p->depth) {
        const int8_t *weight = column;
        automcu_pair *weights = numbers->weights + 2 * k;
        uint32_t before = 0;
        AUTOMCU_NO_UNROLL
        for (int32_t rows = p->kernel_rows; rows >= 0; rows -= 2, weights += 2 * columns) {
            uint32_t even = 0, odd = 0;
            if (rows > 0) {
                even = (uint16_t)*weight;
                weight += row_bytes;
            }
            if (rows > 1) {
                odd = (uint32_t)*weight << 16;
                weight += row_bytes;
            }
            weights[0] = even | odd;
            weights[1] = before >> 16 | even << 16;
            before = odd;
        }
    }
}

/* Four channels at a time (the last four may overlap those before), two rows at a time. The planes of a channel are a
 * ring: two rows enter in place of the two that are needed no more. */
void automcu_dsp_depthwise_stride1(const automcu_dsp_sliding_parameters *parameters, const int8_t *input,
                                   int8_t *output, void *scratch)
{
    const automcu_dsp_sliding_parameters copy = *parameters, *p = &copy;
    const int32_t pairs = p->kernel_rows / 2 + 1, columns = (p->output_columns + 3) & ~3;
    const int32_t plane = columns + p->kernel_columns - 1, ring_bytes = 4 * pairs * plane;
    const int32_t kernel_bytes = 8 * p->kernel_columns, numbers_bytes = (int32_t)sizeof(channel) + pairs * kernel_bytes;
    const int32_t step = p->output_column_bytes, last = (p->output_columns - 1) & 3;
    automcu_pair *planes = scratch;
    int8_t *numbers = (int8_t *)scratch + 4 * ring_bytes;
    job how = {0,
               {step, 2 * step, 3 * step},
               p->output_columns,
               {last < 1 ? 0 : step, (last < 2 ? last : 2) * step, last * step},
               4 * plane - 4 * p->kernel_columns,
               0,
               pairs * kernel_bytes,
               ring_bytes,
               (MAX_COLUMNS - p->kernel_columns) * COLUMN_BYTES};
    for (int32_t first = 0; first < p->depth; first += 4) {
        if (first + 4 > p->depth) {
            first = p->depth - 4;
        }
        AUTOMCU_NO_UNROLL
        for (int32_t c = 0; c < 4; c++) {
            unpack(p, first + c, (channel *)(numbers + c * numbers_bytes));
        }
        int32_t y = -p->top, slot = 0;
        for (; slot < pairs - 1; slot++, y += 2) {
            widen_rows(p, input + first, y, planes + slot * plane, ring_bytes);
        }
        int8_t *made = output + first;
        for (int32_t row = 0; row < p->output_rows; row += 2, y += 2) {
            widen_rows(p, input + first, y, planes + slot * plane, ring_bytes);
            slot = slot + 1 == pairs ? 0 : slot + 1;
            how.first_bytes = (pairs - slot) * kernel_bytes;
            how.row_bytes = row + 1 < p->output_rows ? p->output_row_bytes : 0;
            AUTOMCU_NO_UNROLL
            for (int32_t c = 0; c < 4; c++) {
                two_rows((const channel *)(numbers + c * numbers_bytes), planes + (c * pairs + slot) * plane, made + c,
                         &how);
            }
            made += 2 * p->output_row_bytes;
        }
    }
}
