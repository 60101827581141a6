/*
 * usage.h - what an attempt used: CPU time of the process since the attempt began, and the peak of its
 * resident memory. The kernel keeps a process' peak for life, and what could begin it anew (clear_refs of
 * proc(5)) is not for a process that must not be looked into: so the peak that was there when the attempt
 * began is told too. If the later one is larger it is the attempt's own.
 */
#ifndef PWC_WORKER_USAGE_H
#define PWC_WORKER_USAGE_H

#include <stdint.h>

struct segment_slot;

struct usage {
    uint64_t cpu_ns; /* of the process, until the attempt began; of the attempt once it is over */
    uint64_t rss_before, rss_peak; /* bytes */
};

/* An attempt begins: tells the slot, for whoever reads it after a death. */
struct usage usage_begin(struct segment_slot *slot);
/* It is over. */
struct usage usage_end(const struct usage *begin);

#endif
