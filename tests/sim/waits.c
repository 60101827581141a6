/*
 * waits.c - what could be done does not wait for ever.
 *
 * The rule. A job has something for a worker (a plan to be made, chunks that wait, the tail of a lease that
 * is worth taking back, states that are to become results, a part of its output to be filled), and a seat is
 * free. Then within DUE_NS somebody has it, but for as long as
 *   - it, or its user, has as many seats as it may have, lent ones among them;
 *   - somebody is to compute alone in its domain, or the machine is short of memory and one computes;
 *   - no stage could do it, because as many are busy, or full of its results, as there may be, or none
 *     starts, or pwcd lacks what one is made of;
 * and, if the chunk that its consumer needs next is with somebody, be it the consumer, as long as
 *   - results have no room: all that idle have full arenas, and the consumer has something to take or there
 *     are as many arenas as the job may have workers; or stages that are gone have left too many, or the
 * user's jobs hold all that they may;
 *   - the consumer is behind: it has something to take, which takes it no less than a lease takes, and all
 *     seats but one for it and one for the producer are at work for this job. With nothing to take it is for
 *     STARVES_NS and what it and a lease have taken.
 *
 * What consumers and leases take is what this world has seen, not what the supervisor makes of it.
 */
#include "daemon/lack.h"
#include "daemon/ledger.h"
#include "daemon/quarantine.h"
#include "daemon/roles.h"
#include "daemon/solo.h"
#include "tests/sim/sim.h"

#define DUE_NS     (500 * NS_PER_MS) /* a stage is made, enters and idles, each of it maybe 20 ms late */
#define TAIL_NS    NS_PER_MS         /* a shorter tail is not taken back */
#define STARVES_NS (100 * NS_PER_MS)
#define TRIED_NS   (150 * NS_PER_MS) /* what failed is tried again with a tick */

/* ---- how quick consumers and leases are ---- */

/* What it takes for a chunk: since the last was taken, or there was one after none. */
static void watch_consumer(const struct job *j, struct spec *s)
{
    const struct assembly *a = &j->assembly;
    struct pace *p = &s->pace;
    bool idled = p->sent <= p->absorbed;
    if (a->absorbed > p->absorbed && p->sent > 0) {
        p->take_most = MAX(p->take_most, (sim_now() - p->from) / (int64_t)(a->absorbed - p->absorbed));
        p->takes++;
    }
    if (a->absorbed != p->absorbed || (idled && a->sent > a->absorbed) || j->consumer == NULL)
        p->from = sim_now();
    p->sent = a->sent;
    p->absorbed = a->absorbed;
}

/* ---- is there something to be done? ---- */

uint64_t __real_stage_slot_chunk(const struct stage *s); /* nobody runs on because it is looked at here */

/* A lease that is so long at a chunk that others could do what is behind it. */
static bool has_tail(const struct stage *s, int64_t chunk_ns)
{
    const struct lease *l = &s->lease;
    if (l->kind != LEASE_CHUNKS || l->end - l->first < 2 || s->state != STAGE_BUSY ||
        stage_slot_lease(s) != l->id)
        return false;
    uint64_t at = __real_stage_slot_chunk(s);
    return at >= l->first && at < l->end && (int64_t)(l->end - at) / 2 * chunk_ns > TAIL_NS;
}

static bool tail_waits(const struct job *j)
{
    const struct stage *s;
    int64_t ns = spec_of_job(j->id)->pace.lease_least;
    TAILQ_FOREACH(s, &j->d->pool->stages, link)
    {
        if (s->job == j && has_tail(s, ns))
            return true;
    }
    return false;
}

static bool something_at_the_end(const struct job *j)
{
    uint64_t chunk;
    if (j->ledger.held.count > 0)
        return !j->halting && tail_waits(j);
    if (j->absorb == PWC__ABSORB__ABSORB_FOLDED)
        return !j->got_results && ledger_complete(&j->ledger) && j->workers_on == 0;
    return quarantine_blank(j, &chunk) && j->stages_on == (j->producer != NULL ? 1u : 0u);
}

static bool has_something(const struct job *j)
{
    bool queued = j->state == PWC__JOB_STATE__JOB_QUEUED, here = j->items == 0 || j->have_fds;
    if (!j->planned)
        return (queued || j->state == PWC__JOB_STATE__JOB_PLANNING) && j->planner == NULL && here &&
               !j->parked && !j->plan_lost;
    if (queued ? !j->batch && !here : j->state != PWC__JOB_STATE__JOB_RUNNING)
        return false;
    return ledger_waiting(&j->ledger) > 0 ? !j->halting : something_at_the_end(j);
}

static bool may_have_seat(const struct job *j)
{
    return j->d->seats_busy < (j->d->short_of_memory ? 1 : j->d->seats) && j->user->running < j->d->seats &&
           (j->max_workers == 0 || j->workers_on < j->max_workers) && !solo_holds_back(j);
}

/* ---- is there a stage? ---- */

static bool idles_for(const struct stage *s, const struct job *j)
{
    return s->state == STAGE_IDLE && s->domain == j->domain && !s->stays &&
           (j->isolation != PWC__ISOLATION__ISOLATION_CHUNK || s->leases == 0);
}

static bool needs_next(const struct job *j)
{
    return j->assembly.result_bytes == 0 || ledger_lowest(&j->ledger) == j->assembly.absorbed;
}

