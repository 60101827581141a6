/* dump.c - see dump.h. One line an object, in words that stand in the architecture document. */
#include "daemon/closer.h"
#include "daemon/dump.h"
#include "daemon/job.h"
#include "daemon/pool.h"
#include "daemon/session.h"
#include "ipc/log.h"

static void dump_job(const struct job *j)
{
    const struct ledger *l = &j->ledger;
    log_info("dump: job %lu %s %s uid=%u chunks=%lu ready=%lu waiting=%lu held=%lu done=%lu bad=%lu "
             "absorbed=%lu sent=%lu "
             "stages=%u workers=%u states=%d domain=%lu waits=%s",
             (unsigned long)j->id, j->op->name, job_state_name(j->state), (unsigned)j->user->uid,
             (unsigned long)l->total, (unsigned long)l->ready, (unsigned long)ledger_waiting(l),
             (unsigned long)l->held.count, (unsigned long)l->done.count, (unsigned long)l->bad.count,
             (unsigned long)j->assembly.absorbed, (unsigned long)j->assembly.sent, j->stages_on,
             j->workers_on, !STAILQ_EMPTY(&j->states), (unsigned long)j->domain, job_waiting_for(j));
}

static void dump_stage(const struct stage *s)
{
    log_info(
        "dump: stage %lu pid=%d %s %s domain=%lu job=%lu lease=%lu [%lu,%lu) given=%lu slot=%lu chunks=%lu "
        "leases=%lu arena=%lu/%lx",
        (unsigned long)s->id, s->pid, stage_state_name(s->state), stage_role_name(s),
        (unsigned long)s->domain, s->job != NULL ? (unsigned long)s->job->id : 0,
        s->lease.kind != LEASE_NONE ? (unsigned long)s->lease.id : 0, (unsigned long)s->lease.first,
        (unsigned long)s->lease.end, (unsigned long)s->lease.given_end, (unsigned long)stage_slot_chunk(s),
        (unsigned long)s->chunks, (unsigned long)s->leases,
        s->arena != NULL ? (unsigned long)s->arena->id : 0,
        s->arena != NULL ? (unsigned long)s->arena->taken : 0);
}

void dump_state(const struct daemon *d)
{
    log_info("dump: seats %u of %u busy, %u clients, %zu jobs known, %u ended, %u stages, %zu closes "
             "pending, dropped %lu, "
             "steals %lu, ahead %lu, recalled %lu, accepts %lu, pauses of accepting %lu, "
             "spawned %lu, unready %lu",
             d->seats_busy, d->seats, d->nsessions, d->njobs, d->nhistory, d->pool->n, closer_pending(),
             (unsigned long)d->totals.dropped, (unsigned long)d->totals.steals,
             (unsigned long)d->totals.ahead, (unsigned long)d->totals.recalled,
             (unsigned long)d->accept_tries, (unsigned long)d->accept_pauses, (unsigned long)d->pool->spawned,
             (unsigned long)d->pool->unready);
    const struct user *u;
    const struct job *j;
    TAILQ_FOREACH(u, &d->users, link)
    {
        log_info("dump: uid %u jobs=%u active=%u seats=%u used_ms=%lu", (unsigned)u->uid, u->jobs, u->nactive,
                 u->running, (unsigned long)(u->used_ns / NS_PER_MS));
        TAILQ_FOREACH(j, &u->active, link)
        {
            dump_job(j);
        }
    }
    const struct stage *s;
    TAILQ_FOREACH(s, &d->pool->stages, link)
    {
        dump_stage(s);
    }
}
