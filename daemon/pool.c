/* pool.c - see pool.h. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/cgroup.h"
#include "daemon/children.h"
#include "daemon/deaths.h"
#include "daemon/flow.h"
#include "daemon/job.h"
#include "daemon/lack.h"
#include "daemon/pool.h"
#include "daemon/pressure.h"
#include "daemon/roles.h"
#include "daemon/small.h"
#include "daemon/starts.h"
#include "ipc/log.h"

#define UNKILLABLE_PART 4 /* of stages_max: at most so many of one user's may be left behind */
/* Longer than a turn of the kernel's scheduler: who took over runs by then, wherever it had to queue. */
#define REST_US   5000
#define LACKED_NS (2 * RESTART_FIRST_NS) /* by then it was tried again, with a tick */

/* Spares in stock: the first job of a new domain finds a worker a seat and one more for its producer. */
static uint32_t spares_wanted(const struct daemon *d)
{
    return d->seats + 1;
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct pool *p = arg;
    flow_describe(p->d);
    daemon_touch(p->d);
    daemon_turn(p->d);
}

static void on_rested(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct pool *p = arg;
    daemon_touch(p->d);
    daemon_turn(p->d);
}

struct pool *pool_new(struct daemon *d)
{
    struct pool *p = xcalloc(1, sizeof *p);
    p->d = d;
    p->nursery_pidfd = -1;
    p->next_id = 1;
    TAILQ_INIT(&p->stages);
    p->retry_ev = evtimer_new(d->base, on_retry, p);
    p->rest_ev = evtimer_new(d->base, on_rested, p);
    return p;
}

void pool_free(struct pool *p)
{
    if (p == NULL)
        return;
    BUG_ON(!TAILQ_EMPTY(&p->stages));
    event_free(p->retry_ev);
    event_free(p->rest_ev);
    free(p);
}

static void pause_shortly(void)
{
    struct timeval tick = {0, 1000};
    select(0, NULL, NULL, NULL, &tick);
}

bool pool_await_end(int pidfd, struct mono until)
{
    siginfo_t info = {0};
    while (waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG | __WALL) == 0 && info.si_pid == 0) {
        if (mono_since(until, clock_now()) <= 0)
            return false;
        pause_shortly();
    }
    return true;
}

/* Children that no stage stands for: the nursery made them and died, or was killed, before it could name
 * them; and those that have survived their SIGKILL so far. */
static bool end_strangers(void)
{
    char path[48];
    bool some = false;
    snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
    FILE *f = fopen(path, "re");
    int pid;
    while (f != NULL && fscanf(f, "%d", &pid) == 1) {
        kill(pid, SIGKILL);
        some |= waitpid(pid, NULL, WNOHANG | __WALL) == 0;
    }
    if (f != NULL)
        fclose(f);
    return some;
}

/* After this nothing runs: the loop is over, so deaths are waited for here, each SIGKILLed before. A process
 * that survives SIGKILL (uninterruptible) is left to PDEATHSIG, be it the nursery. */
void pool_shutdown(struct pool *p)
{
    struct stage *s;
    nursery_kill(p);
    TAILQ_FOREACH(s, &p->stages, link)
    {
        stage_kill(s, PWC__CODE__CODE_SHUTDOWN, "shutdown");
    }
    struct mono until = mono_add(clock_now(), 2 * NS_PER_S);
    nursery_stop(p, until);
    while ((s = TAILQ_FIRST(&p->stages)) != NULL) {
        if (s->pidfd >= 0)
            (void)pool_await_end(s->pidfd, until);
        flow_stage_gone(s);
        TAILQ_REMOVE(&p->stages, s, link);
        p->n--;
        stage_free(s);
    }
    while (end_strangers() && mono_since(until, clock_now()) > 0)
        pause_shortly();
}

struct stage *pool_find(struct pool *p, uint64_t id)
{
    struct stage *s;
    TAILQ_FOREACH(s, &p->stages, link)
    {
        if (s->id == id)
            return s;
    }
    return NULL;
}

