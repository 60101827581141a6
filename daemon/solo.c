/* solo.c - see solo.h. Which chunks they are is the ledger's to know. */
#include "daemon/deaths.h"
#include "daemon/dispatch.h"
#include "daemon/pool.h"
#include "daemon/solo.h"

void solo_chunk(struct job *j, uint64_t chunk, const struct death *x)
{
    ledger_set_solo(&j->ledger, chunk, deaths_crowded_out(x));
    j->d->some_solo |= j->ledger.solos > 0;
}

void solo_role(struct job *j, enum lease_kind role, const struct death *x)
{
    j->role_solo[role] = deaths_crowded_out(x);
    j->d->some_solo |= j->role_solo[role];
}

bool solo_runs(const struct stage *s)
{
    const struct lease *l = &s->lease;
    if (!s->seat)
        return false;
    if (l->kind == LEASE_CHUNKS)
        return l->end - l->first == 1 && ledger_is_solo(&s->job->ledger, l->first);
    return s->job->role_solo[l->kind];
}

bool solo_is_next(const struct job *j)
{
    if (!j->planned)
        return j->planner == NULL && j->role_solo[LEASE_PLAN];
    if (ledger_waiting(&j->ledger) == 0)
        return j->role_solo[LEASE_FINISH];
    /* Either may be: which of them the stage that is found has room for is not known yet. */
    return ledger_is_solo(&j->ledger, ledger_lowest(&j->ledger)) ||
           ledger_is_solo(&j->ledger, ledger_charged(&j->ledger));
}

/* Else those that are held back for it would wait for what does not come. */
static bool could_begin(const struct job *j)
{
    return j->state != PWC__JOB_STATE__JOB_ENDING && !j->parked && !j->halting && dispatch_may_have_worker(j);
}

static bool one_waits(const struct job *j)
{
    const struct job *x;
    TAILQ_FOREACH(x, &j->user->active, link)
    {
        if (x->domain == j->domain && solo_is_next(x) && could_begin(x))
            return true;
    }
    return false;
}

bool solo_holds_back(const struct job *j)
{
    bool computes = false;
    const struct stage *s;
    if (!j->d->some_solo)
        return false;
    TAILQ_FOREACH(s, &j->d->pool->stages, link)
    {
        if (!s->seat || s->lent || s->domain != j->domain)
            continue;
        if (solo_runs(s))
            return true;
        computes = true;
    }
    return computes && (solo_is_next(j) || one_waits(j));
}

static bool has_some(const struct job *j)
{
    return j->ledger.solos > 0 || (j->role_solo[LEASE_PLAN] && !j->planned) || j->role_solo[LEASE_FINISH];
}

void solo_look(struct daemon *d)
{
    const struct user *u;
    const struct job *j;
    bool some = false;
    if (!d->some_solo)
        return;
    TAILQ_FOREACH(u, &d->busy, busy_link)
    {
        TAILQ_FOREACH(j, &u->active, link)
        {
            some |= has_some(j);
        }
        TAILQ_FOREACH(j, &u->flying, link)
        {
            some |= has_some(j);
        }
    }
    d->some_solo = some;
}
