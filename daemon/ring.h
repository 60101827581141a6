/*
 * ring.h - reading the trace ring of a stage, which may write there what it likes and while we read. Pure.
 *
 * Each word is loaded once. What comes out is true to form whatever was in the ring: spans of one lease, in
 * order, disjoint in chunks and in time, inside the bounds; what is not is passed over. Whether a stage
 * really computed what it says nobody can know.
 */
#ifndef PWC_RING_H
#define PWC_RING_H

#include "ipc/segment.h"

struct span {
    uint64_t first, n; /* chunks */
    int64_t start, end;
};

/* Of the spans that may still come: ring_next moves first and not_before up. */
struct ring_bounds {
    uint64_t lease;
    uint64_t first, end;
    int64_t not_before, not_after;
};

struct ring_reader {
    const struct segment *seg;
    uint64_t next, upto;
};

/* Where the ring is now: what is read later begins there. */
uint64_t ring_position(const struct segment *seg);
/* At most TRACE_RECORDS records: what was overwritten since `from` is gone. */
void ring_open(struct ring_reader *r, const struct segment *seg, uint64_t from);
bool ring_next(struct ring_reader *r, struct ring_bounds *b, struct span *ret);

/*
 * Chunks shorter than this share a record (ns), when `left` of `most` records may still be made. A record for
 * every 10 us on every seat costs 4 % of them, most of it in who reads and writes them: a long job shows in
 * its beginning what its chunks are like, and has coarser ones then, and four times as coarse with every
 * halving of what is left, so that they last until the end of a job of minutes. More than eight seats make so
 * many more of them, and theirs are as much coarser.
 */
uint32_t ring_group_ns(uint64_t left, uint64_t most, unsigned seats);

#endif
