/*
 * backlog.h - how many workers a job may have while its consumer is behind. Pure.
 *
 * A consumer that takes results in order (an encoder) is one process without a seat. On few cores it shares
 * them with the producer and the workers, and if it is what the job waits for, every moment of theirs is one
 * that it loses: all they gain is results that wait for it sooner. So while it has as much to do as a worker
 * needs for its next lease, a core is its own, and one the producer's. A consumer that keeps up is never
 * behind by so much.
 *
 * What it takes has not been dealt with yet: libvips' savers have room for up to a strip or two. So the chunk
 * it took last counts, too, and the first it takes says nothing: until the second the producer counts as a
 * worker, so that the first chunk, for which everybody waits, is there soon. Nor do those it takes at once
 * after it had none, unless there are many in a row: its buffers are full by then, and it is fast.
 *
 * Nothing can stand still through this: while no result waits for the consumer the job has a worker at least,
 * and each result that it takes makes the backlog smaller. And if that worker is long at the chunk that the
 * consumer needs next, be it hung, it is not the consumer that the job waits for: then all may work.
 */
#ifndef PWC_BACKLOG_H
#define PWC_BACKLOG_H

#include "ipc/base.h"

struct backlog {
    double take_ns; /* from one chunk taken to the next, moving average; 0: nothing measured yet */
    uint64_t since; /* when it began, took the last one, or was fed after it had none */
    bool idled;     /* it had none: what it needs for the next is no less than it seems, but may be more */
    uint32_t idles; /* how often in a row */
    uint32_t samples;
};

void backlog_begins(struct backlog *b, uint64_t now);
/* Results were sent to a consumer that had none. */
void backlog_fed(struct backlog *b, uint64_t now);
void backlog_taken(struct backlog *b, uint64_t chunks, uint64_t now);
/* waiting: chunks that it was sent and has not taken; lease_ns: what a worker's next lease takes. */
uint32_t backlog_workers(const struct backlog *b, uint64_t waiting, double lease_ns, bool producing,
                         uint32_t seats);
/* It has had nothing to take for longer than if it were the slowest of the job. */
bool backlog_starves(const struct backlog *b, uint64_t waiting, double lease_ns, uint64_t now);

#endif
