/* The device's side of the protocol with the host: frames over the UART. */
#ifndef PROTOCOL_H
#define PROTOCOL_H

#include <stdint.h>

/* Says that the board is ready, then answers requests until the host asks to stop; then stops for good. */
__attribute__((noreturn)) void protocol_run(void);

/* Sends the frame of a fault and stops for good: the exception's number, where it happened and from where, the fault
 * status register and the address that was reached for, the last two 0 where they are not known. */
__attribute__((noreturn)) void protocol_fault(uint32_t exception, uint32_t pc, uint32_t lr, uint32_t cfsr,
                                              uint32_t address);

/* What the protocol does after its last frame. Not the protocol's own, as a host has another end than a core. */
__attribute__((noreturn)) void core_stop(void);

#endif
