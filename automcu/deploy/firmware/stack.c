/* Reads what stack_paint left. */
#include "stack.h"

extern char __data_start[], __data_end[], __bss_start[], __bss_end[];

uint32_t stack_bytes(void)
{
    return (uint32_t)((char *)__stack_top - (char *)__stack_start);
}

uint32_t stack_peak_bytes(void)
{
    const volatile uint32_t *word = __stack_start;
    while (word < __stack_top && *word == STACK_PATTERN) {
        word++;
    }
    return (uint32_t)((char *)__stack_top - (char *)word);
}

uint32_t static_ram_bytes(void)
{
    return (uint32_t)(__data_end - __data_start) + (uint32_t)(__bss_end - __bss_start);
}
