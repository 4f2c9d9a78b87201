#include "automcu_dsp.h"

/* What one channel needs, unpacked: for the kernel's columns k = 0, 1, 2 the pairs (w0k, w1k), (w1k, w2k) of the weights
 * of its rows; then the numbers of the output rule, `addend` being rounding << right. */
typedef struct {
    automcu_pair weights[6];
    int32_t bias, multiplier, addend, right, left;
} channel;

/* Where four channels of two output rows go: bytes between planes, output pixels, and output rows, and pixels in a row.
 * Without a second row, `row_bytes` is 0: the first row is stored last. */
typedef struct {
    int32_t plane_bytes, pixel_bytes, row_bytes, width;
} layout;

/* Column k of the kernel on a column of the map, of which r2 has the pair of rows (0, 1), r3 that of rows (2, 3): adds
 * to the sums of row 0 (of rows 0, 1, 2) and row 1 (of rows 1, 2, 3). a and b are the pairs of weights. */
#define COLUMN(a, b, row0, row1, from0, from1)                                                                         \
    "smlad " row0 ", r2, " a ", " from0 "\n"                                                                           \
    "smlatb " row1 ", r2, " a ", " from1 "\n"                                                                          \
    "smlabt " row0 ", r3, " b ", " row0 "\n"                                                                           \
    "smlad " row1 ", r3, " b ", " row1 "\n"
#define ADD_COLUMN(a, b, row0, row1) COLUMN(a, b, row0, row1, row0, row1)
/* The output for the sum `x`, in its place; see automcu_dsp.h. */
#define OUTPUT(x)                                                                                                      \
    "lsl " x ", " x ", r7\n"                                                                                           \
    "smmlar r2, " x ", r4, r5\n"                                                                                       \
    "add r2, r2, " x ", asr #31\n"                                                                                     \
    "asr r2, r2, r6\n"                                                                                                 \
    "ssat " x ", #8, r2, asr #1\n"

/* Two rows of four channels, 2x2 outputs at a time; `planes`[channel][column][2] holds the pairs of rows.
 * r0 channel, r1 column; sums: r10 and r11 of rows 0 and 1, r12 and lr of the next pixel. The last pixel of an odd
 * width comes with one that is not there, which is stored first, in the same place.
 * Stack: 0 end of the columns; 4 bytes to the next pixel; 8 output; 12 bytes to the second row; 16 first output and 20
 * first column of the channel; 24 layout; 28 channels left. */
__attribute__((naked)) static void two_rows(const channel *channels, const automcu_pair *planes, int8_t *output,
                                            const layout *to)
{
    __asm__ volatile(
        "push {r4-r11, lr}\n"
        "sub sp, #36\n"
        "movs r4, #4\n"
        "strd r3, r4, [sp, #24]\n"
        "str r2, [sp, #16]\n"
        "1:\n"
        "ldr r3, [sp, #24]\n"
        "ldr r2, [sp, #16]\n"
        "ldm r3, {r4, r5, r6, r7}\n"
        "str r1, [sp, #20]\n"
        "strd r2, r6, [sp, #8]\n"
        "bic r7, r7, #1\n"
        "add r4, r1, r7, lsl #3\n"
        "strd r4, r5, [sp]\n"
        "cmp r1, r4\n"
        "beq 3f\n"
        ".p2align 2\n"
        "2:\n"
        "ldm r0, {r4, r5, r6, r7, r8, r9}\n"
        "ldr lr, [r0, #24]\n" /* bias */
        "ldrd r2, r3, [r1], #16\n" COLUMN("r4", "r5", "r10", "r11", "lr", "lr")
        "ldrd r2, r3, [r1, #-8]\n" ADD_COLUMN("r6", "r7", "r10", "r11") COLUMN("r4", "r5", "r12", "lr", "lr", "lr")
        "ldrd r2, r3, [r1]\n" ADD_COLUMN("r8", "r9", "r10", "r11") ADD_COLUMN("r6", "r7", "r12", "lr")
        "ldrd r2, r3, [r1, #8]\n" ADD_COLUMN("r8", "r9", "r12", "lr")
        "ldrd r4, r5, [r0, #28]\n" /* multiplier, addend */
        "ldrd r6, r7, [r0, #36]\n" /* right, left */
        OUTPUT("r10") OUTPUT("r11") OUTPUT("r12") OUTPUT("lr")
        "ldrd r3, r4, [sp]\n"
        "ldrd r5, r6, [sp, #8]\n"
        "add r7, r5, r4\n"
        "strb lr, [r7, r6]\n"
        "strb r12, [r7]\n"
        "strb r11, [r5, r6]\n"
        "strb r10, [r5]\n"
        "add r5, r7, r4\n"
        "str r5, [sp, #8]\n"
        "cmp r1, r3\n"
        "bne 2b\n"
        "3:\n"
        "ldr r3, [sp, #24]\n"
        "ldr r4, [sp, #4]\n"
        "ldrd r2, r7, [r3, #8]\n"
        "cbz r4, 4f\n"
        "lsls r7, r7, #31\n"
        "itttt ne\n"
        "movne r5, #0\n"
        "addne r4, r1, #16\n"
        "strdne r4, r5, [sp]\n"
        "bne 2b\n"
        "4:\n"
        "ldr r4, [r3]\n"
        "ldrd r2, r1, [sp, #16]\n"
        "adds r2, #1\n"
        "add r1, r1, r4\n"
        "str r2, [sp, #16]\n"
        "ldr r4, [sp, #28]\n"
        "adds r0, #44\n"
        "subs r4, #1\n"
        "str r4, [sp, #28]\n"
        "bne 1b\n"
        "add sp, #36\n"
        "pop {r4-r11, pc}\n");
}

