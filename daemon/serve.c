/* serve.c - see dispatch.h: whose turn it is. Seats go to users, and to those on top who have long had none;
 * a user's jobs take turns. What a job does with its turn is in dispatch.c. */
#include "daemon/dispatch.h"
#include "daemon/solo.h"

#define FULL_NS NS_PER_S /* whoever has no seat bears that none comes free */

/* ---- users and their jobs ---- */

/* solo: of those only that have waited for their domain to rest. */
static bool serve_some(struct user *u, bool solo)
{
    struct job *j;
    TAILQ_FOREACH(j, &u->active, link)
    {
        bool started = (!solo || solo_is_next(j)) && !solo_holds_back(j) && dispatch_start_one(j);
        if (!j->active)
            return true; /* it ended instead: the list is another one now */
        if (!started)
            continue;
        if (j->flying)
            return true;
        TAILQ_REMOVE(&u->active, j, link);
        TAILQ_INSERT_TAIL(&u->active, j, link);
        return true;
    }
    return false;
}

static bool serve_user(struct user *u, bool some_solo)
{
    return (some_solo && serve_some(u, true)) || serve_some(u, false);
}

static bool before(const struct user *a, const struct user *b)
{
    return a->running != b->running ? a->running < b->running : a->used_ns < b->used_ns;
}

/* Few have moved since the last turn, and who has just come stands last: one walk, and a few steps back. */
static void sort_users(struct daemon *d)
{
    struct user *u, *next, *p;
    for (u = TAILQ_FIRST(&d->busy); u != NULL; u = next) {
        next = TAILQ_NEXT(u, busy_link);
        p = TAILQ_PREV(u, user_list, busy_link);
        if (p == NULL || !before(u, p))
            continue;
        do
            p = TAILQ_PREV(p, user_list, busy_link);
        while (p != NULL && before(u, p));
        TAILQ_REMOVE(&d->busy, u, busy_link);
        if (p != NULL)
            TAILQ_INSERT_AFTER(&d->busy, p, u, busy_link);
        else
            TAILQ_INSERT_HEAD(&d->busy, u, busy_link);
    }
}

/* Stands behind all that come before him now, or come as he does. Returns who stands where he stood. */
static struct user *step_back(struct daemon *d, struct user *u)
{
    struct user *next = TAILQ_NEXT(u, busy_link), *x = next;
    if (next == NULL || before(u, next))
        return u;
    TAILQ_REMOVE(&d->busy, u, busy_link);
    while (x != NULL && !before(u, x))
        x = TAILQ_NEXT(x, busy_link);
    if (x != NULL)
        TAILQ_INSERT_BEFORE(x, u, busy_link);
    else
        TAILQ_INSERT_TAIL(&d->busy, u, busy_link);
    return next;
}

static bool seat_is_free(const struct daemon *d)
{
    return d->seats_busy < (d->short_of_memory ? 1 : d->seats);
}

/* ---- seats that are owed ---- */

bool dispatch_full_long(struct daemon *d)
{
    return d->full_since.ns != 0 && mono_since(daemon_now(d), d->full_since) > FULL_NS;
}

/* A chunk may compute for hours, and nothing takes its seat away. Where none comes free, each user who has
 * none may have one on top, for as long as that lasts: then more compute than there are CPUs, and the kernel
 * shares these out. Nobody gets a second one so. */
static void count_owed(struct daemon *d)
{
    const struct user *u = TAILQ_FIRST(&d->busy);
    d->seats_owed = 0;
    if (d->short_of_memory || !dispatch_full_long(d))
        return;
    for (; u != NULL && u->running == 0; u = TAILQ_NEXT(u, busy_link))
        d->seats_owed += u->nactive > 0;
    d->seats_owed = MIN(d->seats_owed + d->seats_busy - d->seats, config_stages_max(&d->cfg, d->seats));
}

static bool may_sit(const struct daemon *d, const struct user *u)
{
    return seat_is_free(d) ||
           (d->seats_owed > 0 && u->running == 0 && d->seats_busy < d->seats + d->seats_owed);
}

/* Who has nothing to start is passed over: what the others start gives him nothing that he lacks. */
static void serve_users(struct daemon *d)
{
    struct user *u = TAILQ_FIRST(&d->busy);
    while (u != NULL && may_sit(d, u))
        u = u->nactive > 0 && serve_user(u, d->some_solo) ? step_back(d, u) : TAILQ_NEXT(u, busy_link);
}

void dispatch_serve(struct daemon *d)
{
    sort_users(d);
    count_owed(d);
    serve_users(d);
    if (seat_is_free(d) && dispatch_steal(d))
        serve_users(d);
}
