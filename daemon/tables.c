/* tables.c - see tables.h. */
#include "daemon/deaths.h"
#include "daemon/dispatch.h"
#include "daemon/job.h"
#include "daemon/pool.h"
#include "daemon/quarantine.h"
#include "daemon/session.h"
#include "daemon/small.h"
#include "daemon/tables.h"
#include "daemon/tick.h"
#include "daemon/watch.h"

#define RUNS_A_TURN 4 /* giving out work may change things once more: a stage that cannot be started */

void tables_init(struct daemon *d)
{
    TAILQ_INIT(&d->outboxes);
    TAILQ_INIT(&d->later);
    TAILQ_INIT(&d->sessions);
    TAILQ_INIT(&d->users);
    TAILQ_INIT(&d->busy);
    TAILQ_INIT(&d->by_id);
    TAILQ_INIT(&d->history);
    TAILQ_INIT(&d->deaths);
    TAILQ_INIT(&d->quarantine);
    tick_init(d);
    small_init(d);
}

void tables_turn(struct daemon *d)
{
    for (int i = 0; d->dirty && i < RUNS_A_TURN; i++) {
        d->dirty = false;
        dispatch_run(d);
    }
    outbox_flush(&d->outboxes);
    tick_arm(d);
    d->now.ns = 0;
}

static void end_job(struct job *j)
{
    job_end(j, PWC__JOB_STATE__JOB_CANCELLED, PWC__CODE__CODE_SHUTDOWN, "the daemon is shutting down");
}

/* To tell somebody of thousands in one turn would end his connection, and with it those of his that run. */
static bool can_be_told(const struct job *j)
{
    const struct watch *w;
    TAILQ_FOREACH(w, &j->watches, of_job)
    {
        if (!session_has_room(w->session))
            return false;
    }
    return true;
}

/* Those whose clients do not read hold up nobody else's. */
static void end_waiting(struct user *u, bool all)
{
    struct job *j, *next;
    for (int q = 0; q < QUEUES; q++)
        for (int i = 0; i < PRIORITIES; i++)
            for (j = TAILQ_FIRST(&u->waiting[q][i]); j != NULL; j = next) {
                next = TAILQ_NEXT(j, link);
                if (all || can_be_told(j))
                    end_job(j);
            }
}

void tables_end_jobs(struct daemon *d, bool waiting_only)
{
    struct user *u;
    struct job *j, *next;
    if (waiting_only && !d->room_made)
        return; /* all that could be told of were */
    d->room_made = false;
    TAILQ_FOREACH(u, &d->busy, busy_link)
    {
        end_waiting(u, !waiting_only);
        while ((j = TAILQ_FIRST(&u->flying)) != NULL && !waiting_only)
            job_land(j);
        for (j = TAILQ_FIRST(&u->active); j != NULL && !waiting_only; j = next) {
            next = TAILQ_NEXT(j, link);
            end_job(j);
        }
    }
}

bool tables_told(const struct daemon *d)
{
    const struct session *s;
    TAILQ_FOREACH(s, &d->sessions, link)
    {
        if (chan_queued(s->chan) > 0 || s->list.step != NULL)
            return false;
    }
    return true;
}

static void free_sessions(struct daemon *d)
{
    struct session *s;
    while ((s = TAILQ_FIRST(&d->sessions)) != NULL) {
        chan_flush(s->chan);
        session_free(s);
    }
}

static void free_history(struct daemon *d)
{
    struct job *j;
    while ((j = TAILQ_FIRST(&d->history)) != NULL) {
        job_forget(j);
    }
    BUG_ON(d->njobs > 0);
    jobs_free_spare(d);
    free(d->jobs);
    d->jobs = NULL;
}

static void free_users(struct daemon *d)
{
    struct user *u;
    while ((u = TAILQ_FIRST(&d->users)) != NULL) {
        struct domain *dom;
        BUG_ON(u->jobs > 0 || u->clients > 0 || u->nactive > 0 || u->nflying > 0 || u->running > 0);
        for (int i = 0; i < KEPTS; i++)
            BUG_ON(u->nkept[i] > 0);
        while ((dom = LIST_FIRST(&u->domains)) != NULL) {
            LIST_REMOVE(dom, link);
            free(dom);
        }
        accounts_free(&u->accounts);
        TAILQ_REMOVE(&d->users, u, link);
        free(u);
    }
}

void tables_free(struct daemon *d)
{
    free_sessions(d);
    quarantine_free_all(d);
    free_history(d);
    event_free(d->tick_ev);
    d->tick_ev = NULL;
    small_end(d);
    pool_free(d->pool);
    d->pool = NULL;
    deaths_free_all(d);
    free_users(d);
}
