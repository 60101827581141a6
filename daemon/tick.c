/* tick.c - see tick.h. A chunk's age is read off its slot: no message and no clock read in the stage is
 * needed. */
#include <malloc.h>

#include "daemon/cgroup.h"
#include "daemon/deaths.h"
#include "daemon/dispatch.h"
#include "daemon/events.h"
#include "daemon/flow.h"
#include "daemon/job.h"
#include "daemon/lack.h"
#include "daemon/pool.h"
#include "daemon/pressure.h"
#include "daemon/procstat.h"
#include "daemon/session.h"
#include "daemon/small.h"
#include "daemon/tail.h"
#include "daemon/tick.h"
#include "daemon/trace.h"
#include "ipc/log.h"

#define TICK_NS      (100 * NS_PER_MS)
#define TRIM_NS      (2 * NS_PER_S) /* after the last job or client nothing is done any more but this */
#define STOPPED_NS   NS_PER_S       /* no one needs a stage stopped; a debugger may be quick */
#define STALL_MEDIAN 10.0           /* as many times as long as a chunk takes here may one stand still */
#define SLOW_MEDIAN  3.0            /* from then on it is slow, */
#define SLOW_LEAST   NS_PER_S       /* if it is no matter of moments */

/* How long one chunk, or one step of another role, may take; 0: as long as it likes. Per cent of the median
 * hold for chunks, of which it is, and once there is one. */
static int64_t step_time(const struct job *j, bool chunk)
{
    int64_t most = (int64_t)MIN(j->chunk_timeout_ns, (uint64_t)INT64_MAX);
    if (!chunk)
        return most;
    double of_median = (double)pace_median_ns(&j->pace) * j->chunk_timeout_percent / 100;
    if (of_median > 0 && (most == 0 || of_median < (double)most))
        most = (int64_t)of_median;
    return most;
}

/* A producer may wait for room and a consumer for results: only who could go on can be stuck. */
static bool could_go_on(const struct job *j, const struct lease *l)
{
    const struct assembly *a = &j->assembly;
    if (l->kind == LEASE_CONSUME)
        return a->sent > a->absorbed || a->sent == j->ledger.total;
    if (l->kind == LEASE_PRODUCE && j->windowed)
        return j->workers_on == 0 && ledger_waiting(&j->ledger) == 0 && a->sent == a->absorbed;
    return true;
}

/* Past half its time the CPU clock is looked at; what stands still for the other half, too, is stuck. */
static void watch_stall(const struct job *j, struct stage *s, struct mono now, int64_t age)
{
    struct lease *l = &s->lease;
    double of_median = MIN(STALL_MEDIAN * j->pace.ns_per_chunk, (double)(INT64_MAX / 2));
    int64_t half = MAX(j->d->cfg.stall_timeout, (int64_t)of_median) / 2;
    if (j->d->cfg.stall_timeout == 0 || age < half)
        return;
    bool waits;
    uint64_t cpu;
    if (!procstat_cpu(s->pid, &cpu, &waits))
        return;
    if (cpu != l->seen_cpu || !waits) {
        l->seen_cpu = cpu; /* it computes: long is not stuck */
        l->stall_since = now;
    } else if (mono_since(now, l->stall_since) > half) {
        stage_doom(s, PWC__CODE__CODE_STALLED, "neither progress nor CPU time");
    }
}

/* It may be in order, and nothing is done: but whoever waits for the job finds here what it is at. */
static void tell_slow(const struct job *j, struct stage *s, int64_t age)
{
    char covers[128];
    struct lease *l = &s->lease;
    double median = l->told_slow || age < SLOW_LEAST ? 0 : (double)pace_median_ns(&j->pace);
    if (median <= 0 || (double)age < SLOW_MEDIAN * median || l->kind != LEASE_CHUNKS ||
        l->seen_chunk >= j->ledger.total)
        return;
    l->told_slow = true;
    job_covers(j, l->seen_chunk, covers, sizeof covers);
    log_info("job %lu: chunk %lu%s%s%s has taken %.1f s, where half of them take less than %.3f (stage %lu, "
             "pid %d)",
             (unsigned long)j->id, (unsigned long)l->seen_chunk, *covers != '\0' ? " (" : "", covers,
             *covers != '\0' ? ")" : "", (double)age / 1e9, median / 1e9, (unsigned long)s->id, s->pid);
}

