/*
 * still.h - does a stage stand still? Pure: what the tick sees of it, ten times a second, goes in.
 *
 * It does when its slot and its CPU time have not moved for STILL_NS and none of its threads was even
 * runnable: it waits in the kernel, for a disk or for whoever serves the file that a client has sent (which
 * may be the client). Whoever computes is seen at once, and so is whoever goes on.
 */
#ifndef PWC_STILL_H
#define PWC_STILL_H

#include "ipc/base.h"

#define STILL_NS 100000000

struct still {
    uint64_t lease, chunk, done; /* what it holds, and its slot */
    uint64_t cpu;                /* UINT64_MAX: not looked at yet */
    int64_t since;
    bool stands;
};

/* Nothing has moved since it was last looked at: only then need its CPU time be read. */
bool still_there(struct still *st, uint64_t lease, uint64_t chunk, uint64_t done, int64_t now);
/* It is still there; waits: not runnable. Says whether it stands still. */
void still_waits(struct still *st, uint64_t cpu, bool waits, int64_t now);

#endif
