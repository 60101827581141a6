/*
 * steal.c - when nothing is left to lease: the tail of the longest lease, for an idle seat.
 *
 * The holder is not asked. It says in its slot which chunk it is at before it looks at `limit`; here `limit`
 * is stored before the slot is looked at once more. So one of the two sees the other: what it has begun stays
 * its own. (Only for the items of a batch, which write to a client's file, does the stage make sure of that
 * order. Any other chunk may be computed twice.) It may have stopped at a limit that was raised again because
 * of that: what it reports then is less than it holds, and the rest is given back.
 */
#include "daemon/dispatch.h"
#include "daemon/pool.h"
#include "daemon/trace.h"

#define STEAL_LEAST_NS 1000000.0 /* taking back less than this costs more than it gives */

/* Chunks of this lease that could be taken back, as time. */
static double stealable(const struct stage *s, uint64_t *ret_from)
{
    const struct lease *l = &s->lease;
    const struct job *j = s->job;
    if (l->kind != LEASE_CHUNKS || j->state != PWC__JOB_STATE__JOB_RUNNING || stage_slot_lease(s) != l->id)
        return 0;
    if (!dispatch_may_have_worker(j))
        return 0;
    uint64_t at = stage_slot_chunk(s);
    if (at < l->first || at >= l->end || l->end - at < 2)
        return 0;
    *ret_from = at + 1 + (l->end - at - 1) / 2;
    return (double)(l->end - *ret_from) * j->pace.ns_per_chunk;
}

/* From which chunk on it is left to others; where it ends if nothing is. */
static uint64_t lower_limit(struct stage *s, uint64_t from)
{
    struct lease *l = &s->lease;
    l->stop_least = MIN(l->stop_least, from);
    atomic_store(&s->control->limit, from);
    uint64_t at = stage_slot_lease(s) == l->id ? stage_slot_chunk(s) : SLOT_IDLE;
    if (at < from)
        return from;
    from = at < l->end ? at + 1 : l->end;
    atomic_store(&s->control->limit, from);
    return from;
}

static bool take_tail(struct stage *s, uint64_t from)
{
    struct lease *l = &s->lease;
    from = lower_limit(s, from);
    if (from >= l->end)
        return false;
    ledger_give_back(&s->job->ledger, from, l->end);
    trace_taken_back(s->job, s, from, l->end);
    l->end = from;
    l->final = false;
    s->d->totals.steals++;
    return true;
}

bool dispatch_steal(struct daemon *d)
{
    struct stage *s, *victim = NULL;
    uint64_t from = 0, at = 0;
    double most = STEAL_LEAST_NS;
    TAILQ_FOREACH(s, &d->pool->stages, link)
    {
        double ns = s->state == STAGE_BUSY ? stealable(s, &at) : 0;
        if (ns > most) {
            most = ns;
            victim = s;
            from = at;
        }
    }
    return victim != NULL && from < victim->lease.end && take_tail(victim, from);
}