static void watch_chunk(struct job *j, struct stage *s, struct mono now)
{
    struct lease *l = &s->lease;
    uint64_t chunk = stage_slot_chunk(s);
    bool moved = stage_has_moved(s);
    if (moved || !could_go_on(j, l)) {
        l->moves += moved;
        l->seen_lease = stage_slot_lease(s);
        l->seen_chunk = chunk;
        l->seen_done = stage_slot_done(s);
        l->seen_since = now;
        l->seen_cpu = UINT64_MAX;
        l->told_slow = false;
        return;
    }
    int64_t age = mono_since(now, l->seen_since);
    tell_slow(j, s, age);
    int64_t most = step_time(j, l->kind == LEASE_CHUNKS && chunk != SLOT_FINISH);
    if (most != 0 && age > most) {
        stage_doom(s, PWC__CODE__CODE_TIMEOUT, "its time is up");
        return;
    }
    watch_stall(j, s, now, age);
}

/* A process that SIGKILL does not end waits in the kernel for something that may never come. Its work goes on
 * elsewhere; it stays in the tables, and so counts against the pool, until its pidfd tells that it is gone.
 */
static void write_off(struct stage *s)
{
    log_warn("stage %lu (pid %d) survives SIGKILL: written off", (unsigned long)s->id, s->pid);
    flow_write_off(s);
}

/* Its results wait for who will not take them, or its input does not come. */
static bool holds_up(const struct job *j, const struct stage *s)
{
    return s != NULL && s->still.stands &&
           (s->lease.kind == LEASE_CONSUME || ledger_waiting(&j->ledger) == 0);
}

static void watch_parked(const struct user *u)
{
    struct job *j;
    TAILQ_FOREACH(j, &u->active, link)
    {
        if (j->state == PWC__JOB_STATE__JOB_RUNNING)
            job_park(j, j->workers_on == 0 && (holds_up(j, j->consumer) || holds_up(j, j->producer)));
    }
}

/* Who waits for pages waits, too: others would make that worse. And what is lent comes on top of the stages
 * that there may be (pool.c): so it is no more than these. */
static bool may_lend(const struct daemon *d)
{
    return !d->short_of_memory && d->seats_lent < config_stages_max(&d->cfg, d->seats);
}

/* A client may serve the file that its stages wait for, as slowly as it likes. */
static void watch_still(struct stage *s, struct mono now)
{
    if (s->lease.kind == LEASE_NONE || s->nahead > 0) /* what waits behind it is taken back first */
        return;
    bool waits;
    uint64_t cpu;
    if (!could_go_on(s->job, &s->lease))
        s->still = (struct still){0};
    else if (still_there(&s->still, s->lease.id, stage_slot_chunk(s), stage_slot_done(s), now.ns) &&
             procstat_cpu(s->pid, &cpu, &waits)) /* else all stays as it was last seen */
        still_waits(&s->still, cpu, waits, now.ns);
    dispatch_lend(s, s->still.stands && (s->lent || may_lend(s->d)));
}

/* A consumer maps what the workers have computed: that is theirs, and stays when it ends. 0 of whom nobody
 * can look at. */
static uint64_t memory_of(const struct stage *s)
{
    uint64_t held = 0;
    (void)pressure_of(s->pid, s->lease.kind != LEASE_CONSUME, &held);
    return held;
}

