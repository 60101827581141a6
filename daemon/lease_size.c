/* lease_size.c - see lease_size.h. */
#include "daemon/lease_size.h"

/* 4 * log2, by the leading bit and the two behind it. */
static uint32_t class_of(uint64_t ns)
{
    uint32_t bit = 63 - (uint32_t)__builtin_clzll(ns | 1);
    uint32_t next = bit >= 2 ? (uint32_t)(ns >> (bit - 2)) & 3 : (uint32_t)(ns << (2 - bit)) & 3;
    return bit * 4 + next;
}

void pace_free(struct lease_pace *p)
{
    free(p->classes);
    *p = (struct lease_pace){0};
}

void pace_update(struct lease_pace *p, uint64_t chunks, uint64_t ns)
{
    if (chunks == 0)
        return;
    double now = (double)MAX(ns, (uint64_t)1) / (double)chunks;
    /* Slower at once, faster by and by: a lease that is too long hurts more than one that is too short. */
    double keep = now > p->ns_per_chunk ? 0.3 : 0.7;
    p->ns_per_chunk = p->ns_per_chunk > 0 ? keep * p->ns_per_chunk + (1 - keep) * now : now;
    p->last = MAX(p->last, chunks);
    p->samples++;
    if (p->classes == NULL)
        p->classes = xcalloc(PACE_CLASSES, sizeof *p->classes);
    p->classes[class_of(ns / chunks)]++;
}

uint64_t pace_median_ns(const struct lease_pace *p)
{
    uint64_t seen = 0;
    if (p->samples < PACE_SAMPLES)
        return 0;
    for (uint32_t i = 0; i < PACE_CLASSES; i++)
        if ((seen += p->classes[i]) * 2 >= p->samples)
            return ((4ull + i % 4) << (i / 4)) / 4 + 1;
    return 0;
}

uint64_t lease_size(const struct lease_pace *p, uint64_t waiting, uint32_t workers)
{
    if (waiting <= 1 || p->ns_per_chunk <= 0)
        return MIN(waiting, (uint64_t)1);
    double aim = LEASE_TARGET_NS / p->ns_per_chunk;
    uint64_t n = aim < 1 ? 1 : aim > 1e18 ? (uint64_t)1e18 : (uint64_t)aim;
    n = MIN(n, p->last < UINT64_MAX / 4 ? p->last * 4 : p->last);
    uint64_t part = waiting / (2 * (uint64_t)MAX(workers, 1u));
    /* Shrinking stops where a lease takes about a tenth of the target: below that the messages would cost
     * more. */
    uint64_t least = MAX((uint64_t)1, n / 10);
    return MIN(waiting, MAX(MIN(n, part), least));
}
