/*
 * check.c - what must hold whenever the supervisor has nothing left to do at a moment, and at the end.
 *
 * The supervisor's counters are held against its lists, its lists against each other, and both against what
 * the simulated stages know to have happened:
 *   - each job is in order (check_job.c);
 *   - every open descriptor has an owner in the tables;
 *   - only chunks that somebody was at when it ended badly are held responsible, and no more often than that;
 *   - a chunk that was charged goes before those that were lost with it;
 *   - nothing waits for a seat that is free, or for room that later results hold, and nothing for ever
 *     (waits.c);
 *   - what one user's jobs hold of memory is bounded;
 *   - small jobs go ahead to stages when their user can have no further seat.
 */
#include <string.h>

#include "daemon/deaths.h"
#include "daemon/dispatch.h"
#include "daemon/lack.h"
#include "daemon/ledger.h"
#include "daemon/roles.h"
#include "daemon/session.h"
#include "daemon/small.h"
#include "daemon/solo.h"
#include "tests/sim/sim.h"

#define RETRY_NS (150 * NS_PER_MS) /* a call that failed is made again at a tick */

/* What others may get while a user with work and a stage for it has no seat. */
#define STARVED_LEASES 6u
#define STARVED_NS     ((uint64_t)(200 * NS_PER_MS))
#define LEASE_NS       (30 * NS_PER_MS) /* what one of theirs counts at most: some are stopped, or hang */
#define LENT_NS        (600 * NS_PER_MS)
#define OWED_NS        (4 * NS_PER_S) /* while all seats are held; then one comes on top, if processes start */
#define DEBT_NS        (20 * NS_PER_S) /* no lease takes longer here */

#define USERS_MOST 70u /* that are remembered, though those who were here are many more */

static struct {
    uint64_t next_lease;
    uint64_t next_stage; /* and whether the pool rested, after the step before */
    bool rested;
    struct passed {
        uid_t uid;
        bool waits;
        unsigned leases;
        uint64_t others, last, allowed;
        int64_t since; /* that others have begun anything, or he had no work, or what he needs was lacking */
    } passed[8];
    int64_t full_since; /* that a seat came free */
    uint64_t newest;    /* lease, at the step before, and whether memory was short then */
    bool was_short;
    unsigned held; /* seats that were taken before that, and still are */
    struct spec *by_job[SIM_JOBS_MAX * 4];
} seen;

uint64_t __real_ledger_take_from(struct ledger *l, uint64_t first, uint64_t most);
uint64_t __wrap_ledger_take_from(struct ledger *l, uint64_t first, uint64_t most);
bool __real_ledger_charge(struct ledger *l, uint64_t chunk, enum cause cause, const struct budget *budget);
bool __wrap_ledger_charge(struct ledger *l, uint64_t chunk, enum cause cause, const struct budget *budget);
bool __real_ledger_report(struct ledger *l, uint64_t from, uint64_t to);
bool __wrap_ledger_report(struct ledger *l, uint64_t from, uint64_t to);
void __real_ledger_recall(struct ledger *l, uint64_t chunk, uint32_t attempts);
void __wrap_ledger_recall(struct ledger *l, uint64_t chunk, uint32_t attempts);
struct death *__real_deaths_record(struct stage *s, const siginfo_t *info);
struct death *__wrap_deaths_record(struct stage *s, const siginfo_t *info);
struct arena *__real_arena_new(struct assembly *a, uint64_t id, int fd, uint64_t bytes);
struct arena *__wrap_arena_new(struct assembly *a, uint64_t id, int fd, uint64_t bytes);
void __real_ledger_reject(struct ledger *l, uint64_t chunk);
void __wrap_ledger_reject(struct ledger *l, uint64_t chunk);
void __real_ledger_reject_next(struct ledger *l);
void __wrap_ledger_reject_next(struct ledger *l);
struct job *__real_job_new(struct daemon *d, struct user *user, struct submission *sub, const Pwc__Submit *m);
struct job *__wrap_job_new(struct daemon *d, struct user *user, struct submission *sub, const Pwc__Submit *m);

