/* array_case.h - what the tests of array.* share: inputs in memory, results by name. */
#ifndef PWC_TESTS_ARRAY_CASE_H
#define PWC_TESTS_ARRAY_CASE_H

#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/unit/array_driver.h"

static inline int memory_file(const void *data, size_t len)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(pwrite(fd, data, len, 0), (ssize_t)len);
    return fd;
}

/* In the test's folder: on a disk, as a rule, where the page cache shows it. */
static inline int disk_file(const void *data, size_t len)
{
    int fd = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) { /* an overlay may not know that */
        char name[] = "array-XXXXXX";
        fd = mkostemp(name, O_CLOEXEC);
        ck_assert_int_ge(fd, 0);
        unlink(name);
    }
    ck_assert_int_eq(pwrite(fd, data, len, 0), (ssize_t)len);
    return fd;
}

static inline const struct driver_result *want(const struct driver *d, const char *name)
{
    const struct driver_result *r = driver_result(d, name);
    ck_assert_msg(r != NULL, "no result \"%s\"", name);
    return r;
}

/* 128-bit equality with a readable failure. */
static inline void same_i128(__int128 have, __int128 wanted, const char *what)
{
    ck_assert_msg(have == wanted, "%s: %016llx%016llx instead of %016llx%016llx", what,
                  (unsigned long long)((unsigned __int128)have >> 64), (unsigned long long)have,
                  (unsigned long long)((unsigned __int128)wanted >> 64), (unsigned long long)wanted);
}

#endif
