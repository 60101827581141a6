/*
 * bench_mix.h - the arithmetic that benchmarks give to chunks. One definition for the op bench.mix, for the
 * OpenMP loop and for the library that Python calls, so that all compute the same and the sums can be
 * compared.
 *
 * Each step depends on the one before, so that no compiler turns the loop into something shorter and a
 * chunk's time is steps times the latency of a shift, two exclusive ors and a multiplication.
 */
#ifndef PWC_OPS_BENCH_MIX_H
#define PWC_OPS_BENCH_MIX_H

#include <stdint.h>

static inline uint64_t bench_mix(uint64_t chunk, uint64_t steps)
{
    uint64_t x = chunk * 0x9e3779b97f4a7c15u + 1;
    for (uint64_t i = 0; i < steps; i++) {
        x ^= x >> 29;
        x *= 0xbf58476d1ce4e5b9u;
        x ^= x >> 32;
    }
    return x;
}

#endif