void check_reset(void)
{
    memset(&seen, 0, sizeof seen);
}

/* ---- whose job is it ---- */

struct spec *spec_of_job(uint64_t job)
{
    return job < ARRAY_LEN(seen.by_job) ? seen.by_job[job] : NULL;
}

struct job *__wrap_job_new(struct daemon *d, struct user *user, struct submission *sub, const Pwc__Submit *m)
{
    struct job *j = __real_job_new(d, user, sub, m);
    SIM_CHECK(j->id < ARRAY_LEN(seen.by_job), "too many jobs");
    struct spec *s = &W.specs[params_get(j->params, "spec")->u64];
    SIM_CHECK(s->id == 0, "spec %u is job %lu, and another one: %lu", s->index, (ul)s->id, (ul)j->id);
    s->id = j->id;
    seen.by_job[j->id] = s;
    sim_log("job %lu is spec %u", (ul)j->id, s->index);
    return j;
}

static const struct job *job_of_ledger(const struct ledger *l)
{
    return (const struct job *)(const void *)((const char *)l - offsetof(struct job, ledger));
}

/* ---- blame ---- */

bool __wrap_ledger_charge(struct ledger *l, uint64_t chunk, enum cause cause, const struct budget *budget)
{
    const struct job *j = job_of_ledger(l);
    struct spec *s = spec_of_job(j->id);
    bool again = __real_ledger_charge(l, chunk, cause, budget);
    sim_log("job %lu: chunk %lu is charged for cause %d; %s", (ul)j->id, (ul)chunk, (int)cause,
            again ? "again" : "bad");
    s->charged[chunk]++;
    SIM_CHECK(s->charged[chunk] <= s->blame[chunk],
              "job %lu: chunk %lu is charged, but nothing happened in it", (ul)j->id, (ul)chunk);
    uint32_t most = 1;
    for (int c = 0; c < CAUSES; c++)
        most += budget->retries[c];
    SIM_CHECK(s->charged[chunk] <= most, "job %lu: chunk %lu has had %u attempts, its budgets allow %u",
              (ul)j->id, (ul)chunk, s->charged[chunk], most);
    sim_tally->quarantined += !again;
    if (!again)
        s->bad |= 1ull << chunk;
    return again;
}

/* Its budget is whole again, and what it did before is forgotten. */
static void forgive(struct spec *s, uint64_t chunk)
{
    s->blame[chunk] -= s->charged[chunk];
    s->charged[chunk] = 0;
}

/* Should it be done once more. */
bool __wrap_ledger_report(struct ledger *l, uint64_t from, uint64_t to)
{
    bool done = __real_ledger_report(l, from, to);
    for (uint64_t c = from; done && c < to; c++)
        forgive(spec_of_job(job_of_ledger(l)->id), c);
    return done;
}

void __wrap_ledger_recall(struct ledger *l, uint64_t chunk, uint32_t attempts)
{
    struct spec *s = spec_of_job(job_of_ledger(l)->id);
    s->bad &= ~(1ull << chunk);
    s->again |= 1ull << chunk;
    forgive(s, chunk);
    sim_tally->retried++;
    __real_ledger_recall(l, chunk, attempts);
}

void __wrap_ledger_reject(struct ledger *l, uint64_t chunk)
{
    struct spec *s = spec_of_job(job_of_ledger(l)->id);
    s->bad |= 1ull << chunk;
    s->trouble++; /* what was lost its client did not send again */
    __real_ledger_reject(l, chunk);
}

void __wrap_ledger_reject_next(struct ledger *l)
{
    struct spec *s = spec_of_job(job_of_ledger(l)->id);
    s->bad |= 1ull << l->ready;
    __real_ledger_reject_next(l);
}

