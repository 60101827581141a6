/* tick.c - see tick.h. A chunk's age is read off its slot: no message and no clock read in the stage is needed. */
#include <stdio.h>

#include "daemon/events.h"
#include "daemon/flow.h"
#include "daemon/job.h"
#include "daemon/pool.h"
#include "daemon/session.h"
#include "daemon/tick.h"
#include "ipc/log.h"

#define TICK_MS      100
#define IDLE_TICK_S  5
#define STALL_NS     (30 * NS_PER_S) /* neither progress nor CPU time for so long: stopped or stuck */
#define STALL_MEDIAN 10.0            /* ... and for so many times what a chunk takes here */

/* CPU time of a process so far, in clock ticks; 0 when it cannot be read. */
static uint64_t cpu_ticks(pid_t pid)
{
    char path[40], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *f = fopen(path, "re");
    size_t n = f != NULL ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f != NULL)
        fclose(f);
    text[n] = '\0';
    const char *after = NULL;
    for (const char *p = text; *p != '\0'; p++)
        if (*p == ')')
            after = p;
    unsigned long user = 0, sys = 0;
    if (after == NULL || sscanf(after, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &sys) != 2)
        return 0;
    return user + sys;
}

static void watch_chunk(struct job *j, struct stage *s, struct mono now)
{
    struct lease *l = &s->lease;
    uint64_t chunk = stage_slot_chunk(s), done = stage_slot_done(s);
    if (chunk != l->seen_chunk || done != l->seen_done) {
        l->seen_chunk = chunk;
        l->seen_done = done;
        l->seen_since = now;
        l->seen_cpu = 0;
        return;
    }
    int64_t age = mono_since(now, l->seen_since);
    if (l->kind == LEASE_CHUNKS && j->chunk_timeout_ns != 0 && age > (int64_t)j->chunk_timeout_ns) {
        stage_kill(s, PWC__CODE__CODE_TIMEOUT, "its time is up");
        return;
    }
    bool long_ago = age > STALL_NS && (double)age > STALL_MEDIAN * j->pace.ns_per_chunk;
    if (!long_ago || (l->kind != LEASE_CHUNKS && l->kind != LEASE_PLAN))
        return;
    uint64_t cpu = cpu_ticks(s->pid);
    if (cpu != l->seen_cpu) {
        l->seen_cpu = cpu; /* it computes: long is not stuck */
        l->stall_since = now;
    } else if (mono_since(now, l->stall_since) > STALL_NS) {
        stage_kill(s, PWC__CODE__CODE_STALLED, "neither progress nor CPU time");
    }
}

static void watch_stage(struct stage *s, struct mono now)
{
    struct job *j = s->job;
    if (j == NULL || s->lease.kind == LEASE_NONE || s->state != STAGE_BUSY)
        return;
    if (j->state != PWC__JOB_STATE__JOB_ENDING)
        watch_chunk(j, s, now);
    else if (mono_since(now, j->kill_at) > 0)
        stage_kill(s, PWC__CODE__CODE_CANCELLED, "its job has ended");
}

static void watch_job(struct job *j, struct mono now)
{
    if (j->progress_due)
        events_progress(j);
    if (j->job_timeout_ns != 0 && mono_since(now, j->born) > (int64_t)j->job_timeout_ns)
        job_end(j, PWC__JOB_STATE__JOB_FAILED, PWC__CODE__CODE_TIMEOUT, "the job's time is up");
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct daemon *d = arg;
    struct mono now = clock_now();
    struct stage *s;
    TAILQ_FOREACH(s, &d->pool->stages, link)
    {
        watch_stage(s, now);
    }
    struct user *u;
    struct job *j, *next;
    TAILQ_FOREACH(u, &d->users, link)
    {
        for (j = TAILQ_FIRST(&u->active); j != NULL; j = next) {
            next = TAILQ_NEXT(j, link);
            watch_job(j, now);
        }
    }
    struct session *c;
    TAILQ_FOREACH(c, &d->sessions, link)
    {
        session_check_peer(c);
    }
    pool_balance(d->pool);
    tick_arm(d);
    daemon_turn(d);
}

void tick_init(struct daemon *d)
{
    d->tick_ev = evtimer_new(d->base, on_tick, d);
}

void tick_arm(struct daemon *d)
{
    if (evtimer_pending(d->tick_ev, NULL))
        return;
    bool active = false;
    const struct user *u;
    TAILQ_FOREACH(u, &d->users, link)
    {
        active |= u->jobs > 0;
    }
    bool coming = pool_count(d->pool, STAGE_BOOTING, 0) + pool_count(d->pool, STAGE_SPAWNING, 0) +
                      pool_count(d->pool, STAGE_ENTERING, 0) > 0;
    struct timeval tv = {IDLE_TICK_S, 0};
    if (active)
        tv = (struct timeval){0, TICK_MS * 1000};
    else if (coming)
        tv = (struct timeval){1, 0};
    else if (pool_count(d->pool, STAGE_IDLE, 0) == 0)
        return;
    evtimer_add(d->tick_ev, &tv);
}
