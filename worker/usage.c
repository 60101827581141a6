/* usage.c - see usage.h. */
#include <stdatomic.h>
#include <sys/resource.h>

#include "ipc/clock.h"
#include "ipc/segment.h"
#include "worker/usage.h"

static uint64_t peak(void)
{
    struct rusage ru = {0};
    getrusage(RUSAGE_SELF, &ru);
    return (uint64_t)ru.ru_maxrss * 1024;
}

struct usage usage_begin(struct segment_slot *slot)
{
    struct usage u = {.cpu_ns = (uint64_t)clock_cpu_ns(), .rss_before = peak()};
    atomic_store_explicit(&slot->cpu, u.cpu_ns, memory_order_relaxed);
    atomic_store_explicit(&slot->rss, u.rss_before, memory_order_relaxed);
    return u;
}

struct usage usage_end(const struct usage *begin)
{
    return (struct usage){(uint64_t)clock_cpu_ns() - begin->cpu_ns, begin->rss_before, peak()};
}