/* Who is retired dies of nothing, however long that takes. */
struct death *__wrap_deaths_record(struct stage *s, const siginfo_t *info)
{
    SIM_CHECK(!stage_retired(s), "stage %lu was retired, and its death is recorded", (ul)s->id);
    bool went_on = stage_went_on(s);
    struct death *x = __real_deaths_record(s, info);
    SIM_CHECK(!went_on || (!x->in_chunk && strstr(x->reason, "but it had gone on") != NULL),
              "stage %lu had gone on when it was killed, and its record says: %s", (ul)s->id, x->reason);
    return x;
}

/* Whose results lie in arenas may lack the room for it. */
uint64_t __wrap_ledger_take_from(struct ledger *l, uint64_t first, uint64_t most)
{
    const struct job *j = job_of_ledger(l);
    uint64_t charged = ledger_charged(l);
    SIM_CHECK(charged == UINT64_MAX || first == charged || j->assembly.result_bytes > 0,
              "job %lu: chunk %lu was charged, but %lu is leased before it", (ul)j->id, (ul)charged,
              (ul)first);
    return __real_ledger_take_from(l, first, most);
}

/* ---- memory ---- */

/* When a user's jobs hold much, only what a consumer needs next finds room. */
struct arena *__wrap_arena_new(struct assembly *a, uint64_t id, int fd, uint64_t bytes)
{
    const struct job *j =
                         (const struct job *)(const void *)((const char *)a - offsetof(struct job, assembly)),
                     *x;
    uint64_t held = 0;
    TAILQ_FOREACH(x, &j->user->active, link)
    {
        held += x->state == PWC__JOB_STATE__JOB_RUNNING ? x->assembly.bytes : 0;
    }
    SIM_CHECK(W.d.windows_most == 0 || held < W.d.windows_most ||
                  ledger_lowest(&j->ledger) == j->assembly.absorbed,
              "job %lu gets an arena, and its user's jobs have %lu bytes of %lu", (ul)j->id, (ul)held,
              (ul)W.d.windows_most);
    return __real_arena_new(a, id, fd, bytes);
}

/* ---- is anything left undone? ---- */

static const struct stage *could_serve(const struct job *j)
{
    const struct stage *s;
    TAILQ_FOREACH(s, &j->d->pool->stages, link)
    {
        if (s->state == STAGE_IDLE && s->domain == j->domain &&
            (j->isolation != PWC__ISOLATION__ISOLATION_CHUNK || s->leases == 0))
            return s;
    }
    return NULL;
}

static bool may_compute(const struct job *j)
{
    bool queued = j->state == PWC__JOB_STATE__JOB_QUEUED;
    return queued ? j->planned && (j->batch || j->items == 0 || j->have_fds)
                  : j->state == PWC__JOB_STATE__JOB_RUNNING;
}

/* Its first chunk not yet absorbed must find room; others may wait for it. */
static bool wants_worker(const struct job *j)
{
    if (j->halting || !may_compute(j) || ledger_waiting(&j->ledger) == 0)
        return false;
    if (j->user->running >= j->d->seats || (j->max_workers > 0 && j->workers_on >= j->max_workers))
        return false;
    return j->assembly.result_bytes == 0 || ledger_lowest(&j->ledger) == j->assembly.absorbed;
}

static bool wants_role(const struct job *j)
{
    if (j->state != PWC__JOB_STATE__JOB_RUNNING)
        return false;
    return (j->absorb == PWC__ABSORB__ABSORB_SERIAL && j->consumer == NULL && !j->consumed) ||
           (j->producer_needed && !j->produced && j->producer == NULL);
}

/* Who has no worker for want of something says so. */
static void check_says_why(const struct job *j)
{
    SIM_CHECK(!lack_holds_now(j) || j->workers_on > 0 || job_waiting_for(j)[0] != '\0',
              "job %lu does not say what it waits for", (ul)j->id);
}

