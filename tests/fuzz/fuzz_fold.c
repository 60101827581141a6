/*
 * fuzz_fold.c - any bytes as fold states of array.*: refused, or folded into something that a result can be
 * made of. Input: a byte that chooses op and type, then states.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"
#include "tests/unit/array_driver.h"

static const char *const ops[] = {"array.sum", "array.min", "array.max", "array.histogram"};
static const char *const types[] = {"int8", "uint64", "float64"};

static void fold(struct driver *d, const uint8_t *data, size_t size)
{
    const size_t len = d->job.op->fold_bytes;
    for (; size > 0; data += MIN(size, len), size -= MIN(size, len)) {
        void *before = xcalloc(1, len);
        memcpy(before, d->job.fold, len);
        if (d->job.op->fold(&d->job, data, MIN(size, len)) < 0)
            FUZZ_CHECK(memcmp(before, d->job.fold, len) == 0);
        free(before);
    }
    FUZZ_CHECK(d->job.op->finish(&d->job) == 0);
    FUZZ_CHECK(d->nresults > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    if (fd < 0) {
        fd = memfd_create("fuzz", MFD_CLOEXEC);
        FUZZ_CHECK(fd >= 0 && ftruncate(fd, 8192) == 0);
    }
    if (size == 0)
        return 0;
    struct driver d;
    driver_init(&d, ops[data[0] % ARRAY_LEN(ops)], types[data[0] / ARRAY_LEN(ops) % ARRAY_LEN(types)], fd);
    driver_set(&d, "bins", 5);
    driver_set(&d, "min", -1);
    driver_set(&d, "max", 1);
    FUZZ_CHECK(driver_plan(&d) == 0 && driver_open(&d) == 0);
    fold(&d, data + 1, size - 1);
    driver_free(&d);
    return 0;
}
