/*
 * users.c - whose jobs they are, and whose turn it is: users and their domains. Both are numbers that clients
 * bring along, so what nobody uses is forgotten; looked for only when there are twice as many as were left
 * the last time.
 */
#include <stdio.h>
#include <string.h>

#include "daemon/job.h"
#include "daemon/pool.h"
#include "daemon/roles.h"

#define DOMAINS_KEPT 64u /* labels of a user that are remembered though nobody uses them */
#define USERS_KEPT   64u /* users, likewise */

/* ---- domains ---- */

uint64_t job_new_domain(struct daemon *d)
{
    return ++d->next_domain;
}

static void forget_domains(struct daemon *d, struct user *u)
{
    struct domain *dom, *next;
    for (dom = LIST_FIRST(&u->domains); dom != NULL; dom = next) {
        next = LIST_NEXT(dom, link);
        if (dom->jobs > 0 || pool_has_domain(d->pool, dom->id))
            continue;
        LIST_REMOVE(dom, link);
        free(dom);
        u->ndomains--;
    }
    u->sweep_at = MAX(2 * u->ndomains, DOMAINS_KEPT);
}

struct domain *user_domain(struct daemon *d, struct user *u, const char *label, uint32_t needs)
{
    struct domain *dom;
    LIST_FOREACH(dom, &u->domains, link)
    {
        if (dom->needs == needs && strcmp(dom->label, label) == 0)
            return dom;
    }
    if (u->ndomains >= MAX(u->sweep_at, DOMAINS_KEPT))
        forget_domains(d, u);
    dom = xcalloc(1, sizeof *dom);
    dom->id = job_new_domain(d);
    dom->needs = needs;
    snprintf(dom->label, sizeof dom->label, "%s", label);
    LIST_INSERT_HEAD(&u->domains, dom, link);
    u->ndomains++;
    return dom;
}

/* ---- users ---- */

static void forget_users(struct daemon *d)
{
    struct user *u, *next;
    for (u = TAILQ_FIRST(&d->users); u != NULL; u = next) {
        next = TAILQ_NEXT(u, link);
        if (u->clients > 0 || u->known > 0 || u->busy || u->nkept[KEPT_DEATHS] > 0)
            continue;
        forget_domains(d, u);
        if (u->ndomains > 0)
            continue;
        TAILQ_REMOVE(&d->users, u, link);
        accounts_free(&u->accounts);
        free(u);
        d->nusers--;
    }
    d->users_sweep_at = MAX(2 * d->nusers, USERS_KEPT);
}

static struct user *user_new(struct daemon *d, uid_t uid)
{
    struct user *u = xcalloc(1, sizeof *u);
    u->uid = uid;
    for (int q = 0; q < QUEUES; q++)
        for (int i = 0; i < PRIORITIES; i++)
            TAILQ_INIT(&u->waiting[q][i]);
    TAILQ_INIT(&u->active);
    TAILQ_INIT(&u->flying);
    TAILQ_INIT(&u->by_id);
    for (int i = 0; i < KEPTS; i++)
        TAILQ_INIT(&u->kept[i]);
    TAILQ_INSERT_TAIL(&d->users, u, link);
    d->nusers++;
    return u;
}

struct user *user_find(const struct daemon *d, uid_t uid)
{
    struct user *u;
    TAILQ_FOREACH(u, &d->users, link)
    {
        if (u->uid == uid)
            break;
    }
    return u;
}

struct user *user_get(struct daemon *d, uid_t uid)
{
    struct user *u = user_find(d, uid);
    if (u != NULL)
        return u;
    if (d->nusers >= MAX(d->users_sweep_at, USERS_KEPT))
        forget_users(d);
    return user_new(d, uid);
}

/* ---- what is remembered ---- */

void user_keeps(struct user *u, enum kept kind, struct keep *k, void *what)
{
    k->user = u;
    places_add(&u->kept[kind], &k->place, what);
    u->nkept[kind]++;
}

void user_keeps_no_more(enum kept kind, struct keep *k)
{
    TAILQ_REMOVE(&k->user->kept[kind], &k->place, link);
    k->user->nkept[kind]--;
}

void *user_kept_too_long(const struct daemon *d, enum kept kind, const struct user *adds, uint32_t total)
{
    const struct user *u, *most = adds;
    bool half = 2 * adds->nkept[kind] > total; /* mostly: then nobody else has more */
    for (u = half ? NULL : TAILQ_FIRST(&d->users); u != NULL; u = TAILQ_NEXT(u, link))
        if (u->nkept[kind] > most->nkept[kind] || (most == adds && u->nkept[kind] == adds->nkept[kind]))
            most = u;
    return places_first(&most->kept[kind]);
}

/* ---- who has work ---- */

void user_is_busy(struct daemon *d, struct user *u)
{
    if (u->busy)
        return;
    TAILQ_INSERT_TAIL(&d->busy, u, busy_link);
    u->busy = true;
}

void user_rests(struct daemon *d, struct user *u)
{
    TAILQ_REMOVE(&d->busy, u, busy_link);
    u->busy = false;
}

/* ---- turns ---- */

void job_park(struct job *j, bool parked)
{
    if (j->parked == parked)
        return;
    j->parked = parked;
    j->user->nparked += parked ? 1u : -1u;
    daemon_touch(j->d);
}

/* With as many under way as may begin it would wait all the same, and hold descriptors meanwhile. */
static bool may_begin_too(const struct job *first)
{
    uint32_t n = 0;
    const struct job *j;
    TAILQ_FOREACH(j, &first->user->active, link)
    {
        n += roles_needed(j) > 0;
    }
    return n < jobs_turns(first->d);
}

struct job *job_next(const struct user *u, int priority)
{
    struct job *plain = TAILQ_FIRST(&u->waiting[QUEUE_PLAIN][priority]);
    struct job *roles = TAILQ_FIRST(&u->waiting[QUEUE_ROLES][priority]);
    if (roles == NULL || (plain != NULL && plain->id < roles->id) || !may_begin_too(roles))
        return plain;
    return roles;
}

static void advance_user(struct user *u, uint32_t most)
{
    bool some = u->jobs > u->nactive; /* mostly none waits, and there are many queues */
    for (int i = 0; some && i < PRIORITIES && u->nactive - u->nflying < most; i++) {
        struct job *j;
        while (u->nactive - u->nflying < most && (j = job_next(u, i)) != NULL)
            job_activate(j);
    }
}

void jobs_advance(struct daemon *d)
{
    struct user *u, *next;
    for (u = TAILQ_FIRST(&d->busy); u != NULL; u = next) {
        next = TAILQ_NEXT(u, busy_link);
        if (!d->stopping) /* what waits is refused */
            advance_user(u, jobs_turns(d) + u->nparked);
        if (u->jobs == 0)
            user_rests(d, u);
    }
}
