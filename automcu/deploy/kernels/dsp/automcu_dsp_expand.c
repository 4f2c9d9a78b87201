#include "automcu_dsp.h"

/* All whole words of all rows of four windows: one word of each at a time, 16 activations.
 * r8-r11 the windows, r3-r6 their words, r1, r7, r12, lr pairs. Stack: 0 words in a row, 4 rows left, 8 windows. */
__attribute__((naked)) static automcu_pair *expand_words(automcu_pair *to, const automcu_dsp_windows *windows,
                                                         int32_t words, int32_t rows)
{
    __asm__ volatile(
        "push {r4-r11, lr}\n"
        "sub sp, #12\n"
        "strd r2, r3, [sp]\n"
        "str r1, [sp, #8]\n"
        "ldm r1, {r8, r9, r10, r11}\n"
        ".p2align 2\n"
        "1:\n"
        "ldr r3, [r8], #4\n"
        "ldr r4, [r9], #4\n"
        "ldr r5, [r10], #4\n"
        "ldr r6, [r11], #4\n"
        "sxtb16 r1, r3\n"
        "sxtb16 r7, r4\n"
        "sxtb16 r12, r5\n"
        "sxtb16 lr, r6\n"
        "stm r0!, {r1, r7, r12, lr}\n"
        "sxtb16 r3, r3, ror #8\n"
        "sxtb16 r4, r4, ror #8\n"
        "sxtb16 r5, r5, ror #8\n"
        "sxtb16 r6, r6, ror #8\n"
        "stm r0!, {r3, r4, r5, r6}\n"
        "subs r2, #1\n"
        "bne 1b\n"
        "ldrd r2, r7, [sp]\n"
        "subs r7, #1\n"
        "beq 2f\n"
        "str r7, [sp, #4]\n"
        "ldr r1, [sp, #8]\n"
        "ldrd r3, r4, [r1, #16]\n"
        "ldrd r5, r6, [r1, #24]\n"
        "add r8, r8, r3\n"
        "add r9, r9, r4\n"
        "add r10, r10, r5\n"
        "add r11, r11, r6\n"
        "b 1b\n"
        "2:\n"
        "add sp, #12\n"
        "pop {r4-r11, pc}\n");
}

/* What the whole words of each row leave: neighbours, then single ones of two rows; `to` has `count` windows' pairs side
 * by side. A last single one goes to `single`. */
AUTOMCU_ONCE void expand_rest(automcu_pair *to, automcu_pair *single, const int8_t *from, int32_t row_bytes, int32_t run,
                        int32_t rows, int32_t count)
{
    from += run & ~3;
    if (run & 2) {
        const int8_t *two = from;
        AUTOMCU_NO_UNROLL
        for (int32_t row = rows; row > 0; row--, two += row_bytes, to += count) {
            *to = (uint16_t)two[0] | (uint32_t)two[1] << 16;
        }
        from += 2;
    }
    if (run & 1) {
        AUTOMCU_NO_UNROLL
        for (int32_t row = rows; row > 1; row -= 2, from += 2 * row_bytes, to += count) {
            *to = (uint16_t)from[0] | (uint32_t)from[row_bytes] << 16;
        }
        if (rows & 1) {
            *single = (uint32_t)*from << 16;
        }
    }
}

void automcu_dsp_expand4(automcu_pair *to, const automcu_dsp_windows *windows, int32_t run, int32_t rows)
{
    automcu_pair *single = to;
    if (run & rows & 1) {
        to += 4;
    }
    if (run > 3) {
        to = expand_words(to, windows, run >> 2, rows);
    }
    if (run & 3) {
        AUTOMCU_NO_UNROLL
        for (int32_t i = 0; i < 4; i++) {
            expand_rest(to + i, single + i, windows->from[i], windows->gap[i] + (run & ~3), run, rows, 4);
        }
    }
}

void automcu_dsp_expand1(automcu_pair *to, const int8_t *from, int32_t row_bytes, int32_t run, int32_t rows)
{
    automcu_pair *single = to;
    if (run & rows & 1) {
        to++;
    }
    const int8_t *row = from;
    for (int32_t i = rows; i > 0; i--, row += row_bytes) {
        const int8_t *end = row + (run & ~3);
        AUTOMCU_NO_UNROLL
        for (const int8_t *word = row; word < end; word += 4, to += 2) {
            const uint32_t four = *(const automcu_word *)word;
            to[0] = automcu_dsp_even(four);
            to[1] = automcu_dsp_odd(four);
        }
    }
    if (run & 3) {
        expand_rest(to, single, from, row_bytes, run, rows, 1);
    }
}
