/* The stack's reserve and how much of it was used, and the static RAM beside it: all in bytes. */
#ifndef STACK_H
#define STACK_H

#include <stdint.h>

/* The whole reserve. */
uint32_t stack_bytes(void);

/* The deepest that the stack has been since start: from the top down to the last word without the pattern. */
uint32_t stack_peak_bytes(void);

/* .data and .bss; neither the arena nor the stack. */
uint32_t static_ram_bytes(void);

#define STACK_PATTERN 0x5AA5C33Cu

/* From the linker script. */
extern uint32_t __stack_start[], __stack_top[];

/* Fills the unused stack, below the caller's frame, with the pattern: the first thing after a reset, and inline. The
 * barrier keeps the compiler from calling memset, whose frame would lie in what it fills. */
static inline __attribute__((always_inline)) void stack_paint(void)
{
    uint32_t *end;
    __asm__ volatile("mov %0, sp" : "=r"(end));
    for (uint32_t *word = __stack_start; word < end; word++) {
        *word = STACK_PATTERN;
        __asm__ volatile("" ::: "memory");
    }
}

#endif
