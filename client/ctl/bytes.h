/*
 * bytes.h - text for a descriptor through a buffer, for files of millions of numbers: printf would take
 * longer than what they tell of.
 *
 * Whoever writes asks for room first (bytes_room) and puts at most BYTES_ROOM before it asks again; nothing
 * else looks at bounds. The descriptor is the caller's. What cannot be written is dropped, and `error` keeps
 * the first errno.
 */
#ifndef PWC_CTL_BYTES_H
#define PWC_CTL_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BYTES_ROOM 4096

struct bytes {
    int fd, error;
    size_t n;
    char buf[1 << 18];
};

void bytes_flush(struct bytes *b);
void bytes_room(struct bytes *b);
void bytes_u64(struct bytes *b, uint64_t v);
void bytes_us(struct bytes *b, uint64_t ns); /* nanoseconds as microseconds, with three decimals */

/* Inline, so that the lengths of constants are constants. */
static inline __attribute__((always_inline)) void bytes_put(struct bytes *b, const char *s)
{
    size_t len = strlen(s);
    memcpy(b->buf + b->n, s, len);
    b->n += len;
}

static inline __attribute__((always_inline)) void bytes_field(struct bytes *b, const char *key, uint64_t v)
{
    bytes_put(b, key);
    bytes_u64(b, v);
}

#endif
