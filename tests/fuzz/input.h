/* input.h - a fuzzer's bytes as a source of numbers (fill.h): zeros when they are used up. */
#ifndef PWC_TESTS_FUZZ_INPUT_H
#define PWC_TESTS_FUZZ_INPUT_H

#include <string.h>

#include "tests/hostile/fill.h"

struct input {
    const uint8_t *at;
    size_t left;
};

static inline uint64_t input_bytes(struct input *in, size_t n)
{
    uint64_t v = 0;
    n = n < in->left ? n : in->left;
    memcpy(&v, in->at, n);
    in->at += n;
    in->left -= n;
    return v;
}

/* Most numbers are small choices: two bytes each, and more only where they are asked for twice. */
static inline uint64_t input_next(void *state)
{
    return input_bytes(state, 2);
}

static inline struct source input_source(struct input *in)
{
    return (struct source){input_next, in, {1, 2, 3, 4, 0, 0, 0, 0}};
}

#endif