static void check_idle_seats(const struct daemon *d)
{
    const struct user *u;
    const struct job *j;
    if (d->dirty || (W.kernel_failed != 0 && sim_now() - W.kernel_failed < RETRY_NS))
        return;
    bool seats = d->seats_busy < d->seats && !d->short_of_memory;
    TAILQ_FOREACH(u, &d->users, link)
    {
        TAILQ_FOREACH(j, &u->active, link)
        {
            const struct stage *s = could_serve(j);
            check_says_why(j);
            SIM_CHECK(s == NULL || !seats || !wants_worker(j) || solo_holds_back(j),
                      "job %lu waits, though a seat and stage %lu are free", (ul)j->id, (ul)s->id);
            SIM_CHECK(s == NULL || !wants_role(j), "job %lu lacks a role that stage %lu could fill",
                      (ul)j->id, (ul)s->id);
        }
    }
}

/* ---- small jobs ---- */

#define AHEAD_NS NS_PER_MS /* nothing is put behind a lease that has lasted longer */

static bool is_quick(const struct job *j)
{
    return small_is_quick(j) && !j->alone && j->ledger.ncharges == 0;
}

/* Of a user who can have no further seat, be it that he has lent one. */
static bool takes_others(const struct daemon *d, const struct stage *s)
{
    return s->state == STAGE_BUSY && s->lease.small && s->nahead == 0 &&
           s->job->state == PWC__JOB_STATE__JOB_RUNNING && is_quick(s->job) &&
           MAX(d->seats_busy, s->job->user->running) >= d->seats &&
           sim_now() - s->lease.since.ns < AHEAD_NS && sim_now() - s->seat_since.ns < AHEAD_NS;
}

static void check_ahead(const struct daemon *d)
{
    const struct stage *s;
    const struct job *j;
    if (d->dirty || d->short_of_memory)
        return;
    TAILQ_FOREACH(s, &d->pool->stages, link)
    {
        if (!takes_others(d, s) || solo_holds_back(s->job))
            continue;
        TAILQ_FOREACH(j, &s->job->user->active, link)
        {
            SIM_CHECK(!is_quick(j) || ledger_waiting(&j->ledger) == 0 || j->domain != s->domain ||
                          j->memory != s->job->memory ||
                          (j->state != PWC__JOB_STATE__JOB_QUEUED && j->state != PWC__JOB_STATE__JOB_RUNNING),
                      "job %lu is not sent ahead to stage %lu", (ul)j->id, (ul)s->id);
        }
    }
}

/* ---- fairness ---- */

static bool could_run(const struct user *u)
{
    const struct job *j;
    if (u->running > 0 || u->jobs == 0)
        return false;
    TAILQ_FOREACH(j, &u->active, link)
    {
        if (wants_worker(j) && could_serve(j) != NULL && !solo_holds_back(j))
            return true;
    }
    return false;
}

static struct passed *passed_over(const struct user *u)
{
    for (unsigned i = 0; i < ARRAY_LEN(seen.passed); i++) {
        if (seen.passed[i].uid == 0)
            seen.passed[i].uid = u->uid;
        if (seen.passed[i].uid == u->uid)
            return &seen.passed[i];
    }
    sim_fail("too many users");
}

static uint64_t used_by_others(const struct daemon *d, const struct user *u, uint64_t *ret_least)
{
    const struct user *x;
    uint64_t sum = 0;
    *ret_least = UINT64_MAX;
    TAILQ_FOREACH(x, &d->users, link)
    {
        if (x == u)
            continue;
        sum += x->used_ns;
        if (x->nactive > 0)
            *ret_least = MIN(*ret_least, x->used_ns);
    }
    return sum;
}

/* Seats are shared by time: others may come first by as much as one has had more than they, since all of them
 * were there; what one had an hour ago, alone, does not count. */
