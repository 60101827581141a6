/* fuzz.h - what the fuzz targets share. Each is a libFuzzer target and, with replay.c, a test over its
 * corpus. */
#ifndef PWC_TESTS_FUZZ_H
#define PWC_TESTS_FUZZ_H

#include <poll.h>
#include <stdio.h>

#include "ipc/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_CHECK(cond)                                                                                     \
    do {                                                                                                     \
        if (!(cond)) {                                                                                       \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);                                       \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

/* How many are open, of those that one input may come to: the same after it as before, or something leaks. */
static inline unsigned fuzz_open_descriptors(void)
{
    struct pollfd fds[256];
    unsigned n = 0;
    for (unsigned i = 0; i < ARRAY_LEN(fds); i++)
        fds[i] = (struct pollfd){.fd = (int)i};
    FUZZ_CHECK(poll(fds, ARRAY_LEN(fds), 0) >= 0);
    for (unsigned i = 0; i < ARRAY_LEN(fds); i++)
        n += (fds[i].revents & POLLNVAL) == 0;
    return n;
}

#endif
