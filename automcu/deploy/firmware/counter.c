/* Two counters of the same clock: SysTick (24 bits, every Cortex-M; its exception extends it) and CYCCNT of the DWT
 * unit (32 bits, from the Cortex-M3 on; no exception disturbs what it counts within 2^24 cycles). Registers: Armv6-M,
 * Armv7-M and Armv8-M Architecture Reference Manuals. */
#include "counter.h"
#include "register.h"

#define SYST_CSR REGISTER(0xE000E010)
#define SYST_RVR REGISTER(0xE000E014)
#define SYST_CVR REGISTER(0xE000E018)
#define ICSR REGISTER(0xE000ED04)
#define SYST_CSR_ENABLE (1u << 0)
#define SYST_CSR_TICKINT (1u << 1)
#define SYST_CSR_CLKSOURCE_CORE (1u << 2)
#define SYST_BITS 24
#define SYST_MASK ((1u << SYST_BITS) - 1)
#define ICSR_PENDSTSET (1u << 26)

#if __ARM_ARCH >= 7
#define DWT_CTRL REGISTER(0xE0001000)
#define DWT_CYCCNT REGISTER(0xE0001004)
#define DWT_LAR REGISTER(0xE0001FB0)
#define DEMCR REGISTER(0xE000EDFC)
#define DWT_CTRL_CYCCNTENA (1u << 0)
#define DWT_LAR_KEY 0xC5ACCE55u
#define DEMCR_TRCENA (1u << 24)
#endif

static enum counter counter;
static volatile uint32_t wraps;

void counter_wrapped(void)
{
    wraps++;
}

/* SysTick counts down through 0, where its exception comes: its negative is the place in the period. */
static uint64_t systick_cycles(void)
{
    __asm__ volatile("cpsid i" ::: "memory");
    uint32_t high = wraps;
    uint32_t low = SYST_CVR;
    if (ICSR & ICSR_PENDSTSET) {
        high++;
        low = SYST_CVR;
    }
    __asm__ volatile("cpsie i" ::: "memory");
    return ((uint64_t)high << SYST_BITS) + (-low & SYST_MASK);
}

/* CYCCNT is extended by SysTick: of the numbers that end in its 32 bits, that nearest to SysTick's count is right. */
uint64_t counter_cycles(void)
{
    if (counter == COUNTER_NONE) {
        return 0;
    }
#if __ARM_ARCH >= 7
    if (counter == COUNTER_DWT) {
        uint32_t low = DWT_CYCCNT;
        uint64_t near = systick_cycles();
        return near + (uint64_t)(int64_t)(int32_t)(low - (uint32_t)near);
    }
#endif
    return systick_cycles();
}

/* A register that changes within some cycles. */
static int moves(volatile uint32_t *count)
{
    uint32_t before = *count;
    for (int i = 0; i < 8; i++) {
        __asm__ volatile("nop");
    }
    return *count != before;
}

enum counter counter_start(void)
{
    SYST_RVR = SYST_MASK;
    SYST_CVR = 0;
#if __ARM_ARCH >= 7
    DEMCR |= DEMCR_TRCENA;
    DWT_LAR = DWT_LAR_KEY; /* the Cortex-M7 locks the unit; the others ignore the write */
    DWT_CYCCNT = 0;
    DWT_CTRL |= DWT_CTRL_CYCCNTENA;
#endif
    SYST_CSR = SYST_CSR_ENABLE | SYST_CSR_TICKINT | SYST_CSR_CLKSOURCE_CORE;
    counter = moves(&SYST_CVR) ? COUNTER_SYSTICK : COUNTER_NONE;
#if __ARM_ARCH >= 7
    if (moves(&DWT_CYCCNT)) {
        counter = COUNTER_DWT;
    }
#endif
    return counter;
}