static void check_fairness(const struct daemon *d)
{
    const struct user *u;
    const struct stage *s;
    TAILQ_FOREACH(u, &d->users, link)
    {
        if (u->uid >= STRANGERS)
            continue;
        struct passed *p = passed_over(u);
        uint64_t least, others = used_by_others(d, u, &least);
        uint64_t more = others > p->last ? MIN(others - p->last, (uint64_t)LEASE_NS) : 0;
        p->others += more;
        p->last = others;
        bool waits = could_run(u);
        if (!waits || !p->waits) {
            p->leases = 0;
            p->others = 0;
            p->allowed = STARVED_NS + (u->used_ns > least ? MIN(u->used_ns - least, (uint64_t)DEBT_NS) : 0);
        }
        p->waits = waits;
        if (!waits)
            continue;
        TAILQ_FOREACH(s, &d->pool->stages, link)
        {
            p->leases += s->seat && s->lease.id > seen.next_lease && s->job->user != u;
        }
        SIM_CHECK(p->leases <= STARVED_LEASES || p->others < p->allowed,
                  "uid %u could run, but others got %u leases and %lu ms since", (unsigned)u->uid, p->leases,
                  (ul)(p->others / NS_PER_MS));
    }
    seen.next_lease = d->next_lease;
}

static bool has_work(const struct user *u)
{
    const struct job *j;
    TAILQ_FOREACH(j, &u->active, link)
    {
        if ((wants_worker(j) || (j->state == PWC__JOB_STATE__JOB_QUEUED && !j->planned && j->have_fds &&
                                 roles_needed(j) == 0)) &&
            !solo_holds_back(j))
            return true;
    }
    return false;
}

/* Others' leases may last for ever. */
static void check_owed(const struct daemon *d)
{
    const struct user *u;
    bool hard = d->seats_busy < d->seats || d->short_of_memory || W.start_troubles > 0 || W.sick > 0 ||
                W.kernel_failed != 0 || pool_rests(d->pool),
         begun = false;
    const struct stage *s;
    TAILQ_FOREACH(s, &d->pool->stages, link)
    {
        begun |= s->seat && s->lease.id > seen.next_lease;
    }
    TAILQ_FOREACH(u, &d->users, link)
    {
        if (u->uid >= STRANGERS)
            continue;
        struct passed *p = passed_over(u);
        if (begun || hard || u->running > 0 || u->uid == W.cursed || !has_work(u))
            p->since = sim_now();
        SIM_CHECK(sim_now() - p->since < OWED_NS, "uid %u has work, and has waited for a seat for %lu ms",
                  (unsigned)u->uid, (ul)((sim_now() - p->since) / NS_PER_MS));
    }
}

/* Who has one on top had none, and nobody gave one back for a second: as seen here, where what is given back
 * and given out within a step is not, that is as long at least. True: it is a seat more than there are. */
static bool check_on_top(const struct daemon *d, const struct stage *s)
{
    struct proc *p = proc_of_pid(s->pid);
    if (!s->seat || s->lent || p == NULL)
        return false;
    bool follows = s->lease.small && p->on_top != 0 && p->on_top_since == s->seat_since.ns;
    bool begins = s->lease.id > seen.next_lease && d->seats_busy > d->seats && d->seats_owed > 0 &&
                  s->job->user->running == 1 && sim_now() - seen.full_since > NS_PER_S;
    if (follows || begins) {
        sim_tally->on_top += p->on_top != s->lease.id;
        p->on_top = s->lease.id;
        p->on_top_since = s->seat_since.ns;
    }
    return p->on_top == s->lease.id;
}

/* A seat comes free where fewer are busy than there are, and where one is given back that was held when the
 * last one was taken, however many are on top by now. */
static void look_for_full(const struct daemon *d)
{
    const struct stage *s;
    unsigned held = 0;
    TAILQ_FOREACH(s, &d->pool->stages, link)
    {
        held += s->seat && !s->lent && s->lease.since.ns <= seen.full_since;
    }
    if (d->seats_busy < d->seats || held < seen.held)
        seen.full_since = sim_now();
    seen.held = 0;
    TAILQ_FOREACH(s, &d->pool->stages, link)
    {
        seen.held += s->seat && !s->lent && s->lease.since.ns <= seen.full_since;
    }
}

