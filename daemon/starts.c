/* starts.c - see starts.h. */
#include <stdio.h>

#include "daemon/cgroup.h"
#include "daemon/flow.h"
#include "daemon/job.h"
#include "daemon/pool.h"
#include "daemon/starts.h"
#include "daemon/units.h"

#define SPARE_WELL_NS NS_PER_S /* a spare that lived so long can live: its program starts */

/* ---- accounts ---- */

static struct account *account_find(const struct user *u, uint32_t needs)
{
    struct account *a;
    LIST_FOREACH(a, &u->accounts, link)
    {
        if (a->needs == needs)
            return a;
    }
    return NULL;
}

static struct account *account_get(struct user *u, uint32_t needs)
{
    struct account *a = account_find(u, needs);
    if (a != NULL)
        return a;
    a = xcalloc(1, sizeof *a);
    a->needs = needs;
    LIST_INSERT_HEAD(&u->accounts, a, link);
    return a;
}

void accounts_free(struct account_list *list)
{
    struct account *a;
    while ((a = LIST_FIRST(list)) != NULL) {
        LIST_REMOVE(a, link);
        free(a);
    }
}

/* By whom it is charged or acquitted: NULL: by the pool, or its user may have left, and be forgotten. */
static struct account *account_of(const struct pool *p, const struct stage *s, bool make)
{
    struct user *u = s->domain == 0 ? NULL : user_find(p->d, s->uid);
    if (u == NULL)
        return NULL;
    return make ? account_get(u, s->needs) : account_find(u, s->needs);
}

/* ---- deaths ---- */

const char *starts_how(const siginfo_t *info, char *text, size_t size)
{
    if (info == NULL)
        snprintf(text, size, "was never made");
    else if (info->si_code == CLD_EXITED)
        snprintf(text, size, "exited with status %d", info->si_status);
    else {
        char sig[UNITS_TEXT];
        signal_format(info->si_status, sig);
        snprintf(text, size, "was killed by %s", sig);
    }
    return text;
}

static void keep_last_words(struct pool *p, const struct stage *s, const siginfo_t *info)
{
    char text[64];
    if (p->d->cfg.require_sandbox && s->missing[0] != '\0')
        snprintf(p->last_words, sizeof p->last_words,
                 "the sandbox lacks %.100s, which require_sandbox forbids", s->missing);
    else if (s->describing && s->kill_code == PWC__CODE__CODE_PROTOCOL)
        snprintf(p->last_words, sizeof p->last_words, "pwc-stage describes its ops wrongly: %s",
                 s->kill_reason);
    else if (s->state == STAGE_DYING && s->kill_code != PWC__CODE__CODE_OK)
        snprintf(p->last_words, sizeof p->last_words, "pwc-stage was ended: %s", s->kill_reason);
    else
        snprintf(p->last_words, sizeof p->last_words, "pwc-stage %s before it was ready",
                 starts_how(info, text, sizeof text));
}

/* Before it was ready. A spare that was well for a while died of something else. */
static bool died_early(const struct stage *s)
{
    bool was_well = s->state == STAGE_SPARE && mono_since(clock_now(), s->since) > SPARE_WELL_NS;
    return s->describing || (!s->entered && !was_well);
}

/* Somebody stopped it, or sent SIGKILL; or anything else to one that is ready and only waits. */
static bool struck_from_outside(const struct stage *s, const siginfo_t *info)
{
    if (s->kill_code == PWC__CODE__CODE_STALLED)
        return true;
    if (info == NULL || info->si_code == CLD_EXITED || s->kill_code != PWC__CODE__CODE_OK ||
        cgroup_oom(s->cgroup) != OOM_NONE)
        return false;
    return info->si_status == SIGKILL || (s->state == STAGE_SPARE && !s->describing);
}

/* We killed it, for nothing that it did. */
static bool ended_by_us(const struct stage *s)
{
    return s->kill_code != PWC__CODE__CODE_OK && s->kill_code != PWC__CODE__CODE_START &&
           s->kill_code != PWC__CODE__CODE_PROTOCOL && s->kill_code != PWC__CODE__CODE_STALLED;
}