static void watch_memory(struct job *j, struct stage *s)
{
    if (j->memory != 0 && !cgroup_limits(s->cgroup, j->memory) && memory_of(s) > j->memory)
        stage_kill(s, PWC__CODE__CODE_OOM, "over its memory limit");
}

/* No limit of the kernel counts the threads of one process alone, and all stages share what the service may
 * have. */
static void watch_threads(struct stage *s)
{
    if (s->entered && s->state != STAGE_DYING && pressure_threads(s->pid) > STAGE_THREADS_MAX)
        stage_kill(s, PWC__CODE__CODE_RLIMIT, "over the limit of threads");
}

static void watch_stage(struct stage *s, struct mono now)
{
    small_face(s);
    tail_tick(s->tail);
    watch_threads(s);
    watch_still(s, now);
    struct job *j = s->job;
    if (s->state == STAGE_DYING && s->lease.kind != LEASE_NONE && stage_unkillable(s)) {
        write_off(s);
        return;
    }
    if (s->stays)
        stage_carry_out(s);
    if (j == NULL || s->lease.kind == LEASE_NONE || s->state != STAGE_BUSY)
        return;
    if (stage_has_moved(s))
        s->doom_code = PWC__CODE__CODE_OK; /* late, but over: it is another chunk that would be blamed */
    stage_carry_out(s);
    if (s->state == STAGE_DYING)
        return; /* what was seen last is what it is killed for */
    if (j->state != PWC__JOB_STATE__JOB_ENDING) {
        watch_memory(j, s);
        watch_chunk(j, s, now);
    } else if (mono_since(now, j->kill_at) > 0) {
        stage_kill(s, PWC__CODE__CODE_CANCELLED, "its job has ended");
    }
}

/* Stopped is certain: a worker that is needed back need not be waited for as long as one that is only
 * suspected. */
static bool stopped_too_long(const struct daemon *d, struct mono since, struct mono now)
{
    int64_t most = d->cfg.stall_timeout == 0 ? STOPPED_NS : MIN(STOPPED_NS, d->cfg.stall_timeout);
    return since.ns != 0 && mono_since(now, since) > most;
}

static void watch_stops(struct daemon *d, struct mono now)
{
    struct stage *s;
    TAILQ_FOREACH(s, &d->pool->stages, link)
    {
        if (stopped_too_long(d, s->stopped, now))
            stage_doom_stopped(s);
    }
    if (stopped_too_long(d, d->pool->nursery_stopped, now))
        nursery_kill(d->pool);
}

static bool some_stopped(const struct pool *p)
{
    bool some = p->nursery_stopped.ns != 0;
    const struct stage *s;
    TAILQ_FOREACH(s, &p->stages, link)
    {
        some |= s->stopped.ns != 0 || (s->stays && s->state != STAGE_DYING);
    }
    return some;
}

/* What was gathered since the last tick. */
static void tell_clients(const struct job_list *list)
{
    struct job *j;
    TAILQ_FOREACH(j, list, link)
    {
        if (j->state_due)
            events_state(j);
        else if (j->progress_due)
            events_progress(j);
    }
}

/* After a crowd of clients or a flood of jobs the heap is large and empty. */
static void give_memory_back(struct daemon *d)
{
    const struct user *u;
    TAILQ_FOREACH(u, &d->busy, busy_link)
    {
        if (u->jobs > 0)
            return;
    }
    if (d->trim_due)
        malloc_trim(0);
    d->trim_due = false;
}

/* One at a time: what it held is not given back at once. */
static void end_the_largest(struct daemon *d)
{
    struct stage *s, *largest = NULL;
    uint64_t most = pressure_worth_now();
    TAILQ_FOREACH(s, &d->pool->stages, link)
    {
        if (s->state == STAGE_DYING && s->kill_code == PWC__CODE__CODE_OOM && !s->written_off)
            return;
        uint64_t held = s->state == STAGE_BUSY && most > 0 ? memory_of(s) : 0;
        if (held > most) {
            most = held;
            largest = s;
        }
    }
    if (largest == NULL)
        return;
    log_warn("stage %lu (pid %d) holds %lu MiB, and the machine has hardly any left",
             (unsigned long)largest->id, largest->pid, (unsigned long)(most >> 20));
    stage_kill(largest, PWC__CODE__CODE_OOM, reason_machine);
}

