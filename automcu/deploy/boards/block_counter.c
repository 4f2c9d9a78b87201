/* Counts what an emulated core executes. Unicorn calls count_block at the start of each basic block: natively, as a call
 * into Python would take a hundred times as long as the block. One object serves one emulator, in one thread. */
#include <stdint.h>
#include <string.h>
#include <time.h>

#define BLOCKS 65536
#define SLOTS (2 * BLOCKS)
#define CLOCK_INTERVAL 4096 /* blocks between two looks at the clock */

/* A basic block in a context: `site` is the block of the entry function that was the last before it, so that what each
 * of that function's calls costs can be told apart. `runs` and what follows count inside the entry function only. */
struct block {
    uint32_t address, bytes, site, instructions;
    uint64_t runs, taken, flash_bytes; /* taken: how often another block than the next one in memory came after it */
};

/* The same in Python: block_counter.py. */
struct counter {
    int (*read_memory)(void *engine, uint64_t address, void *bytes, uint64_t size);
    int (*read_register)(void *engine, int number, void *value);
    int (*write_register)(void *engine, int number, const void *value);
    int (*stop)(void *engine);
    int32_t link_register, status_register;
    uint32_t entry, entry_end; /* the entry function's code */
    uint32_t inside, return_address, site;
    uint32_t used, full; /* blocks in use; whether there was no room for one */
    uint32_t expired;
    uint32_t current, until_clock;
    double deadline; /* on CLOCK_MONOTONIC, in seconds */
    uint64_t executed;     /* instructions since reset, up to and with the current block */
    uint64_t run_executed; /* of them in the last run of the entry function */
    uint32_t slots[SLOTS]; /* hash table of blocks: 1 + index */
    struct block blocks[BLOCKS];
};

/* Thumb instructions in a block: the first halfword of a 32-bit one begins with 0b11101, 0b11110 or 0b11111. */
static uint32_t instructions(const struct counter *counter, void *engine, uint32_t address, uint32_t bytes)
{
    uint32_t count = 0;
    for (uint32_t at = 0; at < bytes; count++) {
        uint16_t half = 0;
        counter->read_memory(engine, address + at, &half, sizeof half);
        at += half >> 11 >= 0x1D ? 4 : 2;
    }
    return count;
}

static struct block *find(struct counter *counter, void *engine, uint32_t address, uint32_t bytes)
{
    uint32_t slot = (address * 2654435761u ^ counter->site * 2246822519u) >> 15 & (SLOTS - 1);
    for (; counter->slots[slot]; slot = (slot + 1) & (SLOTS - 1)) {
        struct block *block = &counter->blocks[counter->slots[slot] - 1];
        if (block->address == address && block->bytes == bytes && block->site == counter->site) {
            return block;
        }
    }
    if (counter->used == BLOCKS) {
        counter->full = 1;
        counter->stop(engine);
        return &counter->blocks[counter->current];
    }
    struct block *block = &counter->blocks[counter->used++];
    counter->slots[slot] = counter->used;
    *block = (struct block){address, bytes, counter->site, instructions(counter, engine, address, bytes), 0, 0, 0};
    return block;
}

/* Unicorn's UC_HOOK_BLOCK. */
void count_block(void *engine, uint64_t where, uint32_t bytes, void *user)
{
    struct counter *counter = user;
    struct block *block = &counter->blocks[counter->current];
    uint32_t address = (uint32_t)where;
    if (!counter->inside) {
        if (address == counter->entry) {
            counter->inside = 1;
            counter->read_register(engine, counter->link_register, &counter->return_address);
            counter->return_address &= ~1u;
            counter->run_executed = 0;
            for (uint32_t i = 0; i < counter->used; i++) {
                counter->blocks[i].runs = counter->blocks[i].taken = counter->blocks[i].flash_bytes = 0;
            }
        }
    } else {
        block->taken += block->address + block->bytes != address;
        if (address == counter->return_address) {
            counter->inside = 0;
            counter->site = 0;
        }
    }
    if (counter->inside && address >= counter->entry && address < counter->entry_end) {
        counter->site = address;
    }
    if (block->address != address || block->bytes != bytes || block->site != counter->site) {
        block = find(counter, engine, address, bytes);
        counter->current = (uint32_t)(block - counter->blocks);
    }
    counter->executed += block->instructions;
    if (counter->inside) {
        block->runs++;
        counter->run_executed += block->instructions;
    }
    if (--counter->until_clock == 0) {
        struct timespec now;
        counter->until_clock = CLOCK_INTERVAL;
        clock_gettime(CLOCK_MONOTONIC, &now);
        if ((double)now.tv_sec + (double)now.tv_nsec * 1e-9 > counter->deadline) {
            counter->expired = 1;
            counter->stop(engine);
        }
    }
}

#define IT_BITS 0x0600FC00u /* of the program status register: the rest of an IT block */

/* Unicorn's UC_HOOK_MEM_READ, over the Flash. For a load in an IT block, Unicorn 2.1.4 leaves the block's state behind,
 * and what follows the block is then executed conditionally, or not: so the state is cleared. The code that is running
 * has been translated with its conditions, and does not look at it. */
void count_flash_read(void *engine, int type, uint64_t address, int size, int64_t value, void *user)
{
    struct counter *counter = user;
    (void)type, (void)address, (void)value;
    uint32_t status = 0;
    counter->read_register(engine, counter->status_register, &status);
    if (status & IT_BITS) {
        status &= ~IT_BITS;
        counter->write_register(engine, counter->status_register, &status);
    }
    if (counter->inside) {
        counter->blocks[counter->current].flash_bytes += (uint32_t)size;
    }
}