static inline automcu_pair pair(int32_t low, int32_t high)
{
    return (uint16_t)low | (uint32_t)high << 16;
}

static void unpack(const automcu_dsp_depthwise_parameters *p, int32_t first, channel *channels)
{
    for (int32_t c = first; c < first + 4; c++, channels++) {
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

/* Put two new rows of four channels into the planes; what were rows 2 and 3 become rows 0 and 1. */
static inline __attribute__((always_inline)) automcu_pair *advance(automcu_pair *to, uint32_t upper, uint32_t lower,
                                                                   int32_t plane)
{
    const uint32_t even0 = __sxtb16(upper), odd0 = __sxtb16(__ror(upper, 8));
    const uint32_t even1 = __sxtb16(lower), odd1 = __sxtb16(__ror(lower, 8));
    const automcu_pair made[4] = {(even0 & 0xffff) | even1 << 16, (odd0 & 0xffff) | odd1 << 16,
                                  even0 >> 16 | (even1 & 0xffff0000), odd0 >> 16 | (odd1 & 0xffff0000)};
    for (int32_t c = 0; c < 4; c++) {
        to[c * plane] = to[c * plane + 1];
        to[c * plane + 1] = made[c];
    }
    return to + 2;
}

/* Four channels at a time (the last four may overlap those before), two rows at a time. */
void automcu_dsp_depthwise_3x3(const automcu_dsp_depthwise_parameters *parameters, const int8_t *input,
                               int8_t *output, void *planes)
{
    const automcu_dsp_depthwise_parameters *p = parameters;
    const int32_t depth = p->depth, columns = p->output_width + 2, row_bytes = p->input_width * depth;
    const int32_t plane = 2 * (columns + (columns & 1)), right = columns - p->left - p->input_width;
    const uint32_t padding = (uint8_t)p->input_zero_point * 0x01010101u;
    channel channels[4];
    for (int32_t first = 0; first < depth; first += 4) {
        if (first + 4 > depth) {
            first = depth - 4;
        }
        unpack(p, first, channels);
        layout to = {plane * 4, depth, p->output_width * depth, p->output_width};
        int8_t *made = output + first;
        for (int32_t y = -p->top - 2; y < p->output_height - p->top; y += 2) {
            /* Rows y + 2 and y + 3 enter. */
            const int8_t *upper = (const int8_t *)&padding, *lower = upper;
            int32_t upper_step = 0, lower_step = 0;
            if ((uint32_t)(y + 2) < (uint32_t)p->input_height) {
                upper = input + (y + 2) * row_bytes + first;
                upper_step = depth;
            }
            if ((uint32_t)(y + 3) < (uint32_t)p->input_height) {
                lower = input + (y + 3) * row_bytes + first;
                lower_step = depth;
            }
            automcu_pair *column = planes;
            if (p->left) {
                column = advance(column, padding, padding, plane);
            }
            const automcu_pair *end = (automcu_pair *)planes + 2 * (right > 0 ? columns - 1 : columns);
            while (column < end) {
                column = advance(column, *(const automcu_word *)upper, *(const automcu_word *)lower, plane);
                upper += upper_step;
                lower += lower_step;
            }
            if (right > 0) {
                advance(column, padding, padding, plane);
            }
            if (y < -p->top) {
                continue;
            }
            if (y + p->top + 1 == p->output_height) {
                to.row_bytes = 0;
            }
            two_rows(channels, planes, made, &to);
            made += 2 * p->output_width * depth;
        }
    }
}
