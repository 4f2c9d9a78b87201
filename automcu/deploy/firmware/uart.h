/* The serial port to the host: 8 data bits, no parity, one stop bit, polled. A uart_stm32_*.c implements it. */
#ifndef UART_H
#define UART_H

#include <stdint.h>

/* Sets the port up, after its clock and pins: see board_start. */
void uart_start(void);

/* The next byte from the host; waits for it without end. */
uint8_t uart_read(void);

/* Sends one byte; waits until there is room for it. */
void uart_write(uint8_t byte);

#endif
