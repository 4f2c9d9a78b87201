#include "automcu_dsp.h"

/* One channel's output, stored, for its sum `x`; its numbers are at [r9, `at`]. r0 output, r4 rounding. */
#define OUTPUT(x, at, to)                                                                                              \
    "ldrd r10, r11, [r9, #" at "]\n" /* multiplier, shifts */                                                          \
    "lsr r12, r11, #8\n"                                                                                               \
    "lsl " x ", " x ", r12\n"                                                                                          \
    "lsl r12, r4, r11\n" /* by the lowest byte, as below */                                                            \
    "smmlar r12, " x ", r10, r12\n"                                                                                    \
    "add r12, r12, " x ", asr #31\n"                                                                                   \
    "asr r12, r12, r11\n"                                                                                              \
    "ssat r12, #8, r12, asr #1\n"                                                                                      \
    "strb r12, [r0, #" to "]\n"

/* One pixel, four channels at a time (the last four may overlap those before). `from`: the window, whose rows are
 * `row_bytes` apart.
 * r0 and r1 a row of the window and of the kernel, r2 offset in it, r3 depth, r4 end of the row; sums r5-r8, of which
 * the bytes at even places give r5 and r7; r9-r12 words; lr rows left. Stack: 0 row_bytes; 4 first channel; 8 rounding;
 * 12 kernel_height; 16 bytes in a row; 20 from; 24 output; 28 the channels' numbers; 32 parameters. */
__attribute__((naked)) static void one_pixel(const automcu_dsp_depthwise_parameters *parameters, const int8_t *from,
                                             int32_t row_bytes, int8_t *output)
{
    __asm__ volatile(
        "push {r4-r11, lr}\n"
        "sub sp, #36\n"
        "movs r4, #0\n"
        "strd r2, r4, [sp]\n"
        "ldr r4, [r0, #4]\n"      /* rounding */
        "ldrd r5, r6, [r0, #32]\n" /* kernel_height, kernel_width */
        "strd r4, r5, [sp, #8]\n"
        "ldr r7, [r0]\n" /* depth */
        "mul r6, r6, r7\n"
        "strd r6, r1, [sp, #16]\n"
        "str r3, [sp, #24]\n"
        "str r0, [sp, #32]\n"
        "1:\n"
        "ldr r9, [sp, #32]\n"
        "ldr r10, [sp, #4]\n"
        "ldr r0, [sp, #20]\n"
        "ldr r3, [r9]\n"
        "ldrd r1, r9, [r9, #8]\n" /* weights, channels */
        "add r0, r0, r10\n"
        "add r1, r1, r10\n"
        "add r10, r10, r10, lsl #1\n"
        "add r9, r9, r10, lsl #2\n"
        "str r9, [sp, #28]\n"
        "ldr r5, [r9]\n" /* biases */
        "ldr r6, [r9, #12]\n"
        "ldr r7, [r9, #24]\n"
        "ldr r8, [r9, #36]\n"
        "ldrd lr, r4, [sp, #12]\n"
        "2:\n"
        "movs r2, #0\n"
        ".p2align 2\n"
        "3:\n"
        "ldr r9, [r0, r2]\n"
        "ldr r11, [r1, r2]\n"
        "add r2, r2, r3\n"
        "sxtb16 r10, r9, ror #8\n"
        "sxtb16 r12, r11, ror #8\n"
        "sxtb16 r9, r9\n"
        "sxtb16 r11, r11\n"
        "smlabb r6, r10, r12, r6\n"
        "smlatt r8, r10, r12, r8\n"
        "smlabb r5, r9, r11, r5\n"
        "smlatt r7, r9, r11, r7\n"
        "cmp r2, r4\n"
        "bne 3b\n"
        "ldr r9, [sp]\n"
        "add r1, r1, r4\n"
        "add r0, r0, r9\n"
        "subs lr, #1\n"
        "bne 2b\n"
        "ldr r9, [sp, #28]\n"
        "ldr r0, [sp, #24]\n"
        "ldrd r1, r4, [sp, #4]\n"
        "add r0, r0, r1\n" OUTPUT("r5", "4", "0") OUTPUT("r6", "16", "1") OUTPUT("r7", "28", "2")
            OUTPUT("r8", "40", "3")
        "adds r1, #4\n"
        "cmp r1, r3\n"
        "bhs 4f\n"
        "subs r2, r3, #4\n"
        "cmp r1, r2\n"
        "it hi\n"
        "movhi r1, r2\n"
        "str r1, [sp, #4]\n"
        "b 1b\n"
        "4:\n"
        "add sp, #36\n"
        "pop {r4-r11, pc}\n");
}

/* The window whose first corner is at row y, column x, is copied with its padding. */
AUTOMCU_ONCE void copy_window(const automcu_dsp_depthwise_parameters *p, const int8_t *from, int32_t y, int32_t x,
                              int8_t *window)
{
    const int32_t depth = p->depth, row_bytes = p->input_width * depth, run = p->kernel_width * depth;
    const int32_t first = x < 0 ? -x * depth : 0;
    const int32_t beyond = (x + p->kernel_width - p->input_width) * depth, last = beyond > 0 ? beyond : 0;
    memset(window, p->input_zero_point, (size_t)(p->kernel_height * run));
    for (int32_t row = 0; row < p->kernel_height; row++) {
        if ((uint32_t)(y + row) < (uint32_t)p->input_height && first + last < run) {
            memcpy(window + row * run + first, from + row * row_bytes + first, (size_t)(run - first - last));
        }
    }
}

/* Pixel by pixel. A window that reaches over an edge is copied first. */
void automcu_dsp_depthwise(const automcu_dsp_depthwise_parameters *parameters, const int8_t *input, int8_t *output,
                           int8_t *window)
{
    const automcu_dsp_depthwise_parameters copy = *parameters, *p = &copy;
    const int32_t depth = p->depth, row_bytes = p->input_width * depth;
    for (int32_t i = 0, y = -p->top; i < p->output_height; i++, y += p->stride_height) {
        for (int32_t j = 0, x = -p->left; j < p->output_width; j++, x += p->stride_width) {
            const int8_t *from = input + y * row_bytes + x * depth;
            int32_t step = row_bytes;
            if (y < 0 || y + p->kernel_height > p->input_height || x < 0 || x + p->kernel_width > p->input_width) {
                copy_window(p, from, y, x, window);
                from = window;
                step = p->kernel_width * depth;
            }
            one_pixel(p, from, step, output);
            output += depth;
        }
    }
}
