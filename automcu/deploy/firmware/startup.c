/* From reset to the protocol, and from a fault to its frame. No interrupt of a peripheral is ever enabled, so the
 * vector table ends with the core's own exceptions. Registers: Armv6-M, Armv7-M and Armv8-M Architecture Reference
 * Manuals. */
#include "board.h"
#include "counter.h"
#include "protocol.h"
#include "register.h"
#include "stack.h"
#include "uart.h"

#define VTOR REGISTER(0xE000ED08)
#define CFSR REGISTER(0xE000ED28)
#define MMFAR REGISTER(0xE000ED34)
#define BFAR REGISTER(0xE000ED38)
#define CPACR REGISTER(0xE000ED88)
#define CFSR_MMARVALID (1u << 7)
#define CFSR_BFARVALID (1u << 15)
#define CPACR_CP10_CP11_FULL (0xFu << 20)

/* From the linker script. */
extern uint32_t __data_start[], __data_end[], __data_load[], __bss_start[], __bss_end[];

__attribute__((noreturn, used)) void reset(void);
__attribute__((noreturn, used)) void fault_report(const uint32_t *frame, uint32_t stack_pointer);
void fault(void);

typedef void (*Vector)(void);

__attribute__((section(".vectors"), used)) static const Vector vectors[16] = {
    (Vector)__stack_top, reset, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault,
    fault,               fault, counter_wrapped,
};

#ifdef BOARD_CACHES
#define CCR REGISTER(0xE000ED14)
#define CCSIDR REGISTER(0xE000ED80)
#define CSSELR REGISTER(0xE000ED84)
#define ICIALLU REGISTER(0xE000EF50)
#define DCISW REGISTER(0xE000EF60)
#define CCR_DC (1u << 16)
#define CCR_IC (1u << 17)

/* Switches on the Cortex-M7's caches, as any application on it would: without them each access to Flash waits. Both
 * hold rubbish after reset and are cleared first; the data cache line by line, by set and way (lines of 32 bytes, 4
 * ways: Cortex-M7 Technical Reference Manual). */
static void caches_start(void)
{
    ICIALLU = 0;
    CSSELR = 0;
    __asm__ volatile("dsb" ::: "memory");
    for (uint32_t set = 0; set <= (CCSIDR >> 13 & 0x7FFF); set++) {
        for (uint32_t way = 0; way < 4; way++) {
            DCISW = way << 30 | set << 5;
        }
    }
    __asm__ volatile("dsb" ::: "memory");
    CCR |= CCR_IC | CCR_DC;
    __asm__ volatile("dsb\n isb" ::: "memory");
}
#endif

/* The writes of the board table. Each is read back, so that a clock which it enables runs before the next one. */
static void board_start(void)
{
    static const struct {
        uint32_t address, clear, set;
    } writes[] = {BOARD_SET_UP};
    for (uint32_t i = 0; i < sizeof writes / sizeof *writes; i++) {
        volatile uint32_t *target = &REGISTER(writes[i].address);
        *target = (*target & ~writes[i].clear) | writes[i].set;
        (void)*target;
    }
}

/* What the core runs first: the stack is as the vector table says, all else is still to do. */
void reset(void)
{
    stack_paint();
#ifdef BOARD_VTOR
    VTOR = (uint32_t)vectors;
#endif
#ifdef BOARD_FPU
    CPACR |= CPACR_CP10_CP11_FULL;
    __asm__ volatile("dsb\n isb" ::: "memory");
#endif
    const uint32_t *initial = __data_load;
    for (uint32_t *word = __data_start; word < __data_end; word++) {
        *word = *initial++;
    }
    for (uint32_t *word = __bss_start; word < __bss_end; word++) {
        *word = 0;
    }
#ifdef BOARD_CACHES
    caches_start();
#endif
    board_start();
    uart_start();
    protocol_run();
}

/* Every exception but SysTick's. Where the stack had overflowed, the core could not save its frame, or the report may
 * not find room (192 bytes): the stack is then begun anew, or the report would fault again. */
__attribute__((naked, used)) void fault(void)
{
    __asm__ volatile("mrs r0, msp\n"
                     "mov r1, r0\n"
                     "ldr r2, =__stack_start + 192\n"
                     "cmp r0, r2\n"
                     "blo 1f\n"
                     "ldr r2, =__stack_top - 32\n"
                     "cmp r0, r2\n"
                     "bls 2f\n"
                     "1: ldr r2, =__stack_top\n"
                     "msr msp, r2\n"
                     "movs r0, #0\n"
                     "2: bl fault_report\n"
                     ".ltorg\n");
}

/* `frame` is what the core saved: r0 to r3, r12, lr, pc, xPSR; none after a stack overflow, of which the report says
 * the stack pointer in place of the address. Armv6-M has no fault status. */
void fault_report(const uint32_t *frame, uint32_t stack_pointer)
{
    uint32_t exception, cfsr = 0, address = 0;
    __asm__ volatile("mrs %0, ipsr" : "=r"(exception));
#if __ARM_ARCH >= 7
    cfsr = CFSR;
    if (cfsr & CFSR_BFARVALID) {
        address = BFAR;
    } else if (cfsr & CFSR_MMARVALID) {
        address = MMFAR;
    }
#endif
    if (frame) {
        protocol_fault(exception, frame[6], frame[5], cfsr, address);
    }
    protocol_fault(exception, 0, 0, cfsr, stack_pointer);
}

/* Nothing wakes the core for good: exceptions are masked. The UART still sends what it holds. */
void core_stop(void)
{
    __asm__ volatile("cpsid i" ::: "memory");
    for (;;) {
        __asm__ volatile("wfi");
    }
}