/* While the machine is short of memory one computes; who did before may go on. */
static void check_short(const struct daemon *d, uint32_t seats)
{
    const struct stage *s;
    bool begun = false;
    TAILQ_FOREACH(s, &d->pool->stages, link)
    {
        begun |= s->seat && !s->lent && s->lease.id > seen.newest && s->lease.since.ns == sim_now();
    }
    SIM_CHECK(!begun || !d->short_of_memory || !seen.was_short || seats <= 1,
              "memory is short, and a lease was given out beside %u others", seats - 1);
    seen.was_short = d->short_of_memory;
    seen.newest = d->next_lease;
}

/* ---- every step ---- */

/* Parked ones do not count, and nobody waits behind those that will have a consumer or a producer. */
static void check_turns(const struct user *u, const uint32_t waiting[QUEUES], uint32_t roles)
{
    uint32_t turns = jobs_turns(&W.d);
    SIM_CHECK(roles <= turns, "uid %u: %u jobs with consumers or producers have %u turns", (unsigned)u->uid,
              roles, turns);
    SIM_CHECK(W.d.dirty || waiting[QUEUE_PLAIN] + (roles < turns ? waiting[QUEUE_ROLES] : 0) == 0 ||
                  u->nactive >= turns + u->nparked,
              "uid %u: %u jobs wait for a turn, though of %u only %u, %u of them parked, have one",
              (unsigned)u->uid, u->jobs - u->nactive, turns, u->nactive, u->nparked);
}

static uint32_t check_user(const struct user *u, uint32_t *ret_fds)
{
    uint32_t jobs = 0, active = 0, running = 0, parked = 0, roles = 0, waiting[QUEUES] = {0};
    const struct job *j;
    /* Of who has no jobs one queue a step: they are many. */
    int from = u->jobs > 0 ? 0 : (int)(W.steps % (QUEUES * PRIORITIES));
    for (int i = from; i < (u->jobs > 0 ? QUEUES * PRIORITIES : from + 1); i++)
        TAILQ_FOREACH(j, &u->waiting[i / PRIORITIES][i % PRIORITIES], link)
        {
            jobs++;
            waiting[i / PRIORITIES]++;
            SIM_CHECK(check_job(j, false) == 0, "job %lu runs before its turn", (ul)j->id);
            *ret_fds += job_fds(j);
        }
    TAILQ_FOREACH(j, &u->active, link)
    {
        active++;
        parked += j->parked;
        roles += roles_needed(j) > 0;
        running += check_job(j, true);
        *ret_fds += job_fds(j);
    }
    uint32_t flying = 0;
    TAILQ_FOREACH(j, &u->flying, link)
    {
        flying++;
        running += check_job(j, true);
        SIM_CHECK(j->flying && j->stages_on == 1, "job %lu flies, but no stage holds it", (ul)j->id);
    }
    active += flying;
    SIM_CHECK(flying == u->nflying, "uid %u: counts %u flying, has %u", (unsigned)u->uid, u->nflying, flying);
    SIM_CHECK(parked == u->nparked, "uid %u: counts %u parked, has %u", (unsigned)u->uid, u->nparked, parked);
    check_turns(u, waiting, roles);
    SIM_CHECK(running <= W.d.seats, "uid %u has %u seats of %u", (unsigned)u->uid, running, W.d.seats);
    SIM_CHECK(u->nactive == active && u->jobs == jobs + active && u->running == running,
              "uid %u: counts %u active, %u jobs, %u running; has %u, %u, %u", (unsigned)u->uid, u->nactive,
              u->jobs, u->running, active, jobs + active, running);
    SIM_CHECK(u->busy || u->jobs == 0, "uid %u has %u jobs and is not busy", (unsigned)u->uid, u->jobs);
    return running;
}

/* Others have the seat of a stage that stands still; true: it has gone on since, so that one too many may
 * compute. */
static bool check_still(const struct stage *s)
{
    struct proc *p = proc_of_pid(s->pid);
    if (p == NULL)
        return false;
    if ((!p->hung && !p->stopped) || s->d->short_of_memory ||
        s->d->seats_lent >= config_stages_max(&s->d->cfg, s->d->seats))
        p->went_at = sim_now();
    if (s->lent) {
        sim_tally->lent += p->lent != s->lease.id;
        p->lent = s->lease.id;
    }
    SIM_CHECK(s->lent || s->state != STAGE_BUSY || s->nahead > 0 ||
                  sim_now() - MAX(p->went_at, s->lease.since.ns) < LENT_NS,
              "stage %lu stands still, and its seat waits for it", (ul)s->id);
    return !s->lent && p->lent == s->lease.id;
}

