#include "automcu_dsp.h"

/* Four at a time: SSUB8 leaves in the GE flags, by which SEL chooses, which bytes are no smaller. */
void automcu_dsp_clamp(int8_t *output, int32_t count, int32_t minimum, int32_t maximum)
{
    const uint32_t low = (uint8_t)minimum * 0x01010101u, high = (uint8_t)maximum * 0x01010101u;
    for (; count >= 4; count -= 4, output += 4) {
        uint32_t four = *(automcu_word *)output;
        (void)__ssub8(four, low);
        four = __sel(four, low);
        (void)__ssub8(four, high);
        *(automcu_word *)output = __sel(high, four);
    }
    for (; count > 0; count--, output++) {
        *output = (int8_t)(*output < minimum ? minimum : *output > maximum ? maximum : *output);
    }
}