/* Producers and consumers have no seat and may eat as much as anybody. */
static bool some_at_work(const struct pool *p)
{
    const struct stage *s;
    TAILQ_FOREACH(s, &p->stages, link)
    {
        if (s->lease.kind != LEASE_NONE)
            return true;
    }
    return false;
}

static void watch_pressure(struct daemon *d)
{
    bool was_short = d->short_of_memory;
    enum pressure level = some_at_work(d->pool) ? pressure_now() : PRESSURE_NONE;
    d->short_of_memory = level != PRESSURE_NONE;
    if (level == PRESSURE_LAST)
        end_the_largest(d);
    if (was_short != d->short_of_memory)
        daemon_touch(d);
}

/* Nothing happens, and by that more workers may be wanted (backlog.h). */
static void watch_starving(const struct stage *s)
{
    if (s->lease.kind == LEASE_CONSUME && s->job->assembly.sent == s->job->assembly.absorbed)
        daemon_touch(s->d);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct daemon *d = arg;
    struct mono now = clock_now();
    struct stage *s;
    watch_pressure(d);
    deaths_look_for_oom(d);
    if (d->retry_due || d->pool->held_back || dispatch_full_long(d))
        daemon_touch(d);
    d->retry_due = d->pool->held_back = false;
    lack_tick(d);
    TAILQ_FOREACH(s, &d->pool->stages, link)
    {
        watch_stage(s, now);
        watch_starving(s);
    }
    watch_stops(d, now);
    nursery_watch(d->pool);
    struct user *u;
    TAILQ_FOREACH(u, &d->busy, busy_link)
    {
        watch_parked(u);
        tell_clients(&u->active);
        tell_clients(&u->flying);
    }
    struct session *c;
    TAILQ_FOREACH(c, &d->sessions, link)
    {
        session_check_peer(c);
    }
    trace_flush(d);
    pool_balance(d->pool);
    give_memory_back(d);
    daemon_tell_status(d);
    tick_arm(d);
    daemon_turn(d);
}

void tick_init(struct daemon *d)
{
    d->tick_ev = evtimer_new(d->base, on_tick, d);
}

/* How long until the tables should be looked at again; 0: nothing is under way. */
static int64_t next_tick(const struct daemon *d)
{
    const struct user *u;
    TAILQ_FOREACH(u, &d->busy, busy_link)
    {
        if (u->jobs > 0)
            return TICK_NS;
    }
    if (some_stopped(d->pool) || d->pool->nursery_killed.ns != 0)
        return TICK_NS;
    uint32_t coming = pool_count(d->pool, STAGE_BOOTING, 0) + pool_count(d->pool, STAGE_SPAWNING, 0) +
                      pool_count(d->pool, STAGE_ENTERING, 0);
    bool describing = d->catalogue == NULL && d->pool->described;
    if (coming > 0 || describing)
        return NS_PER_S;
    int64_t idle = pool_idle_left(d->pool);
    return d->trim_due && (idle == 0 || idle > TRIM_NS) ? TRIM_NS : idle;
}

/* A tick that is due earlier stays: else a busy loop would put it off for ever. */
void tick_arm(struct daemon *d)
{
    int64_t wait = next_tick(d);
    struct mono at = mono_add(clock_now(), wait);
    if (wait == 0 || (evtimer_pending(d->tick_ev, NULL) && mono_since(d->tick_at, at) <= 0))
        return;
    struct timeval tv = {wait / NS_PER_S, wait % NS_PER_S / NS_PER_US};
    d->tick_at = at;
    evtimer_add(d->tick_ev, &tv);
}
