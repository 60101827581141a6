/* small.c - see small.h. */
#include <string.h>

#include "daemon/dispatch.h"
#include "daemon/pool.h"
#include "daemon/small.h"
#include "daemon/solo.h"

#define QUICK_NS 100000.0  /* an op that takes longer gains nothing: its messages cost less than a tenth */
#define AHEAD_NS 1000000.0 /* so much work at most waits in a stage */
#define LEAST_NS 4000.0    /* what even an empty job costs a stage */
#define PATIENCE (5 * NS_PER_MS) /* without a report, and no longer does anything wait behind the stage */
#define QUANTUM  (5 * NS_PER_MS) /* then the seat is free again for whoever's turn it is */

bool job_is_small(const struct job *j)
{
    return j->ledger.total == 1 && j->planned && !j->batch && j->items == 0 && j->nroles == 0 &&
           j->absorb == PWC__ABSORB__ABSORB_NONE && j->isolation == PWC__ISOLATION__ISOLATION_USER &&
           j->trace_most == 0; /* whose time is looked at has it to itself */
}

/* ---- how quick is an op? ---- */

static struct op_pace *pace_of(struct daemon *d, const Pwc__OpInfo *op)
{
    return &d->op_pace[((uintptr_t)op >> 5) % OP_PACES];
}

void small_took(struct daemon *d, const Pwc__OpInfo *op, uint64_t ns)
{
    struct op_pace *p = pace_of(d, op);
    double now = (double)ns;
    if (p->op != op)
        *p = (struct op_pace){op, now};
    else /* slower at once, faster by and by */
        p->ns += (now > p->ns ? 0.7 : 0.3) * (now - p->ns);
}

/* How many jobs of this op may be ahead in one stage. */
static unsigned depth(struct daemon *d, const Pwc__OpInfo *op)
{
    const struct op_pace *p = pace_of(d, op);
    if (p->op != op || p->ns > QUICK_NS)
        return 0;
    return MIN((unsigned)(AHEAD_NS / MAX(p->ns, LEAST_NS)), STAGE_AHEAD);
}

bool small_is_quick(const struct job *j)
{
    return j->small && depth(j->d, j->op) > 0;
}

/* ---- a lease ---- */

static void send_lease(struct job *j, struct stage *s, uint64_t lease)
{
    Stage__Small m = STAGE__SMALL__INIT;
    m.lease = lease;
    m.job = j->id;
    m.attempt = ledger_attempt(&j->ledger, 0);
    m.op = j->op->name;
    m.n_params = j->params->n;
    m.params = j->params->v;
    j->leases++;
    stage_send(s, PWC_MSG_SMALL, &m.base);
}

static void take_chunk(struct job *j)
{
    uint64_t first;
    BUG_ON(ledger_take(&j->ledger, 1, &first) != 1);
    job_fly(j);
    j->distinct_workers = 1;
    if (j->state != PWC__JOB_STATE__JOB_RUNNING) {
        j->state = PWC__JOB_STATE__JOB_RUNNING;
        j->state_due = true; /* most are over before anybody could read that they run */
    }
}

static void own_lease(struct stage *s, uint64_t id, const struct job *j)
{
    s->lease.id = id;
    s->lease.first = 0;
    s->lease.end = s->lease.given_end = 1;
    s->lease.small = true;
    s->lease.attempt = ledger_attempt(&j->ledger, 0);
}

void small_start(struct job *j, struct stage *s)
{
    take_chunk(j);
    dispatch_begin(j, s, LEASE_CHUNKS, true);
    s->seat_since = s->lease.since;
    own_lease(s, s->lease.id, j);
    send_lease(j, s, s->lease.id);
}

/* ---- ahead ---- */

/* A stage has one limit of memory, that of the job whose lease is its own. */
static bool may_follow(const struct job *j, const struct stage *s)
{
    return (j->state == PWC__JOB_STATE__JOB_QUEUED || j->state == PWC__JOB_STATE__JOB_RUNNING) && j->small &&
           !j->alone && j->ledger.ncharges == 0 && ledger_waiting(&j->ledger) == 1 &&
           j->domain == s->domain && j->memory == s->job->memory && s->nahead < depth(j->d, j->op);
}

/* Active ones first, then the one whose turn it is. */
static struct job *follower(const struct stage *s)
{
    struct user *u = s->job->user;
    struct job *j;
    TAILQ_FOREACH(j, &u->active, link)
    {
        if (may_follow(j, s))
            return j;
    }
    for (int i = 0; !s->d->stopping && u->jobs > u->nactive && i < PRIORITIES; i++) {
        if ((j = job_next(u, i)) == NULL)
            continue;
        if (!may_follow(j, s))
            return NULL;
        job_activate(j);
        return j;
    }
    return NULL;
}

