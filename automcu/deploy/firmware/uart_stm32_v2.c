/* The USART, UART and LPUART of the newer STM32 series (F0, F3, F7, G0, G4, H5, H7, L0, L4, U5, WB): status in ISR,
 * data in RDR and TDR. Where there is a FIFO, it is off after reset and stays so: the flags then mean what they mean
 * without. */
#include "board.h"
#include "register.h"
#include "uart.h"

#define CR1 REGISTER(UART_ADDRESS + 0x00)
#define CR3 REGISTER(UART_ADDRESS + 0x08)
#define BRR REGISTER(UART_ADDRESS + 0x0C)
#define ISR REGISTER(UART_ADDRESS + 0x1C)
#define RDR REGISTER(UART_ADDRESS + 0x24)
#define TDR REGISTER(UART_ADDRESS + 0x28)

#define CR1_UE (1u << 0)
#define CR1_RE (1u << 2)
#define CR1_TE (1u << 3)
#define CR3_OVRDIS (1u << 12)
#define ISR_RXNE (1u << 5)
#define ISR_TXE (1u << 7)

/* With OVRDIS a byte that comes too early overwrites the one before, instead of an error that stops reception: the
 * frame's CRC tells. */
void uart_start(void)
{
    CR1 = 0; /* a boot loader may have left it on */
    CR3 = CR3_OVRDIS;
    BRR = UART_BAUD_DIVISOR;
    CR1 = CR1_UE | CR1_TE | CR1_RE;
}

uint8_t uart_read(void)
{
    while (!(ISR & ISR_RXNE)) {
    }
    return (uint8_t)RDR;
}

void uart_write(uint8_t byte)
{
    while (!(ISR & ISR_TXE)) {
    }
    TDR = byte;
}
