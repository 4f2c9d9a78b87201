#include "automcu_kernels.h"

#if defined(__ARM_ARCH_6M__)

/* Armv6-M (M0, M0+): each value is loaded once for two products, and the sums stay in r8 to r11, which compilers do
 * not manage: 15 instructions for four products. */
__attribute__((naked, noinline)) void automcu_dot(const int8_t *x0, const int8_t *x1, const int8_t *w0,
                                                  const int8_t *w1, const automcu_runs *runs, uint32_t sums[4])
{
    __asm__ volatile("push {r4-r7, lr}\n"
                     "mov r4, r8\n"
                     "mov r5, r9\n"
                     "mov r6, r10\n"
                     "mov r7, r11\n"
                     "push {r4-r7}\n"
                     "ldr r4, [sp, #36]\n" /* runs: copied to the stack, rows last to be counted down */
                     "ldm r4!, {r5-r7}\n"
                     "ldr r4, [r4]\n"
                     "push {r4-r7}\n" /* weight_gap, rows, run, input_gap */
                     "ldr r7, [sp, #56]\n"
                     "ldm r7!, {r4-r6}\n"
                     "mov r8, r4\n"
                     "mov r9, r5\n"
                     "mov r10, r6\n"
                     "ldr r4, [r7]\n"
                     "mov r11, r4\n"
                     "1: ldr r4, [sp, #8]\n" /* each run is indexed by -run to -1 from its end */
                     "adds r0, r0, r4\n"
                     "adds r1, r1, r4\n"
                     "adds r2, r2, r4\n"
                     "adds r3, r3, r4\n"
                     "rsbs r4, r4, #0\n"
                     "2: ldrsb r5, [r0, r4]\n"
                     "ldrsb r6, [r2, r4]\n"
                     "mov r7, r6\n"
                     "muls r7, r5, r7\n"
                     "add r8, r7\n"
                     "ldrsb r7, [r3, r4]\n"
                     "muls r5, r7, r5\n"
                     "add r9, r5\n"
                     "ldrsb r5, [r1, r4]\n"
                     "muls r6, r5, r6\n"
                     "add r10, r6\n"
                     "muls r7, r5, r7\n"
                     "add r11, r7\n"
                     "adds r4, r4, #1\n"
                     "bne 2b\n"
                     "ldr r4, [sp, #12]\n"
                     "adds r0, r0, r4\n"
                     "adds r1, r1, r4\n"
                     "ldr r4, [sp, #0]\n"
                     "adds r2, r2, r4\n"
                     "adds r3, r3, r4\n"
                     "ldr r4, [sp, #4]\n"
                     "subs r4, r4, #1\n"
                     "str r4, [sp, #4]\n"
                     "bne 1b\n"
                     "ldr r0, [sp, #56]\n"
                     "mov r4, r8\n"
                     "mov r5, r9\n"
                     "mov r6, r10\n"
                     "mov r7, r11\n"
                     "stm r0!, {r4-r7}\n"
                     "add sp, #16\n"
                     "pop {r4-r7}\n"
                     "mov r8, r4\n"
                     "mov r9, r5\n"
                     "mov r10, r6\n"
                     "mov r11, r7\n"
                     "pop {r4-r7, pc}\n");
}

#else

#if defined(__GNUC__)
#define KEEP(pointer) __asm__("" : "+r"(pointer)) /* in a register of its own */
#else
#define KEEP(pointer) (void)0
#endif

void automcu_dot(const int8_t *x0, const int8_t *x1, const int8_t *w0, const int8_t *w1, const automcu_runs *runs,
                 uint32_t sums[4])
{
    const automcu_runs r = *runs;
    uint32_t sum00 = sums[0], sum01 = sums[1], sum10 = sums[2], sum11 = sums[3];
    /* Unrolled, or with one index for all pointers, these loops need more registers than there are. */
#pragma GCC unroll 1
    for (int32_t row = 0; row < r.rows; row++) {
        const int8_t *end = x0 + r.run;
#pragma GCC unroll 1
        while (x0 != end) {
            const int32_t a = *x0++, b = *x1++, u = *w0++, v = *w1++;
            sum00 += (uint32_t)(a * u);
            sum01 += (uint32_t)(a * v);
            sum10 += (uint32_t)(b * u);
            sum11 += (uint32_t)(b * v);
            KEEP(x0);
            KEEP(x1);
            KEEP(w0);
            KEEP(w1);
        }
        x0 += r.input_gap;
        x1 += r.input_gap;
        w0 += r.weight_gap;
        w1 += r.weight_gap;
    }
    sums[0] = sum00;
    sums[1] = sum01;
    sums[2] = sum10;
    sums[3] = sum11;
}

#endif
