/* A program of the host in place of a board: the protocol over stdin and stdout. It implements what the firmware has of
 * the core: the serial port, the counter (of nanoseconds), and a stack that is painted and measured. */
#define _POSIX_C_SOURCE 200809L
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "counter.h"
#include "protocol.h"
#include "stack.h"
#include "uart.h"

#define BUFFER_BYTES 65536
#define STACK_WORDS (1 << 18)

static uint8_t input[BUFFER_BYTES], output[BUFFER_BYTES];
static size_t input_next, input_end, output_end;

static uint32_t stack[STACK_WORDS] __attribute__((aligned(4096)));
static const char *stack_top; /* where the firmware begins; above lies what the host keeps of a thread */

/* Sends what uart_write has gathered; the end of the program when nobody takes it. */
static void flush(void)
{
    for (size_t sent = 0; sent < output_end;) {
        ssize_t taken = write(STDOUT_FILENO, output + sent, output_end - sent);
        if (taken <= 0) {
            exit(1);
        }
        sent += (size_t)taken;
    }
    output_end = 0;
}

void uart_start(void)
{
}

/* Before it waits, all that was written goes out. The end of the input is that of the program. */
uint8_t uart_read(void)
{
    if (input_next == input_end) {
        flush();
        ssize_t count = read(STDIN_FILENO, input, BUFFER_BYTES);
        if (count <= 0) {
            exit(0);
        }
        input_next = 0;
        input_end = (size_t)count;
    }
    return input[input_next++];
}

void uart_write(uint8_t byte)
{
    if (output_end == BUFFER_BYTES) {
        flush();
    }
    output[output_end++] = byte;
}

/* Nothing of a core counts. */
enum counter counter_start(void)
{
    return COUNTER_NONE;
}

/* Nanoseconds of the host's clock. */
uint64_t counter_cycles(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void counter_wrapped(void)
{
}

uint32_t stack_bytes(void)
{
    return (uint32_t)(stack_top - (const char *)stack);
}

uint32_t stack_peak_bytes(void)
{
    const volatile uint32_t *word = stack;
    while (*word == STACK_PATTERN) {
        word++;
    }
    return (uint32_t)(stack_top - (const char *)word);
}

/* The host's libraries have their own: not measured. */
uint32_t static_ram_bytes(void)
{
    return 0;
}

/* The end of the program, after the last bytes have gone out. */
void core_stop(void)
{
    flush();
    exit(0);
}

static void *firmware(void *unused)
{
    (void)unused;
    stack_top = __builtin_frame_address(0);
    protocol_run();
}

/* The firmware has a thread of its own, on the painted stack. This one waits for the end of who started the program: so
 * that a network which never returns does not outlive it. */
int main(void)
{
    struct pollfd line = {STDIN_FILENO, 0, 0};
    pthread_attr_t on_stack;
    pthread_t thread;
    for (size_t i = 0; i < STACK_WORDS; i++) {
        stack[i] = STACK_PATTERN;
    }
    if (pthread_attr_init(&on_stack) || pthread_attr_setstack(&on_stack, stack, sizeof stack)
        || pthread_create(&thread, &on_stack, firmware, NULL)) {
        return 2;
    }
    while (poll(&line, 1, -1) <= 0) {
    }
    return 0;
}
