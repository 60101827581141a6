/* mixlib.c - the arithmetic of bench.mix as a library, which Python calls through ctypes. */
#include "worker/ops/bench_mix.h"

uint64_t mix(uint64_t chunk, uint64_t steps);

uint64_t mix(uint64_t chunk, uint64_t steps)
{
    return bench_mix(chunk, steps);
}
