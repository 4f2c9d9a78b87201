/* The USART of the older STM32 series (F1, F2, F4, L1): status in SR, data both ways in DR. */
#include "board.h"
#include "register.h"
#include "uart.h"

#define SR REGISTER(UART_ADDRESS + 0x00)
#define DR REGISTER(UART_ADDRESS + 0x04)
#define BRR REGISTER(UART_ADDRESS + 0x08)
#define CR1 REGISTER(UART_ADDRESS + 0x0C)

#define SR_RXNE (1u << 5)
#define SR_TXE (1u << 7)
#define CR1_RE (1u << 2)
#define CR1_TE (1u << 3)
#define CR1_UE (1u << 13)

void uart_start(void)
{
    BRR = UART_BAUD_DIVISOR;
    CR1 = CR1_UE | CR1_TE | CR1_RE;
}

/* Reading SR and then DR, as here, also clears an overrun. */
uint8_t uart_read(void)
{
    while (!(SR & SR_RXNE)) {
    }
    return (uint8_t)DR;
}

void uart_write(uint8_t byte)
{
    while (!(SR & SR_TXE)) {
    }
    DR = byte;
}
