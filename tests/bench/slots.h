/*
 * slots.h - the slots of a daemon's stages, read in the memory where they are written, so that a measurement
 * costs the daemon nothing and is as fine as the stage's own clock.
 *
 * The supervisor has the segment of each stage mapped; /proc lets its own user (or root) read that memory.
 */
#ifndef PWC_TESTS_BENCH_SLOTS_H
#define PWC_TESTS_BENCH_SLOTS_H

#include "tests/bench/bench.h"

#define SLOTS_MAX 128

struct slot_seen {
    uint64_t chunk; /* or SLOT_IDLE */
    uint64_t since; /* CLOCK_MONOTONIC ns: start of its present or last lease */
};

struct slots {
    struct slot_seen seen[SLOTS_MAX];
    size_t n;
};

/* Ends the program when the memory cannot be read: with BENCH_SKIP when that is forbidden. */
void slots_read(pid_t daemon, struct slots *ret);

/* A slot in which that chunk was begun after the time; a stage that was dead by then cannot have done it. */
const struct slot_seen *slots_begun(const struct slots *s, uint64_t chunk, uint64_t after_ns);

#endif
