/* Counts clock cycles of the core, in 64 bits. */
#ifndef COUNTER_H
#define COUNTER_H

#include <stdint.h>

/* What counts, as in the protocol. None where neither moves, as in an emulator without a clock. */
enum counter { COUNTER_NONE = 0, COUNTER_DWT = 1, COUNTER_SYSTICK = 2 };

/* Starts the counters; returns the best one that moves. */
enum counter counter_start(void);

/* Cycles since the start, by the counter that counter_start returned; 0 for COUNTER_NONE. */
uint64_t counter_cycles(void);

/* The exception of SysTick, every 2^24 cycles. */
void counter_wrapped(void);

#endif
