#include "automcu_dsp.h"

/* One pair of each of 4 rows with one word of weights: 16 multiplications. `mac` and `comma` make it start a sum
 * (SMUAD) or add to it (SMLAD).
 * r0 weights, r1 columns, r2 word, r3 its lower bytes, r4 and r5 pairs; sums of the first channel in r6-r9, those with
 * 256 times the second channel in r10, r11, r12, lr. */
#define STEP(mac, r6, r7, r8, r9, r10, r11, r12, lr)                                                                   \
    "ldr r2, [r0], #4\n"                                                                                               \
    "ldrd r4, r5, [r1], #16\n"                                                                                         \
    "sxtb16 r3, r2\n" mac " r6, r4, r3" r6 "\n" mac " r10, r4, r2" r10 "\n" mac " r7, r5, r3" r7 "\n" mac              \
    " r11, r5, r2" r11 "\n"                                                                                            \
    "ldrd r4, r5, [r1, #-8]\n" mac " r8, r4, r3" r8 "\n" mac " r12, r4, r2" r12 "\n" mac " r9, r5, r3" r9 "\n" mac     \
    " lr, r5, r2" lr "\n"
#define FIRST STEP("smuad", "", "", "", "", "", "", "", "")
#define NEXT STEP("smlad", ", r6", ", r7", ", r8", ", r9", ", r10", ", r11", ", r12", ", lr")
#define NEXT_BYTES "48"

/* The numbers of the next channel: twice its bias in r1, multiplier in r2, shift in r3, what to add in r4. */
#define CHANNEL                                                                                                        \
    "ldm r0!, {r1, r2, r3}\n"                                                                                          \
    "ldr r5, [sp, #36]\n"                                                                                              \
    "lsl r4, r5, r3\n"
/* `to` = the output for the doubled accumulator `x`; see automcu_dsp.h. */
#define OUTPUT(to, x)                                                                                                  \
    "smmlar r5, " x ", r2, r4\n"                                                                                       \
    "add r5, r5, " x ", asr #31\n"                                                                                     \
    "asr r5, r5, r3\n"                                                                                                 \
    "ssat " to ", #8, r5, asr #1\n"
#define EVEN(x) "add " x ", r1, " x ", lsl #1\n" OUTPUT(x, x)
#define ODD(even, x) "add " x ", r1, " x ", asr #7\n" OUTPUT("r5", x) "bfi " even ", r5, #8, #8\n"

/* All whole pairs of channels, at least one.
 * Stack: 0 weights; 4 columns; 8 output; 12 units; 16 end of output; 20 how far the weights are to go back before the
 * next two channels (2 for an odd depth, whose first word has 2 bytes too many); 24 end of the columns; 28 where in the
 * loop to start; 32 channels; 36 rounding. */
__attribute__((naked)) static void multiply_pairs(const automcu_dsp_matrix *matrix, const automcu_pair *columns,
                                                  int8_t *output)
{
    __asm__ volatile(
        "push {r4-r11, lr}\n"
        "sub sp, #44\n"
        "ldrd r3, r4, [r0]\n"      /* depth, units */
        "ldr r5, [r0, #8]\n"       /* rounding */
        "ldrd r6, r7, [r0, #16]\n" /* weights, channels */
        "strd r7, r5, [sp, #32]\n"
        "strd r1, r2, [sp, #4]\n"
        "bic r5, r4, #1\n"
        "add r5, r2, r5\n"
        "strd r4, r5, [sp, #12]\n"
        "and r5, r3, #1\n"
        "lsl r5, r5, #1\n"
        "str r5, [sp, #20]\n"
        "sub r0, r6, r5\n"
        "adds r3, #1\n"
        "lsrs r3, r3, #1\n" /* pairs */
        "add r4, r1, r3, lsl #4\n"
        "subs r3, #1\n"
        "adr.w r5, 3f\n"
        "beq 1f\n"
        "rsb r3, r3, #0\n"
        "and r3, r3, #7\n" /* steps of the unrolled loop to leave out at first */
        "mov r6, #" NEXT_BYTES "\n"
        "adr.w r5, 2f\n"
        "mla r5, r3, r6, r5\n"
        "1:\n"
        "orr r5, r5, #1\n"
        "strd r4, r5, [sp, #24]\n"
        "4:\n" FIRST "ldr pc, [sp, #28]\n"
        ".p2align 2\n"
        "2:\n" NEXT NEXT NEXT NEXT NEXT NEXT NEXT NEXT
        "ldr r2, [sp, #24]\n"
        "cmp r1, r2\n"
        "bne.w 2b\n"
        ".p2align 2\n"
        "3:\n"
        "str r0, [sp]\n"
        "ldr r0, [sp, #32]\n" CHANNEL
        "sub r10, r10, r6\n"
        "sub r11, r11, r7\n"
        "sub r12, r12, r8\n"
        "sub lr, lr, r9\n" EVEN("r6") EVEN("r7") EVEN("r8") EVEN("r9") CHANNEL
        "str r0, [sp, #32]\n" ODD("r6", "r10") ODD("r7", "r11") ODD("r8", "r12") ODD("r9", "lr")
        "ldm sp, {r0, r1, r2, r3, r4, r5}\n"
        "sub r0, r0, r5\n"
        "add r5, r2, r3\n"
        "strh r6, [r2]\n"
        "strh r7, [r2, r3]\n"
        "strh r8, [r2, r3, lsl #1]\n"
        "strh r9, [r5, r3, lsl #1]\n"
        "adds r2, #2\n"
        "str r2, [sp, #8]\n"
        "cmp r2, r4\n"
        "bne.w 4b\n"
        "add sp, #44\n"
        "pop {r4-r11, pc}\n");
}

void automcu_dsp_multiply4(const automcu_dsp_matrix *matrix, const automcu_pair *columns, int8_t *output)
{
    const int32_t units = matrix->units, depth = matrix->depth, rounding = matrix->rounding;
    if (units > 1) {
        multiply_pairs(matrix, columns, output);
    }
    if (units & 1) {
        const int8_t *weights = matrix->weights + (units - 1) * depth;
        const int32_t *channel = matrix->channels + 3 * (units - 1);
        int32_t sums[4] = {0, 0, 0, 0};
        weights -= depth & 1;
        AUTOMCU_NO_UNROLL
        for (int32_t pair = 0; pair < depth; pair += 2, columns += 4, weights += 2) {
            const int32_t two = (uint16_t)weights[0] | (int32_t)weights[1] << 16;
            for (int32_t row = 0; row < 4; row++) {
                sums[row] = __smlad((int32_t)columns[row], two, sums[row]);
            }
        }
        output += units - 1;
        AUTOMCU_NO_UNROLL
        for (int32_t row = 0; row < 4; row++, output += units) {
            *output = (int8_t)automcu_dsp_output(channel[0] + 2 * sums[row], channel[1], channel[2], rounding);
        }
    }
}
