/* bytes.c - see bytes.h. */
#include <errno.h>
#include <unistd.h>

#include "client/ctl/bytes.h"

void bytes_flush(struct bytes *b)
{
    for (size_t done = 0; done < b->n && b->error == 0;) {
        ssize_t n = write(b->fd, b->buf + done, b->n - done);
        if (n >= 0)
            done += (size_t)n;
        else if (errno != EINTR)
            b->error = errno;
    }
    b->n = 0;
}

void bytes_room(struct bytes *b)
{
    if (b->n > sizeof b->buf - BYTES_ROOM)
        bytes_flush(b);
}

static unsigned digits_of(uint64_t v)
{
    unsigned n = 1;
    for (; v >= 10000; v /= 10000)
        n += 4;
    return n + (v >= 10) + (v >= 100) + (v >= 1000);
}

void bytes_u64(struct bytes *b, uint64_t v)
{
    static const char pairs[] =
        "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
        "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
        "8081828384858687888990919293949596979899";
    char *from = b->buf + b->n, *to = from + digits_of(v);
    b->n = (size_t)(to - b->buf);
    for (; v >= 10; v /= 100)
        memcpy(to -= 2, pairs + v % 100 * 2, 2);
    if (to > from)
        *from = (char)('0' + v);
}

void bytes_us(struct bytes *b, uint64_t ns)
{
    bytes_u64(b, ns / 1000);
    unsigned frac = (unsigned)(ns % 1000);
    char *to = b->buf + b->n;
    to[0] = '.';
    to[1] = (char)('0' + frac / 100);
    to[2] = (char)('0' + frac / 10 % 10);
    to[3] = (char)('0' + frac % 10);
    b->n += 4;
}