/* When its user can have no further seat: those that he has lent are free, but not for him. */
static bool takes_more(const struct stage *s, struct mono now)
{
    return s->state == STAGE_BUSY && s->lease.small && s->job->state == PWC__JOB_STATE__JOB_RUNNING &&
           MAX(s->d->seats_busy, s->job->user->running) >= s->d->seats && s->nahead < STAGE_AHEAD &&
           !s->job->alone && s->job->ledger.ncharges == 0 && mono_since(now, s->lease.since) < PATIENCE / 5 &&
           mono_since(now, s->seat_since) < QUANTUM && depth(s->d, s->job->op) > s->nahead &&
           !solo_holds_back(s->job);
}

static bool add_one(struct stage *s, struct mono now)
{
    struct job *j = takes_more(s, now) ? follower(s) : NULL;
    if (j == NULL)
        return false;
    take_chunk(j);
    j->stages_on++;
    if (j->began.ns == 0)
        j->began = now;
    s->ahead[s->nahead++] = (struct ahead){.job = j, .lease = ++s->d->next_lease};
    s->d->totals.ahead++;
    send_lease(j, s, s->d->next_lease);
    return true;
}

void small_arm(struct daemon *d)
{
    struct timeval tv = {0, PATIENCE / NS_PER_US};
    if (!evtimer_pending(d->ahead_ev, NULL))
        evtimer_add(d->ahead_ev, &tv);
}

/* In turn, so that all have about as many. */
void small_ahead(struct daemon *d)
{
    if (d->short_of_memory || d->seats_busy + d->seats_lent < d->seats)
        return;
    struct mono now = daemon_now(d);
    bool more = true, some = false;
    while (more) {
        struct stage *s;
        more = false;
        TAILQ_FOREACH(s, &d->pool->stages, link)
        {
            more |= add_one(s, now);
        }
        some |= more;
    }
    if (some)
        small_arm(d);
}

/* ---- which one is it at? ---- */

static void swap(struct stage *s, unsigned i)
{
    struct ahead *a = &s->ahead[i], was = {.job = s->job, .lease = s->lease.id};
    struct job *j = a->job;
    was.job->workers_on--;
    j->workers_on++;
    s->job = j;
    own_lease(s, a->lease, j);
    *a = was;
}

bool small_face_lease(struct stage *s, uint64_t lease)
{
    if (s->lease.id == lease)
        return true;
    for (unsigned i = 0; i < s->nahead; i++)
        if (s->ahead[i].lease == lease) {
            swap(s, i);
            return true;
        }
    return false;
}

void small_face(struct stage *s)
{
    if (s->nahead > 0)
        (void)small_face_lease(s, stage_slot_lease(s));
}

/* ---- the end ---- */

bool small_next(struct stage *s)
{
    if (s->nahead == 0)
        return false;
    struct ahead a = s->ahead[0];
    memmove(s->ahead, s->ahead + 1, --s->nahead * sizeof a);
    a.job->stages_on--; /* dispatch_begin counts it again */
    dispatch_begin(a.job, s, LEASE_CHUNKS, true);
    own_lease(s, a.lease, a.job);
    return true;
}

/* The store before the look at the slot, as the stage stores its slot before it looks here: one of the two
 * sees the other, and nothing is begun for nobody. */
void small_take_back(struct stage *s)
{
    if (s->nahead == 0)
        return;
    bool believed = s->kill_code != PWC__CODE__CODE_PROTOCOL;
    atomic_store(&s->control->revoke, s->d->next_lease + 1);
    if (believed)
        small_face(s);
    for (; s->nahead > 0; s->nahead--) {
        struct job *j = s->ahead[s->nahead - 1].job;
        ledger_give_back(&j->ledger, 0, 1);
        j->stages_on--;
        j->alone |= !believed;
        s->d->totals.recalled++;
        job_land(j);
    }
    s->lease.shared = !believed;
    daemon_touch(s->d);
}

static void on_patience(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct daemon *d = arg;
    struct mono now = clock_now();
    struct stage *s;
    bool some = false;
    outbox_flush(&d->later);
    TAILQ_FOREACH(s, &d->pool->stages, link)
    {
        if (s->nahead > 0 && s->state == STAGE_BUSY && mono_since(now, s->lease.since) > PATIENCE)
            small_take_back(s);
        some |= s->nahead > 0;
    }
    if (some)
        small_arm(d);
    daemon_turn(d);
}

void small_init(struct daemon *d)
{
    d->ahead_ev = evtimer_new(d->base, on_patience, d);
}

void small_end(struct daemon *d)
{
    if (d->ahead_ev != NULL)
        event_free(d->ahead_ev);
    d->ahead_ev = NULL;
}