uint32_t pool_count(const struct pool *p, enum stage_state state, uint64_t domain)
{
    uint32_t n = 0;
    const struct stage *s;
    TAILQ_FOREACH(s, &p->stages, link)
    {
        n += s->state == state && (domain == 0 || s->domain == domain);
    }
    return n;
}

bool pool_has_domain(const struct pool *p, uint64_t domain)
{
    const struct stage *s;
    TAILQ_FOREACH(s, &p->stages, link)
    {
        if (s->domain == domain)
            return true;
    }
    return false;
}

void pool_used(struct pool *p, struct stage *s)
{
    TAILQ_REMOVE(&p->stages, s, link);
    TAILQ_INSERT_TAIL(&p->stages, s, link);
}

/* The most recently used is the warmest, one that has the job open already warmer still. */
static struct stage *find_idle(struct pool *p, uint64_t domain, bool fresh, const struct job *prefer,
                               pool_filter fits)
{
    struct stage *s, *found = NULL;
    TAILQ_FOREACH_REVERSE(s, &p->stages, stage_list, link)
    {
        if (s->state != STAGE_IDLE || s->stays || s->domain != domain || (fresh && s->leases > 0))
            continue;
        if (fits != NULL && !fits(prefer, s))
            continue;
        if (prefer != NULL && stage_has_open(s, prefer->id, STAGE__ROLE__ROLE_WORKER))
            return s;
        if (found == NULL)
            found = s;
    }
    return found;
}

/* What it has kept of jobs with a larger limit, or none, would be blamed on a chunk of this one. One that is
 * new is the smallest there can be. */
static bool holds_too_much(struct stage *s, const struct job *j)
{
    if (j->memory == 0 || s->leases == 0 || (s->holds_most != 0 && s->holds_most <= j->memory))
        return false;
    uint64_t held;
    if (!pressure_of(s->pid, true, &held))
        return false;
    if (held > j->memory)
        return true;
    s->holds_most = j->memory;
    return false;
}

struct stage *pool_idle(struct pool *p, uint64_t domain, bool fresh, const struct job *prefer,
                        pool_filter fits)
{
    struct stage *s;
    while ((s = find_idle(p, domain, fresh, prefer, fits)) != NULL && holds_too_much(s, prefer))
        stage_kill(s, PWC__CODE__CODE_OK, "holds more than the next job may");
    return s;
}

/* ---- stock ---- */

static int lacking(struct pool *p, const char *what, int r)
{
    p->lacked = clock_now();
    lack_of(p->d, what, r);
    return r;
}

bool pool_lacks(const struct pool *p)
{
    return p->lacked.ns != 0 && mono_since(clock_now(), p->lacked) < LACKED_NS;
}

void pool_lacks_for(struct stage *s, const char *what, int r)
{
    lacking(s->d->pool, what, r);
    if (s->job != NULL)
        lack_holds(s->job);
    s->lacked = true;
    stage_kill(s, PWC__CODE__CODE_OK, "pwcd lacks something");
}

/* For want of something: says nothing about whether stages can start. */
void pool_not_made(struct pool *p, struct stage *s, int r)
{
    if (lack_passes(r))
        stage_kill(s, PWC__CODE__CODE_OK, "pwcd lacks something");
    else
        snprintf(p->last_words, sizeof p->last_words, "cannot start %s: %s", p->d->cfg.stage_program,
                 strerror(-r));
    pool_stage_gone(p, s, NULL);
    if (lack_passes(r))
        lacking(p, "the process of a stage", r);
}

