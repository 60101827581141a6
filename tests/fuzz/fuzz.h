/* fuzz.h - what the fuzz targets share. Each is a libFuzzer target and, with replay.c, a test over its
 * corpus. */
#ifndef PWC_TESTS_FUZZ_H
#define PWC_TESTS_FUZZ_H

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

#endif