/* Who needs the memory for himself is the only one of his domain that computes, but for what was out before
 * it was known, or began while he stood still. */
static void check_solo(const struct daemon *d, const struct stage *s, struct proc *p)
{
    bool begins = p->seen != s->lease.id;
    p->seen = s->lease.id;
    if (!solo_runs(s))
        return;
    sim_tally->solo += begins;
    if (p->solo != s->lease.id || s->lent)
        p->solo_from = d->next_lease;
    p->solo = s->lease.id;
    const struct stage *x;
    TAILQ_FOREACH(x, &d->pool->stages, link)
    {
        if (x == s || !x->seat || x->domain != s->domain)
            continue;
        SIM_CHECK(x->lease.id <= p->solo_from, "lease %lu is to be the only one, and %lu was begun beside it",
                  (ul)s->lease.id, (ul)x->lease.id);
        SIM_CHECK(!begins || x->lent, "lease %lu is to be the only one, and was begun beside %lu",
                  (ul)s->lease.id, (ul)x->lease.id);
    }
}

/* What a stage knows of jobs goes with them. */
static void check_open(const struct daemon *d, const struct stage *s)
{
    for (int i = 0; i < STAGE_OPEN_JOBS; i++) {
        const struct job *j =
            s->open[i].job != 0 ? job_find((struct daemon *)(uintptr_t)d, s->open[i].job) : NULL;
        SIM_CHECK(s->open[i].job == 0 || (j != NULL && !job_is_terminal(j)),
                  "stage %lu has job %lu open, which has ended", (ul)s->id, (ul)s->open[i].job);
    }
    SIM_CHECK((s->arena == NULL) == (s->arena_job == NULL), "stage %lu: an arena of no job", (ul)s->id);
    SIM_CHECK(s->arena == NULL || s->kept.fd < 0, "stage %lu: an arena besides the one it kept", (ul)s->id);
}

/* Consumers and producers leave stages for workers: one a seat, if there are twice as many. */
static void check_roles(const struct daemon *d)
{
    uint32_t n = 0, most = config_stages_max(&d->cfg, d->seats);
    const struct stage *s;
    TAILQ_FOREACH(s, &d->pool->stages, link)
    {
        n += s->state == STAGE_BUSY && !s->seat;
    }
    SIM_CHECK(n + MIN(d->seats, most / 2) <= most,
              "%u of %u stages are consumers and producers, for %u seats", n, most, d->seats);
}

/* After a death nothing is made for the stock, unless nothing is left of it. */
static void check_rest(const struct pool *p)
{
    const struct stage *s;
    TAILQ_FOREACH(s, &p->stages, link)
    {
        SIM_CHECK(!seen.rested || !pool_rests(p) || p->next_id == seen.next_stage ||
                      s->id >= seen.next_stage || s->state > STAGE_SPARE,
                  "a stage was made while the pool rests and stage %lu is %s", (ul)s->id,
                  stage_state_name(s->state));
    }
    seen.rested = pool_rests(p);
    seen.next_stage = p->next_id;
}

