#include "automcu_kernels.h"

/* Fixed-point functions as in gemmlowp's fixedpoint.h; with k integer bits, raw r stands for r / 2^(31 - k), and
 * integer bits add up in products. */

/* exp(x) for x < 0 with 5 integer bits, as a value with none. */
static int32_t exponential(int32_t x)
{
    /* exp(-2^n) for n from -2 on. */
    static const int32_t powers[7] = {1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242};
    const int32_t quarter = 1 << 24, center = 1895147668, third = 715827883;
    if (x == 0) {
        return INT32_MAX;
    }
    const int32_t low = (x & (quarter - 1)) - quarter;
    /* A Taylor series around -1/8 for what is left of quarters. */
    const int32_t a = low * 32 + (1 << 28), a2 = automcu_product(a, a);
    const int32_t a3 = automcu_product(a2, a), a4 = automcu_product(a2, a2);
    const int32_t quartic = automcu_divide(a4, 2);
    const int32_t series = automcu_product(quartic + a3, third) + a2;
    int32_t result = center + automcu_product(center, a + automcu_divide(series, 1));
    const int32_t rest = low - x;
#pragma GCC unroll 1
    for (int32_t n = 0; n < 7; n++) {
        if (rest & (quarter << n)) {
            result = automcu_product(result, powers[n]);
        }
    }
    return result;
}

/* 1 / (1 + x) for x in 0..1, both without integer bits. */
static int32_t reciprocal(int32_t x)
{
    const int32_t half = (int32_t)(((uint32_t)x + (UINT32_C(1) << 31)) >> 1);
    int32_t y = 1515870810 + automcu_product(half, -1010580540); /* 48/17 - 32/17 * half, with 2 integer bits */
#pragma GCC unroll 1
    for (int32_t i = 0; i < 3; i++) {
        y += automcu_product(y, (1 << 29) - automcu_product(half, y)) * 4;
    }
    return y >= 1 << 30 ? INT32_MAX : y * 2;
}

void automcu_softmax(const automcu_softmax_parameters *parameters, const int8_t *restrict input,
                     int8_t *restrict output)
{
    const automcu_softmax_parameters p = *parameters;
    for (int32_t row = 0; row < p.rows; row++, input += p.depth, output += p.depth) {
        int32_t largest = -128;
#pragma GCC unroll 1
        for (int32_t i = 0; i < p.depth; i++) {
            largest = input[i] > largest ? input[i] : largest;
        }
        uint32_t sum = 0; /* with 13 integer bits: of at most 8,191 classes */
#pragma GCC unroll 1
        for (int32_t i = 0; i < p.depth; i++) {
            const int32_t x = input[i] - largest;
            if (x >= p.lowest) {
                const int32_t e = exponential(automcu_requantize(x, p.multiplier, p.shift));
                sum += (uint32_t)automcu_divide(e, 12);
            }
        }
        int32_t zeros = 0; /* leading zeros of the sum, which is at least 1 */
        while (!(sum << zeros >> 31)) {
            zeros++;
        }
        const int32_t shift = 12 - zeros + 31 - 8; /* 32 and more where 512 and more are the largest: all of them are 0 */
        const int32_t scale = reciprocal((int32_t)((sum << zeros) - (UINT32_C(1) << 31)));
#pragma GCC unroll 1
        for (int32_t i = 0; i < p.depth; i++) {
            const int32_t x = input[i] - largest;
            int32_t value = 0;
            if (x >= p.lowest && shift < 32) {
                const int32_t e = exponential(automcu_requantize(x, p.multiplier, p.shift));
                value = automcu_divide(automcu_product(scale, e), shift);
            }
            output[i] = (int8_t)automcu_clamp(value - 128, -128, 127);
        }
    }
}
