/* The four functions of <string.h> that compilers call on their own, and their names in the Arm run-time ABI. There is
 * no C library beside them. */
#include <stddef.h>
#include <stdint.h>

/* In each loop: keeps the compiler from seeing the function in its own body, and calling itself. */
#define NO_IDIOM __asm__ volatile("" ::: "memory")

void *memcpy(void *restrict to, const void *restrict from, size_t count);
void *memmove(void *to, const void *from, size_t count);
void *memset(void *to, int value, size_t count);
int memcmp(const void *left, const void *right, size_t count);
void __aeabi_memset(void *to, size_t count, int value);
void __aeabi_memclr(void *to, size_t count);

/* A word that may alias anything, at any address where the core reads such words (all but Armv6-M). */
#ifdef __ARM_FEATURE_UNALIGNED
typedef uint32_t __attribute__((may_alias, aligned(1))) Word;
#define WORDS_MEET(to, from) 1
#else
typedef uint32_t __attribute__((may_alias)) Word;
#define WORDS_MEET(to, from) ((((uintptr_t)(to) ^ (uintptr_t)(from)) & 3) == 0)
#endif

/* Upwards: also right for areas that overlap with `to` below `from`. */
static inline __attribute__((always_inline)) void copy_up(uint8_t *to, const uint8_t *from, size_t count)
{
    if (WORDS_MEET(to, from)) {
        for (; count && ((uintptr_t)to & 3); count--) {
            *to++ = *from++;
            NO_IDIOM;
        }
        for (; count >= 16; count -= 16, to += 16, from += 16) {
            const Word *source = (const Word *)from;
            Word *target = (Word *)to;
            uint32_t a = source[0], b = source[1], c = source[2], d = source[3];
            target[0] = a;
            target[1] = b;
            target[2] = c;
            target[3] = d;
            NO_IDIOM;
        }
        for (; count >= 4; count -= 4, to += 4, from += 4) {
            *(Word *)to = *(const Word *)from;
            NO_IDIOM;
        }
    }
    for (; count; count--) {
        *to++ = *from++;
        NO_IDIOM;
    }
}

void *memcpy(void *restrict to, const void *restrict from, size_t count)
{
    copy_up(to, from, count);
    return to;
}

void *memmove(void *to, const void *from, size_t count)
{
    uint8_t *target = to;
    const uint8_t *source = from;
    if ((uintptr_t)to - (uintptr_t)from >= count) { /* `to` below `from`, or behind its end */
        copy_up(target, source, count);
        return to;
    }
    if (WORDS_MEET(to, from)) {
        for (; count && ((uintptr_t)(target + count) & 3); count--) {
            target[count - 1] = source[count - 1];
            NO_IDIOM;
        }
        for (; count >= 4; count -= 4) {
            *(Word *)(target + count - 4) = *(const Word *)(source + count - 4);
            NO_IDIOM;
        }
    }
    for (; count; count--) {
        target[count - 1] = source[count - 1];
        NO_IDIOM;
    }
    return to;
}

/* A name of its own: a call of memset with 0 becomes one of __aeabi_memclr, which would then call itself. */
static __attribute__((noinline)) void fill(uint8_t *to, uint8_t value, size_t count)
{
    uint32_t word = value * 0x01010101u;
    for (; count && ((uintptr_t)to & 3); count--) {
        *to++ = value;
        NO_IDIOM;
    }
    for (; count >= 16; count -= 16, to += 16) {
        Word *words = (Word *)to;
        words[0] = word;
        words[1] = word;
        words[2] = word;
        words[3] = word;
        NO_IDIOM;
    }
    for (; count; count--) {
        *to++ = value;
        NO_IDIOM;
    }
}

void *memset(void *to, int value, size_t count)
{
    fill(to, (uint8_t)value, count);
    return to;
}

int memcmp(const void *left, const void *right, size_t count)
{
    const uint8_t *a = left, *b = right;
    for (; count; count--, a++, b++) {
        if (*a != *b) {
            return *a - *b;
        }
    }
    return 0;
}

void __aeabi_memset(void *to, size_t count, int value)
{
    fill(to, (uint8_t)value, count);
}

void __aeabi_memclr(void *to, size_t count)
{
    fill(to, 0, count);
}

/* Names that promise an alignment of 4 or 8 bytes; the functions above find that out. */
#define SAME(name, as) extern __typeof__(as) name __attribute__((alias(#as)))
SAME(__aeabi_memcpy, memcpy);
SAME(__aeabi_memcpy4, memcpy);
SAME(__aeabi_memcpy8, memcpy);
SAME(__aeabi_memmove, memmove);
SAME(__aeabi_memmove4, memmove);
SAME(__aeabi_memmove8, memmove);
SAME(__aeabi_memset4, __aeabi_memset);
SAME(__aeabi_memset8, __aeabi_memset);
SAME(__aeabi_memclr4, __aeabi_memclr);
SAME(__aeabi_memclr8, __aeabi_memclr);
