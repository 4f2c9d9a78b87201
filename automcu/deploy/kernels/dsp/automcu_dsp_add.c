#include "automcu_dsp.h"

/* `equal`: the other operand has the whole one's scale. Sums are in units of the larger operand's scale / 2^19. */
static inline __attribute__((always_inline)) void add(const automcu_dsp_add_parameters *parameters,
                                                      const int8_t *larger, const int8_t *smaller, int8_t *output,
                                                      int equal)
{
    const automcu_dsp_add_parameters p = *parameters;
    const int32_t addend = equal ? 0 : 1 << (p.shift - 1);
    const int32_t output_addend = (int32_t)((uint32_t)p.rounding << p.output_shift);
    const int8_t *end = larger + p.count;
#pragma clang loop unroll_count(2)
    while (larger < end) {
        int32_t sum;
        if (equal) {
            sum = (int32_t)((uint32_t)(*larger++ + *smaller++) << 19);
        } else {
            const int32_t other = (int32_t)((uint32_t)*smaller++ << 21) + p.smaller_offset;
            sum = (automcu_dsp_multiply_high(other, p.multiplier, addend) + (other >> 31)) >> p.shift;
            sum += (int32_t)((uint32_t)*larger++ << 19);
        }
        const int32_t doubled = p.offset + (int32_t)((uint32_t)sum << 1);
        const int32_t high = automcu_dsp_multiply_high(doubled, p.output_multiplier, output_addend) + (doubled >> 31);
        *output++ = (int8_t)__ssat(high >> p.output_shift >> 1, 8);
    }
}

void automcu_dsp_add(const automcu_dsp_add_parameters *parameters, const int8_t *larger, const int8_t *smaller,
                     int8_t *output)
{
    if (parameters->shift == 0) {
        add(parameters, larger, smaller, output, 1);
    } else {
        add(parameters, larger, smaller, output, 0);
    }
}