/* One place is kept for the chunk that the consumer needs next. */
static bool is_full(const struct stage *s, const struct job *j)
{
    return s->arena_job == j && j->assembly.result_bytes > 0 && !needs_next(j) &&
           __builtin_popcountll(s->arena->taken) + 1 >= (int)s->arena->places;
}

/* A process that was to be a stage, or to make one, and hangs or ends slowly: for as long as it may. */
static bool starts_badly(const struct stage *s)
{
    if (s->state == STAGE_DYING)
        return !s->entered;
    if (s->state == STAGE_SPAWNING && sim_now() - s->since.ns > TRIED_NS)
        return true; /* the nursery was stopped, or its answer lost */
    if (s->state > STAGE_BOOTING && s->state != STAGE_ENTERING && !s->describing)
        return false;
    const struct proc *p = proc_of_pid(s->pid);
    return p != NULL && p->hung;
}

static bool some_start_badly(const struct pool *p)
{
    const struct proc *n = proc_of_pid(p->nursery_pid);
    const struct stage *s;
    if (n != NULL && n->hung)
        return true;
    TAILQ_FOREACH(s, &p->stages, link)
    {
        if (starts_badly(s))
            return true;
    }
    return false;
}

static bool lacks_stage(const struct job *j)
{
    const struct pool *p = j->d->pool;
    const struct stage *s;
    uint32_t busy = 0;
    TAILQ_FOREACH(s, &p->stages, link)
    {
        if (idles_for(s, j) && !is_full(s, j))
            return false;
        busy += s->state == STAGE_BUSY || idles_for(s, j);
    }
    return busy >= config_stages_max(&j->d->cfg, j->d->seats) || starts_wait(j) > 0 || pool_lacks(p) ||
           lack_holds_now(j) || pool_denies(p, (uint32_t)j->user->uid) || some_start_badly(p);
}

/* ---- chunks that the consumer does not need next ---- */

static bool user_is_full(const struct job *j)
{
    uint64_t held = 0;
    const struct job *x;
    TAILQ_FOREACH(x, &j->user->active, link)
    {
        held += x->state == PWC__JOB_STATE__JOB_RUNNING ? x->assembly.bytes : 0;
    }
    return j->d->windows_most != 0 && held >= j->d->windows_most;
}

static bool lacks_room(const struct job *j)
{
    const struct stage *s;
    const struct arena *a;
    bool some = false, full = user_is_full(j);
    uint32_t arenas = 0;
    TAILQ_FOREACH(s, &j->d->pool->stages, link)
    {
        if (!idles_for(s, j))
            continue;
        some = true;
        if (!is_full(s, j) && (s->arena_job == j || !full))
            return false;
    }
    LIST_FOREACH(a, &j->assembly.arenas, link)
    {
        arenas++;
    }
    uint32_t workers = j->max_workers > 0 ? MIN(j->max_workers, j->d->seats) : j->d->seats;
    return full || arenas >= workers || (some && j->assembly.sent > j->assembly.absorbed);
}

/* Nobody knows before it has taken twice. */
static bool consumer_is_behind(const struct job *j, const struct spec *s)
{
    int64_t waiting = (int64_t)(j->assembly.sent - j->assembly.absorbed);
    uint32_t others = 1 + (j->producer != NULL);
    if (j->workers_on + others < j->d->seats)
        return false;
    return s->pace.takes < 2 || s->pace.lease_least == 0 ||
           (waiting + 1) * s->pace.take_most >= s->pace.lease_least;
}

/* How long it may wait; INT64_MAX: for as long as this lasts. */
static int64_t may_wait(const struct job *j, const struct spec *s)
{
    const struct assembly *a = &j->assembly;
    if (needs_next(j))
        return DUE_NS;
    if (lacks_room(j) || (j->consumer != NULL && assembly_full(a, j->d->seats)))
        return INT64_MAX;
    if (j->consumer == NULL || !consumer_is_behind(j, s))
        return DUE_NS;
    return a->sent > a->absorbed ? INT64_MAX : DUE_NS + STARVES_NS + s->pace.take_most + s->pace.lease_most;
}

/* ---- the rule ---- */

static void check_job_waits(const struct job *j)
{
    struct spec *s = spec_of_job(j->id);
    int64_t now = sim_now(), most;
    bool here = s->pace.step + 1 == W.steps; /* else it was out, or has begun */
    s->pace.step = W.steps;
    watch_consumer(j, s);
    if (!here || !may_have_seat(j) || !has_something(j) ||
        (W.kernel_failed != 0 && now - W.kernel_failed < TRIED_NS) || (most = may_wait(j, s)) == INT64_MAX ||
        lacks_stage(j)) {
        s->pace.waits_since = now;
        return;
    }
    SIM_CHECK(now - s->pace.waits_since <= most,
              "job %lu has something to be done and may have a seat, and waits for %lu ms", (ul)j->id,
              (ul)((now - s->pace.waits_since) / NS_PER_MS));
}

void check_waits(const struct daemon *d)
{
    const struct user *u;
    const struct job *j;
    TAILQ_FOREACH(u, &d->busy, busy_link)
    {
        TAILQ_FOREACH(j, &u->active, link)
        {
            check_job_waits(j);
        }
    }
}