static int spawn_one(struct pool *p)
{
    int sv[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
        return lacking(p, "the channel of a stage", -errno);
    struct stage *s = stage_new(p->d, p->next_id++, sv[0]);
    TAILQ_INSERT_TAIL(&p->stages, s, link);
    p->n++;
    s->cgroup = cgroup_take();
    int r = stage_listen(s);
    if (r == 0)
        r = nursery_spawn(p, s, sv[1]);
    close(sv[1]);
    if (r < 0)
        pool_not_made(p, s, r);
    return r;
}

bool pool_retire_one(struct pool *p, uint64_t keep_domain)
{
    struct stage *s;
    TAILQ_FOREACH(s, &p->stages, link)
    {
        if (s->state == STAGE_IDLE && s->domain != keep_domain) {
            stage_kill(s, PWC__CODE__CODE_OK, "retired");
            return true;
        }
    }
    return false;
}

static uint32_t unkillable(const struct pool *p)
{
    uint32_t n = 0;
    const struct stage *s;
    if (p->dying == 0) /* asked at every turn */
        return 0;
    TAILQ_FOREACH(s, &p->stages, link)
    {
        n += stage_unkillable(s);
    }
    return n;
}

/* Those that are being killed have as good as ended, unless they do not end. */
static uint32_t alive(const struct pool *p)
{
    return p->n - p->dying + unkillable(p);
}

/* Whatever hangs in the kernel, every seat can be filled, and each job that has begun have its producer and
 * its consumer: else these could hold every place that is left, and wait for workers. Who has lent its seat
 * waits for as long as a client likes: it takes the place of nobody who computes. And who is owed a seat
 * needs a stage for it. */
static uint32_t stages_most(const struct pool *p)
{
    uint32_t most = config_stages_max(&p->d->cfg, p->d->seats), left = unkillable(p);
    uint32_t roles = left > 0 ? MAX(roles_taken(p->d), 2u) : 2;
    return MAX(most, left + MIN(most, p->d->seats + roles)) + p->d->seats_lent + p->d->seats_owed;
}

bool pool_denies(const struct pool *p, uint32_t uid)
{
    uint32_t n = 0;
    const struct stage *s;
    if (p->dying == 0) /* and for every job */
        return false;
    TAILQ_FOREACH(s, &p->stages, link)
    {
        n += s->domain != 0 && s->uid == uid && stage_unkillable(s);
    }
    return n >= MAX(config_stages_max(&p->d->cfg, p->d->seats) / UNKILLABLE_PART, 2u);
}

/* Those of whom it is not known yet whether they will be ready. */
static uint32_t on_trial(const struct pool *p)
{
    uint32_t n = 0;
    const struct stage *s;
    TAILQ_FOREACH(s, &p->stages, link)
    {
        n += s->state <= STAGE_BOOTING || s->state == STAGE_ENTERING || s->describing ||
             stage_failed_to_start(s);
    }
    return n;
}

static uint32_t in_stock(const struct pool *p)
{
    uint32_t n = 0;
    const struct stage *s;
    TAILQ_FOREACH(s, &p->stages, link)
    {
        n += s->state <= STAGE_SPARE || stage_failed_to_start(s);
    }
    return n;
}

static void retry_in(struct pool *p, int64_t ns)
{
    struct timeval tv = {ns / NS_PER_S, ns % NS_PER_S / NS_PER_US + 1};
    event_add(p->retry_ev, &tv);
}

bool pool_rests(const struct pool *p)
{
    return evtimer_pending(p->rest_ev, NULL) != 0;
}

/* Not put off again by the next death: whoever kills all the time still gets new ones. */
void pool_rest(struct pool *p)
{
    struct timeval tv = {0, REST_US};
    if (!pool_rests(p))
        event_add(p->rest_ev, &tv);
}

int64_t pool_wait(struct pool *p)
{
    int64_t wait = restart_wait(&p->restart, clock_now());
    if (wait > 0)
        retry_in(p, wait);
    return wait;
}

/* After a failure one is tried at a time, each after its wait: what fails for one fails for all. */
static bool may_try(struct pool *p)
{
    return p->restart.phase != RESTART_FAILING || (on_trial(p) == 0 && pool_wait(p) == 0);
}

bool pool_enter_spare(struct pool *p, const struct job *j)
{
    struct stage *s;
    if (p->d->retry_due && pool_lacks(p))
        return false; /* not before the next tick, for whomever: it is lacking for all */
    if (!may_try(p)) {
        p->held_back = true;
        return false;
    }
    if (!starts_may_enter(p, j) || pool_denies(p, (uint32_t)j->user->uid))
        return false;
    TAILQ_FOREACH(s, &p->stages, link)
    {
        if (s->state != STAGE_SPARE || s->describing)
            continue;
        int r = stage_enter(s, j);
        if (lack_passes(r))
            lacking(p, "the segment of a stage", r);
        return r == 0;
    }
    if (alive(p) >= stages_most(p))
        pool_retire_one(p, j->domain);
    return false;
}

/* One without a process is the nursery's fault, and cannot be killed but with it. */
static void late(struct pool *p, struct stage *s)
{
    if (s->pidfd >= 0) {
        stage_kill(s, PWC__CODE__CODE_START, "not ready in time");
    } else if (p->nursery_killed.ns == 0) {
        log_warn("nursery (pid %d) makes no stage in time: killed", p->nursery_pid);
        nursery_kill(p);
    }
}

static void retire_idle(struct pool *p)
{
    struct mono now = clock_now();
    struct stage *s;
    TAILQ_FOREACH(s, &p->stages, link)
    {
        if (s->state == STAGE_IDLE && mono_since(now, s->since) > p->d->cfg.idle_stage_timeout)
            stage_kill(s, PWC__CODE__CODE_OK, "idle");
        else if ((s->state == STAGE_SPAWNING || s->state == STAGE_BOOTING || s->state == STAGE_ENTERING ||
                  (s->state == STAGE_SPARE && s->describing)) &&
                 mono_since(now, s->since) > p->d->cfg.ready_timeout)
            late(p, s);
    }
}

int64_t pool_idle_left(const struct pool *p)
{
    struct mono now = clock_now();
    int64_t least = 0;
    const struct stage *s;
    TAILQ_FOREACH(s, &p->stages, link)
    {
        int64_t left = p->d->cfg.idle_stage_timeout - mono_since(now, s->since);
        if (s->state == STAGE_IDLE && (least == 0 || left < least))
            least = MAX(left, 0) + NS_PER_MS; /* then it is past */
    }
    return least;
}

void pool_balance(struct pool *p)
{
    struct daemon *d = p->d;
    retire_idle(p);
    uint32_t stock = in_stock(p);
    uint32_t most = stages_most(p);
    while (alive(p) > most && pool_retire_one(p, 0))
        ; /* what was killed has not ended after all */
    if (stock > 0 && pool_rests(p))
        return;
    if (pool_lacks(p) && evtimer_pending(p->retry_ev, NULL))
        return; /* what was made for one before it failed was for nothing: a process, too */
    while (stock < spares_wanted(d) && alive(p) < most && may_try(p)) {
        if (spawn_one(p) < 0) {
            retry_in(p, MAX(restart_wait(&p->restart, clock_now()), RESTART_FIRST_NS));
            return;
        }
        stock++;
    }
}

/* ---- death ---- */

bool pool_gives_up(const struct pool *p)
{
    return restart_gives_up(&p->restart, p->untried);
}

void pool_stage_gone(struct pool *p, struct stage *s, const siginfo_t *info)
{
    char text[64];
    bool wanted = stage_retired(s), early = false;
    if (wanted)
        log_debug("stage %lu (pid %d) retired", (unsigned long)s->id, s->pid);
    else
        log_info("stage %lu (pid %d, %s) %s", (unsigned long)s->id, s->pid, stage_role_name(s),
                 starts_how(info, text, sizeof text));
    if (!wanted)
        early = starts_lost(p, s, info);
    if (s->describing)
        p->described = false;
    small_take_back(s);
    if (s->lease.kind != LEASE_NONE && !wanted) {
        pool_rest(p);
        flow_stage_dies(s);
        deaths_record(s, info);
    } else if (s->written_off) {
        deaths_amend(s, info);
    }
    flow_stage_gone(s);
    TAILQ_REMOVE(&p->stages, s, link);
    p->n--;
    p->dying -= s->state == STAGE_DYING;
    if (early)
        starts_give_up(p, s);
    stage_free(s);
    flow_describe(p->d);
    children_changed(p->d);
    daemon_touch(p->d);
}