void check_step(void)
{
    const struct daemon *d = &W.d;
    const struct user *u;
    const struct stage *s;
    const struct session *c;
    uint32_t kept[KEPTS] = {0};
    uint32_t running = 0, held = 0, seats = 0, late = 0, stages = 0, fds = 0, flying = 0, users = 0, busy = 0,
             dying = 0, on_top = 0;
    look_for_full(d);
    TAILQ_FOREACH(u, &d->users, link)
    {
        users++;
        busy += u->busy;
        running += check_user(u, &fds);
        flying += u->nflying;
        for (int i = 0; i < KEPTS; i++)
            kept[i] += u->nkept[i];
    }
    SIM_CHECK(kept[KEPT_JOBS] == d->nhistory && kept[KEPT_DEATHS] == d->ndeaths &&
                  kept[KEPT_GIVEN_UP] == d->nquarantine,
              "%u jobs, %u deaths and %u chunks are remembered, users have %u, %u, %u", d->nhistory,
              d->ndeaths, d->nquarantine, kept[KEPT_JOBS], kept[KEPT_DEATHS], kept[KEPT_GIVEN_UP]);
    TAILQ_FOREACH(s, &d->pool->stages, link)
    {
        stages++;
        dying += s->state == STAGE_DYING;
        held += s->seat;
        seats += s->seat && !s->lent;
        late += s->seat && check_still(s);
        on_top += check_on_top(d, s);
        fds += (s->pidfd >= 0 ? 2u : 1u) + (s->dying_fd >= 0 ? 1u : 0u) + (s->kept.fd >= 0 ? 1u : 0u);
        SIM_CHECK((s->job != NULL) == (s->lease.kind != LEASE_NONE), "stage %lu: a lease without a job",
                  (ul)s->id);
        if (s->seat && proc_of_pid(s->pid) != NULL)
            check_solo(d, s, proc_of_pid(s->pid));
        check_open(d, s);
        SIM_CHECK(s->state != STAGE_BUSY || s->job != NULL, "stage %lu is busy with nothing", (ul)s->id);
    }
    TAILQ_FOREACH(c, &d->sessions, link)
    {
        fds++;
    }
    fds += (d->pool->nursery != NULL ? 1u : 0u) + (d->pool->nursery_pidfd >= 0 ? 1 : 0);
    SIM_CHECK(stages == d->pool->n && dying == d->pool->dying,
              "the pool counts %u stages, %u dying; has %u, %u", d->pool->n, d->pool->dying, stages, dying);
    SIM_CHECK(held == running && seats == d->seats_busy && held - seats == d->seats_lent &&
                  seats <= d->seats + late + on_top,
              "%u seats are busy of %u, stages hold %u, %u of them late, %u on top", d->seats_busy, d->seats,
              seats, late, on_top);
    check_short(d, seats);
    SIM_CHECK(flying == d->nflying, "%u small jobs are out, the users have %u", d->nflying, flying);
    SIM_CHECK(fds == kernel_open_fds(), "%u descriptors are open, the tables know of %u", kernel_open_fds(),
              fds);
    SIM_CHECK(users == d->nusers && users <= USERS_MOST, "%u users are remembered, counted are %u", users,
              d->nusers);
    TAILQ_FOREACH(u, &d->busy, busy_link)
    {
        busy--;
    }
    SIM_CHECK(busy == 0, "users who are busy are not in that list");
    check_ahead(d);
    check_owed(d);
    if (!W.scarce) /* there each lease is as long as many elsewhere */
        check_fairness(d);
    check_idle_seats(d);
    check_waits(d);
    check_roles(d);
    check_rest(d->pool);
}

/* ---- the end ---- */

void check_end(void)
{
    const struct daemon *d = &W.d;
    for (unsigned i = 0; i < W.nspecs; i++) {
        const struct spec *s = &W.specs[i];
        SIM_CHECK(s->id == 0 || s->terminals == 1, "job %lu (spec %u) ended %u times", (ul)s->id, i,
                  s->terminals);
        SIM_CHECK(s->finished > 0 || (s->client_gone && (!s->resubmitted || s->detached)) || s->id == 0,
                  "the client of job %lu was not told of its end", (ul)s->id);
        SIM_CHECK(s->id != 0 || s->client_gone, "spec %u was never submitted", i);
    }
    const struct stage *x;
    TAILQ_FOREACH(x, &d->pool->stages, link)
    {
        SIM_CHECK(x->state == STAGE_SPARE, "stage %lu is still %s when all is quiet", (ul)x->id,
                  stage_state_name(x->state));
    }
    SIM_CHECK(d->pool->nursery != NULL, "nobody starts the nursery again");
}
