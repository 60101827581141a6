/* still.c - see still.h. */
#include "daemon/still.h"

bool still_there(struct still *st, uint64_t lease, uint64_t chunk, uint64_t done, int64_t now)
{
    if (st->lease == lease && st->chunk == chunk && st->done == done)
        return true;
    *st = (struct still){.lease = lease, .chunk = chunk, .done = done, .cpu = UINT64_MAX, .since = now};
    return false;
}

void still_waits(struct still *st, uint64_t cpu, bool waits, int64_t now)
{
    if (!waits || cpu != st->cpu) {
        st->cpu = cpu;
        st->since = now;
    }
    st->stands = now - st->since >= STILL_NS;
}
