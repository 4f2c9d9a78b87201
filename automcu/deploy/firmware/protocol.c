/* A frame both ways: 0xA5, type (one ASCII byte), length (u32), payload, CRC-32 (u32) of type, length and payload, as
 * zlib's. Numbers are little-endian.
 *
 *   I -> i: version u8, counter u8, 0 u16, bytes of inputs, outputs, arena and stack u32, clock in Hz u32, SHA-256 of
 *           the network's file
 *   X, all inputs -> x: ticks u64, all outputs
 *   S -> s: deepest stack since start, stack, .data + .bss, in bytes u32
 *   Q -> q, and the board stops
 *
 * At start the board sends r. It answers e with a code to a frame that it cannot take: after a bad CRC it has read the
 * frame; after a wrong length or an unknown type it has read no payload, and looks for the next 0xA5. */
#include "protocol.h"

#include "board.h"
#include "counter.h"
#include "network.h"
#include "stack.h"
#include "uart.h"

#define SYNC 0xA5
#define VERSION 1
#define ERROR_CRC 1
#define ERROR_LENGTH 2
#define ERROR_TYPE 3
#define SHA256_BYTES 32

/* What every byte passes through: one copy each, as code is dearer than the calls (a byte takes 87 us on the line). */
#define SHARED static __attribute__((noinline))

static uint32_t crc; /* of the frame under way, either way: never both at a time */

/* Adds a byte to the CRC: half a byte at a time, for a table of 64 bytes, of the reversed polynomial 0xEDB88320. */
SHARED void crc_add(uint8_t byte)
{
    static const uint32_t table[16] = {
        0x00000000, 0x1DB71064, 0x3B6E20C8, 0x26D930AC, 0x76DC4190, 0x6B6B51F4, 0x4DB26158, 0x5005713C,
        0xEDB88320, 0xF00F9344, 0xD6D6A3E8, 0xCB61B38C, 0x9B64C2B0, 0x86D3D2D4, 0xA00AE278, 0xBDBDF21C,
    };
    crc ^= byte;
    crc = (crc >> 4) ^ table[crc & 15];
    crc = (crc >> 4) ^ table[crc & 15];
}

SHARED uint8_t receive(void)
{
    uint8_t byte = uart_read();
    crc_add(byte);
    return byte;
}

SHARED uint32_t receive_u32(void)
{
    uint32_t value = 0;
    for (int shift = 0; shift < 32; shift += 8) {
        value |= (uint32_t)receive() << shift;
    }
    return value;
}

/* Reads the CRC that ends a frame; whether it is that of the frame. */
static int receive_end(void)
{
    uint32_t expected = ~crc;
    return receive_u32() == expected;
}

SHARED void send(uint8_t byte)
{
    crc_add(byte);
    uart_write(byte);
}

SHARED void send_u32(uint32_t value)
{
    for (int shift = 0; shift < 32; shift += 8) {
        send((uint8_t)(value >> shift));
    }
}

SHARED void send_bytes(const void *bytes, uint32_t count)
{
    const uint8_t *next = bytes;
    while (count--) {
        send(*next++);
    }
}

SHARED void send_start(uint8_t type, uint32_t length)
{
    uart_write(SYNC);
    crc = 0xFFFFFFFF;
    send(type);
    send_u32(length);
}

static void send_end(void)
{
    send_u32(~crc);
}

static void send_empty(uint8_t type)
{
    send_start(type, 0);
    send_end();
}

static void send_error(uint8_t code)
{
    send_start('e', 1);
    send(code);
    send_end();
}

static void identify(enum counter counter)
{
    send_start('i', 4 + 5 * 4 + SHA256_BYTES);
    send(VERSION);
    send((uint8_t)counter);
    send(0);
    send(0);
    send_u32(NETWORK_INPUT_BYTES);
    send_u32(NETWORK_OUTPUT_BYTES);
    send_u32(NETWORK_ARENA_BYTES);
    send_u32(stack_bytes());
    send_u32(BOARD_CLOCK_HZ);
    send_bytes(network_sha256, SHA256_BYTES);
    send_end();
}

/* The inputs go straight to where the network reads them, so that no buffer is needed beside the arena. */
static void receive_inputs(void)
{
    for (uint32_t i = 0; i < NETWORK_INPUTS; i++) {
        uint8_t *next = network_input(i);
        for (uint32_t left = network_input_bytes(i); left; left--) {
            *next++ = receive();
        }
    }
}

static void infer(void)
{
    uint64_t ticks = counter_cycles();
    network_run();
    ticks = counter_cycles() - ticks;
    send_start('x', 8 + NETWORK_OUTPUT_BYTES);
    send_u32((uint32_t)ticks);
    send_u32((uint32_t)(ticks >> 32));
    for (uint32_t i = 0; i < NETWORK_OUTPUTS; i++) {
        send_bytes(network_output(i), network_output_bytes(i));
    }
    send_end();
}

static void statistics(void)
{
    send_start('s', 3 * 4);
    send_u32(stack_peak_bytes());
    send_u32(stack_bytes());
    send_u32(static_ram_bytes());
    send_end();
}

void protocol_run(void)
{
    enum counter counter = counter_start();
    send_empty('r');
    for (;;) {
        while (uart_read() != SYNC) {
        }
        crc = 0xFFFFFFFF;
        uint8_t type = receive();
        uint32_t length = receive_u32();
        if (type != 'I' && type != 'X' && type != 'S' && type != 'Q') {
            send_error(ERROR_TYPE);
            continue;
        }
        if (length != (type == 'X' ? NETWORK_INPUT_BYTES : 0)) {
            send_error(ERROR_LENGTH);
            continue;
        }
        if (type == 'X') {
            receive_inputs();
        }
        if (!receive_end()) {
            send_error(ERROR_CRC);
        } else if (type == 'I') {
            identify(counter);
        } else if (type == 'X') {
            infer();
        } else if (type == 'S') {
            statistics();
        } else {
            send_empty('q');
            core_stop();
        }
    }
}

void protocol_fault(uint32_t exception, uint32_t pc, uint32_t lr, uint32_t cfsr, uint32_t address)
{
    send_start('f', 5 * 4);
    send_u32(exception);
    send_u32(pc);
    send_u32(lr);
    send_u32(cfsr);
    send_u32(address);
    send_end();
    core_stop();
}
