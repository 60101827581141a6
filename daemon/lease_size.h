/*
 * lease_size.h - how many chunks one lease should hold. Pure.
 *
 * A message a chunk costs 3 to 18 us, so leases grow until one takes about 5 ms: then the messages cost well
 * under one per cent, and what a death or a cancel throws away stays small. Growth is by powers of four from
 * one chunk on; near the end a lease takes its fair part of half of what is left, so that nobody ends long
 * after the others.
 */
#ifndef PWC_LEASE_SIZE_H
#define PWC_LEASE_SIZE_H

#include "ipc/base.h"

#define LEASE_TARGET_NS 5000000.0

/* A median to within an eighth: counts by size, four classes an octave. */
#define PACE_CLASSES 256u
#define PACE_SAMPLES                                                                                         \
    3u /* one that was slow for some reason of its own is outvoted; a job may have few leases */

struct lease_pace {
    double ns_per_chunk; /* moving average; 0: nothing measured yet */
    uint64_t last;       /* chunks in the largest lease measured */
    uint64_t samples;    /* leases measured, each by its mean */
    uint32_t *classes;   /* PACE_CLASSES of them, owned; NULL: nothing measured yet */
};

void pace_free(struct lease_pace *p);
void pace_update(struct lease_pace *p, uint64_t chunks, uint64_t ns);
/* What a chunk takes, half of them less; 0 while fewer than PACE_SAMPLES leases were measured. */
uint64_t pace_median_ns(const struct lease_pace *p);
uint64_t lease_size(const struct lease_pace *p, uint64_t waiting, uint32_t workers);

#endif