/* Is it to blame? Not in an account of which one has died that it has not made. */
static void ask_nursery(struct pool *p, const struct stage *s, struct account *a, struct mono now)
{
    if (s->nursery == 0 && a != NULL)
        a->alike = true;
    if ((a == NULL || !a->alike) && nursery_blamed(p, s))
        restart_otherwise(a != NULL ? &a->restart : &p->restart, now);
}

static void died_before_ready(struct pool *p, const struct stage *s, const siginfo_t *info)
{
    enum restart_event why = struck_from_outside(s, info) ? RESTART_KILLED : RESTART_DIED_BEFORE_READY;
    struct mono now = clock_now();
    struct account *a = account_of(p, s, true);
    bool counted =
        (a != NULL || s->domain == 0) && restart_counts(a != NULL ? &a->restart : &p->restart, why, now);
    if (s->domain != 0 && s->needs == 0)
        restart_next(&p->entries, why, now);
    if (info != NULL)
        keep_last_words(p, s, info);
    p->unready++;
    if (s->domain == 0)
        p->untried = p->untried && s->nursery != 0;
    if (counted && info != NULL && !ended_by_us(s)) /* else there was no process, or it is not to blame */
        ask_nursery(p, s, a, now);
}

bool starts_lost(struct pool *p, const struct stage *s, const siginfo_t *info)
{
    if (died_early(s)) {
        died_before_ready(p, s, info);
        return true;
    }
    struct account *a = account_of(p, s, false);
    restart_next(&p->restart, RESTART_DIED_LATER, clock_now());
    if (a != NULL)
        restart_next(&a->restart, RESTART_DIED_LATER, clock_now());
    return false;
}

void starts_give_up(struct pool *p, const struct stage *s)
{
    const struct account *a = account_of(p, s, false);
    if (s->domain == 0 && pool_gives_up(p))
        flow_cannot_start(p->d, NULL, 0, p->last_words);
    else if (a != NULL && restart_gives_up(&a->restart, p->untried && !a->alike))
        flow_cannot_start(p->d, user_find(p->d, s->uid), s->needs, p->last_words);
}

/* ---- and successes ---- */

void starts_entered(struct pool *p, const struct stage *s)
{
    struct mono now = clock_now();
    struct account *a = account_of(p, s, false);
    restart_next(&p->restart, RESTART_READY, now);
    restart_next(&p->entries, RESTART_READY, now);
    if (a != NULL) {
        restart_next(&a->restart, RESTART_READY, now);
        a->alike = false;
    }
    nursery_acquitted(p, s);
    p->last_words[0] = '\0'; /* the next that fails may do so for another reason */
}

/* ---- the next ---- */

static bool one_is_tried(const struct pool *p, const struct job *j)
{
    const struct stage *s;
    TAILQ_FOREACH(s, &p->stages, link)
    {
        if (s->uid == j->user->uid && s->domain != 0 && s->needs == j->op->needs &&
            (s->state == STAGE_ENTERING || stage_failed_to_start(s)))
            return true;
    }
    return false;
}

bool starts_may_enter(struct pool *p, const struct job *j)
{
    const struct account *a = account_find(j->user, j->op->needs);
    if (a == NULL || a->restart.phase != RESTART_FAILING)
        return true;
    if (restart_wait(&a->restart, clock_now()) == 0 && !one_is_tried(p, j))
        return true;
    p->held_back = true;
    return false;
}

int64_t starts_wait(const struct job *j)
{
    struct mono now = clock_now();
    const struct account *a = account_find(j->user, j->op->needs);
    int64_t all = restart_wait(&j->d->pool->restart, now);
    return a == NULL ? all : MAX(all, restart_wait(&a->restart, now));
}

const char *starts_trouble(const struct pool *p)
{
    return pool_gives_up(p) || restart_gives_up(&p->entries, p->untried) ? p->last_words : NULL;
}
