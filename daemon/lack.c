/* lack.c - see lack.h. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/job.h"
#include "daemon/lack.h"
#include "daemon/pool.h"
#include "ipc/log.h"

#define LASTS_NS     NS_PER_S        /* ten ticks: if it had been so since, it would have been met again */
#define LACK_MOST_NS (10 * NS_PER_S) /* most lacks are over with the jobs that made them */

bool lack_passes(int r)
{
    return r == -EMFILE || r == -ENFILE || r == -ENOMEM || r == -ETOOMANYREFS;
}

static bool lasts(struct mono at, struct mono now)
{
    return at.ns != 0 && mono_since(now, at) < LASTS_NS;
}

void lack_of(struct daemon *d, const char *what, int r)
{
    struct mono now = clock_now();
    if (!lasts(d->lack.at, now))
        log_warn("cannot make %s: %s; trying again", what, strerror(-r));
    d->lack.at = now;
    d->lack.what = what;
    d->lack.error = -r;
    d->retry_due = true; /* nothing else may happen that would bring us here again */
}

void lack_holds(struct job *j)
{
    struct mono now = clock_now();
    if (!lasts(j->lack_at, now)) {
        j->lack_since = now;
        j->progress_due |= j->workers_on == 0; /* its client hears what it waits for */
    }
    j->lack_at = now;
}

void lack_or_end(struct job *j, const char *what, int r)
{
    if (lack_passes(r)) {
        lack_of(j->d, what, r);
        lack_holds(j);
        return;
    }
    job_end(j, PWC__JOB_STATE__JOB_FAILED, PWC__CODE__CODE_NO_MEMORY, "pwcd cannot make %s: %s%s", what,
            strerror(-r), r == -EFBIG ? ": LimitFSIZE= of the service, or ulimit -f, is less" : "");
}

void lack_over(struct job *j)
{
    j->lack_at = (struct mono){0};
}

bool lack_holds_now(const struct job *j)
{
    return lasts(j->lack_at, clock_now());
}

bool lack_of_memory(const struct daemon *d)
{
    return d->lack.error == ENOMEM;
}

bool lack_now(const struct daemon *d, char text[LACK_TEXT])
{
    if (!lasts(d->lack.at, clock_now()))
        return false;
    snprintf(text, LACK_TEXT, "pwcd cannot make %s: %s", d->lack.what, strerror(d->lack.error));
    return true;
}

/* A consumer that has nothing to absorb only waits, and so does a producer whose window nobody empties. */
static bool goes_on(const struct job *j)
{
    return j->workers_on > 0 || (j->producer != NULL && !j->windowed) ||
           (j->consumer != NULL && j->assembly.sent > j->assembly.absorbed);
}

/* Idle stages of others hold descriptors, too, and each is only kept to save the start of another. One at a
 * tick: it takes a moment until what it held can be had. */
static void serve_jobs_of(struct user *u, const char *why, bool *ret_retired)
{
    struct job *j, *next;
    for (j = TAILQ_FIRST(&u->active); j != NULL; j = next) {
        next = TAILQ_NEXT(j, link);
        if (goes_on(j))
            j->lack_since = clock_now();
        else if (!lack_holds_now(j))
            continue;
        else if (mono_since(j->lack_at, j->lack_since) > LACK_MOST_NS)
            job_end(j, PWC__JOB_STATE__JOB_FAILED, PWC__CODE__CODE_NO_MEMORY, "%s", why);
        else if (!*ret_retired)
            *ret_retired = pool_retire_one(j->d->pool, j->domain);
    }
}

/* What arrived and was lost, however late the tick is. */
static void have_lost_again(struct user *u)
{
    struct job *j;
    TAILQ_FOREACH(j, &u->active, link)
    {
        job_want_lost(j);
        j->plan_lost = false;
    }
}

void lack_tick(struct daemon *d)
{
    char why[LACK_TEXT];
    bool retired = false, lacks = lack_now(d, why);
    struct user *u;
    TAILQ_FOREACH(u, &d->busy, busy_link)
    {
        have_lost_again(u);
        if (lacks)
            serve_jobs_of(u, why, &retired);
    }
}
