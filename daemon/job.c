/* job.c - see job.h: life and counts. Whether one is over is in verdict.c, where jobs are found in jobs.c,
 * descriptors of batches in items.c, work in dispatch.c and flow.c, whose they are and whose turn it is in
 * users.c. */
#include <endian.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/closer.h"
#include "daemon/deaths.h"
#include "daemon/events.h"
#include "daemon/flow.h"
#include "daemon/job.h"
#include "daemon/lack.h"
#include "daemon/nearest.h"
#include "daemon/quarantine.h"
#include "daemon/roles.h"
#include "daemon/session.h"
#include "daemon/small.h"
#include "daemon/solo.h"
#include "daemon/trace.h"
#include "daemon/watch.h"
#include "ipc/log.h"

#ifdef __SANITIZE_ADDRESS__ /* which is to notice when one is used behind its end */
#define SPARE_JOBS 0u
#else
#define SPARE_JOBS 128u /* as many as a few turns of the loop take in and give up */
#endif

bool job_is_terminal(const struct job *j)
{
    return j->state >= PWC__JOB_STATE__JOB_DONE;
}

const char *job_state_name(Pwc__JobState s)
{
    static const char *const names[] = {"unknown", "queued", "planning",  "running", "ending",
                                        "done",    "failed", "cancelled", "partial"};
    return (unsigned)s < ARRAY_LEN(names) ? names[s] : "unknown";
}

/* ---- birth ---- */

static void take_domain(struct job *j)
{
    if (j->isolation != PWC__ISOLATION__ISOLATION_USER) {
        j->domain = job_new_domain(j->d);
        return;
    }
    j->home = user_domain(j->d, j->user, j->label, j->op->needs);
    j->home->jobs++;
    j->domain = j->home->id;
}

static uint32_t retries(int32_t given, bool set, uint32_t def)
{
    return set && given >= 0 ? (uint32_t)given : def;
}

static void take_policy(struct job *j, const Pwc__Policy *p, const struct config *cfg)
{
    static const Pwc__Policy none = PWC__POLICY__INIT;
    bool set = p != NULL && p->set;
    if (!set)
        p = &none;
    j->budget.retries[CAUSE_ERROR] = retries(p->retries_error, set, cfg->retries_error);
    j->budget.retries[CAUSE_CRASH] = retries(p->retries_crash, set, cfg->retries_crash);
    j->budget.retries[CAUSE_OOM] = retries(p->retries_oom, set, cfg->retries_oom);
    j->budget.retries[CAUSE_TIMEOUT] = retries(p->retries_timeout, set, cfg->retries_timeout);
    j->chunk_timeout_ns = p->chunk_timeout_ns != 0 ? p->chunk_timeout_ns : (uint64_t)cfg->chunk_timeout;
    j->job_timeout_ns = p->job_timeout_ns;
    j->memory = p->memory != 0 ? p->memory : cfg->memory;
    if (p->fill != NULL && p->fill->kind_case == PWC__VALUE__KIND_U64)
        j->fill = (uint8_t)p->fill->u64;
    j->chunk_timeout_percent = p->chunk_timeout_percent > 0 ? (uint32_t)p->chunk_timeout_percent : 0;
    halt_parse(p->halt, &j->halt);
    bool halts = j->halt.when != HALT_NEVER && !j->batch; /* that says when to fail: until then it goes on */
    bool skips = halts && p->on_failure == PWC__ON_FAILURE__ON_FAILURE_FAIL;
    j->on_failure = skips ? PWC__ON_FAILURE__ON_FAILURE_SKIP : p->on_failure;
    j->max_failures = p->max_failures != 0 ? p->max_failures : 1000;
}

static void take_roles(struct job *j, const Pwc__Submit *m)
{
    if (m->n_roles > 0)
        j->roles = xcalloc(MIN(m->n_roles, (size_t)PWC_ROLES_MAX), sizeof *j->roles);
    for (size_t i = 0; i < m->n_roles && i < PWC_ROLES_MAX; i++) {
        copy_text(j->roles[i].name, sizeof j->roles[i].name, m->roles[i]->name);
        for (size_t k = 0; k < j->op->n_roles; k++)
            if (strcmp(j->op->roles[k]->name, m->roles[i]->name) == 0)
                j->roles[i].out = j->op->roles[k]->dir == PWC__ROLE_DIR__ROLE_OUT;
        j->nroles++;
    }
}

static void take_fields(struct job *j, const Pwc__Submit *m)
{
    copy_text(j->format, sizeof j->format, m->format);
    copy_text(j->label, sizeof j->label, m->domain);
    j->items = m->items;
    j->records = m->records;
    j->trace_most = m->trace;
    j->on_disconnect = m->on_disconnect;
    j->linger_ns = m->linger_ns;
    j->isolation = MAX(m->isolation, j->d->cfg.isolation);
    j->max_workers = m->max_workers;
    j->priority = m->priority;
    request_key(&j->key, j->user, m->request_key.data, m->request_key.len);
}

static void on_time(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct job *j = arg;
    struct daemon *d = j->d;
    job_end(j, PWC__JOB_STATE__JOB_FAILED, PWC__CODE__CODE_TIMEOUT, "the job's time is up");
    daemon_turn(d);
}

static struct event *timer(struct job *j, uint64_t ns, event_callback_fn f)
{
    struct timeval tv = {(time_t)(ns / NS_PER_S), (suseconds_t)(ns % NS_PER_S / NS_PER_US)};
    struct event *ev = evtimer_new(j->d->base, f, j);
    event_add(ev, &tv);
    return ev;
}

static void drop_timer(struct event **ev)
{
    if (*ev != NULL)
        event_free(*ev);
    *ev = NULL;
}

/* Jobs come and go by the thousand: their memory need not go through the heap's hands every time. */
static struct job *job_alloc(struct daemon *d)
{
    struct job *j = d->spare_jobs;
    if (j == NULL)
        return xcalloc(1, sizeof *j);
    d->spare_jobs = j->hash_next;
    d->nspare_jobs--;
    *j = (struct job){0};
    return j;
}

static void job_dealloc(struct job *j)
{
    struct daemon *d = j->d;
    if (d->nspare_jobs + 1 > SPARE_JOBS) {
        free(j);
        return;
    }
    j->hash_next = d->spare_jobs;
    d->spare_jobs = j;
    d->nspare_jobs++;
}

void jobs_free_spare(struct daemon *d)
{
    for (struct job *j = TAKE_PTR(d->spare_jobs), *next; j != NULL; j = next) {
        next = j->hash_next;
        free(j);
    }
    d->nspare_jobs = 0;
}

static struct job_list *queue_of(const struct job *j)
{
    enum queue q = roles_needed(j) > 0 ? QUEUE_ROLES : QUEUE_PLAIN;
    return &j->user->waiting[q][MIN(MAX(j->priority + 20, 0), PRIORITIES - 1)];
}

struct job *job_new(struct daemon *d, struct user *user, struct submission *sub, const Pwc__Submit *m)
{
    struct job *j = job_alloc(d);
    j->d = d;
    j->id = ++d->next_job;
    j->user = user;
    j->op = sub->op->info;
    j->params = TAKE_PTR(sub->params);
    j->save = TAKE_PTR(sub->save);
    j->load = TAKE_PTR(sub->load);
    j->batch = sub->batch;
    j->absorb = j->op->absorb;
    j->plan_fd = j->scratch_fd = j->scratch_ro_fd = j->raster_fd = -1;
    TAILQ_INIT(&j->item_list);
    STAILQ_INIT(&j->states);
    TAILQ_INIT(&j->watches);
    TAILQ_INIT(&j->records_bad);
    TAILQ_INIT(&j->given_up);
    take_fields(j, m);
    take_roles(j, m);
    take_policy(j, m->policy, &d->cfg);
    take_domain(j);
    j->state = PWC__JOB_STATE__JOB_QUEUED;
    j->born = daemon_now(d);
    if (j->job_timeout_ns != 0)
        j->time_ev = timer(j, j->job_timeout_ns, on_time);
    if (j->op->split == PWC__SPLIT__SPLIT_COUNT || j->batch) {
        j->planned = true;
        ledger_init(&j->ledger, sub->chunks, j->batch ? 0 : sub->chunks);
        j->units = sub->chunks;
    }
    if (j->batch)
        j->absorb = PWC__ABSORB__ABSORB_NONE;
    j->small = job_is_small(j);
    jobs_add(d, j);
    user->jobs++;
    user_is_busy(d, user);
    TAILQ_INSERT_TAIL(queue_of(j), j, link);
    daemon_touch(d);
    return j;
}

/* Time in seats is counted from a common floor, the least that anybody active has used: who comes, or comes
 * back, neither pays for what he had when the others were away nor is owed what he did not ask for. */
static void raise_floor(struct daemon *d)
{
    const struct user *u;
    uint64_t least = UINT64_MAX;
    TAILQ_FOREACH(u, &d->busy, busy_link)
    {
        if (u->nactive > 0)
            least = MIN(least, u->used_ns);
    }
    if (least != UINT64_MAX)
        d->used_floor = MAX(d->used_floor, least);
}

void job_activate(struct job *j)
{
    raise_floor(j->d);
    if (j->user->nactive == 0)
        j->user->used_ns = MAX(j->user->used_ns, j->d->used_floor);
    TAILQ_REMOVE(queue_of(j), j, link);
    TAILQ_INSERT_TAIL(&j->user->active, j, link);
    j->user->nactive++;
    j->active = true;
    trace_start(j);
    job_want(j);
    /* Nothing to compute: a count or a batch of none. */
    if (j->planned && j->ledger.total == 0)
        job_check(j);
}

void job_fly(struct job *j)
{
    if (j->flying)
        return;
    TAILQ_REMOVE(&j->user->active, j, link);
    TAILQ_INSERT_TAIL(&j->user->flying, j, link);
    j->user->nflying++;
    j->d->nflying++;
    j->d->nflown++;
    j->flying = true;
}

void job_land(struct job *j)
{
    if (!j->flying)
        return;
    TAILQ_REMOVE(&j->user->flying, j, link);
    TAILQ_INSERT_TAIL(&j->user->active, j, link);
    j->user->nflying--;
    j->d->nflying--;
    j->flying = false;
}

/* ---- the end ---- */

static void call_back(struct job *j, struct stage *s)
{
    atomic_store(&s->control->limit, 0);
    atomic_store(&s->control->cancel, 1);
    /* Producer and consumer wait inside libraries; they are cheap to replace. */
    if (s->lease.kind == LEASE_PRODUCE || s->lease.kind == LEASE_CONSUME)
        stage_kill(s, PWC__CODE__CODE_OK, "its job has ended");
    else
        j->kill_at = mono_add(clock_now(), j->d->cfg.cancel_grace);
}

static void end_as(struct job *j, Pwc__JobState outcome, Pwc__Code code)
{
    j->outcome = outcome;
    j->code = code;
    j->state = PWC__JOB_STATE__JOB_ENDING;
    /* Whose connection was lost and who asks again wants the job done, not to hear that he was away. */
    if (outcome == PWC__JOB_STATE__JOB_CANCELLED && code == PWC__CODE__CODE_CLIENT_GONE)
        jobs_forget_key(j->d, j);
    if (j->last_death != NULL && deaths_ended(j, j->last_death))
        j->ended_by = j->last_death; /* stages that are called back may die later, of something else */
    trace_job(j);
    if (j->stages_on > 0)
        flow_for_stages_of(j, call_back);
    daemon_touch(j->d);
    if (j->stages_on == 0)
        job_settle(j);
}

void job_end(struct job *j, Pwc__JobState outcome, Pwc__Code code, const char *fmt, ...)
{
    char reason[PWC_TEXT_MAX];
    if (j->state == PWC__JOB_STATE__JOB_ENDING || job_is_terminal(j))
        return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(reason, sizeof reason, fmt, ap);
    va_end(ap);
    one_line(reason);
    if (reason[0] != '\0')
        j->reason = xstrdup(reason);
    else if (code != PWC__CODE__CODE_OK)
        j->reason = xstrdup(code_name(code)); /* a stage said that, and nothing more */
    end_as(j, outcome, code);
}

static void drop_work(struct job *j)
{
    if (!j->small) /* no stage has it open */
        flow_close_job(j);
    assembly_free(&j->assembly);
    ledger_free(&j->ledger);
    struct fold_state *f;
    while ((f = STAILQ_FIRST(&j->states)) != NULL) {
        STAILQ_REMOVE_HEAD(&j->states, link);
        free(f);
    }
    job_drop_fds(j);
    iset_free(&j->asked_again);
    iset_free(&j->recalled);
    iset_free(&j->lost);
    events_drop_records(j);
    free(TAKE_PTR(j->worker_ids));
    pace_free(&j->pace);
    closer_close_for(TAKE_FD(j->plan_fd), j->user->uid);
    closer_close_for(TAKE_FD(j->scratch_fd), j->user->uid);
    closer_close_for(TAKE_FD(j->scratch_ro_fd), j->user->uid);
    closer_close_for(TAKE_FD(j->raster_fd), j->user->uid);
    params_free(TAKE_PTR(j->params));
    params_free(TAKE_PTR(j->save));
    params_free(TAKE_PTR(j->load));
}

static void leave_queue(struct job *j)
{
    struct user *u = j->user;
    raise_floor(j->d);
    job_land(j);
    job_park(j, false);
    if (j->active) {
        TAILQ_REMOVE(&u->active, j, link);
        u->nactive--;
        j->active = false;
    } else {
        TAILQ_REMOVE(queue_of(j), j, link);
    }
    u->jobs--;
    if (j->home != NULL)
        TAKE_PTR(j->home)->jobs--;
}

/* The newest may still be in use up the stack. */
static void forget_some(struct daemon *d, const struct user *adds)
{
    while (d->nhistory > MAX(d->cfg.history, 1u))
        job_forget(user_kept_too_long(d, KEPT_JOBS, adds, d->nhistory));
}

void job_settle(struct job *j)
{
    struct daemon *d = j->d;
    BUG_ON(j->state != PWC__JOB_STATE__JOB_ENDING || j->stages_on > 0);
    j->ended = job_now(j);
    job_counts(j, &j->last_counts);
    j->state = j->outcome;
    if (j->outcome == PWC__JOB_STATE__JOB_DONE || j->outcome == PWC__JOB_STATE__JOB_PARTIAL)
        d->totals.done++;
    else
        d->totals.failed++;
    events_finished(j);
    leave_queue(j);
    drop_work(j);
    drop_timer(&j->linger_ev);
    drop_timer(&j->time_ev);
    watch_end_all(j);
    if (j->session != NULL) {
        session_job_ended(j->session, j);
        j->session = NULL;
    }
    log_debug("job %lu %s: %s", (unsigned long)j->id, job_state_name(j->state), job_reason(j));
    TAILQ_INSERT_TAIL(&d->history, j, link);
    user_keeps(j->user, KEPT_JOBS, &j->kept, j);
    d->nhistory++;
    forget_some(d, j->user);
    daemon_touch(d);
}

void job_forget(struct job *j)
{
    TAILQ_REMOVE(&j->d->history, j, link);
    j->d->nhistory--;
    user_keeps_no_more(KEPT_JOBS, &j->kept);
    jobs_remove(j->d, j);
    quarantine_drop(j, ALL_CHUNKS);
    free(j->recipe);
    free(j->input);
    free(j->results);
    free(j->reason);
    free(j->roles);
    job_dealloc(j);
}

void jobs_forget_some(struct daemon *d)
{
    forget_some(d, TAILQ_FIRST(&d->users));
}

static void on_linger(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct job *j = arg;
    struct daemon *d = j->d;
    job_end(j, PWC__JOB_STATE__JOB_CANCELLED, PWC__CODE__CODE_CLIENT_GONE, "its client went away");
    daemon_turn(d);
}

void job_session_gone(struct job *j)
{
    bool needs_client = j->items_in < j->items;
    trace_stop(j);
    j->session = NULL;
    job_no_items_again(j);
    if (job_is_terminal(j))
        return;
    bool stays = !needs_client && (j->on_disconnect != PWC__ON_DISCONNECT__ON_DISCONNECT_CANCEL ||
                                   watch_submitted(j)); /* the same request came from elsewhere, too */
    if (stays && watch_inherit(j)) {
        events_unsent(j);
        return;
    }
    if (stays && j->on_disconnect == PWC__ON_DISCONNECT__ON_DISCONNECT_DETACH)
        return;
    if (stays)
        j->linger_ev = timer(j, j->linger_ns, on_linger);
    else
        job_end(j, PWC__JOB_STATE__JOB_CANCELLED, PWC__CODE__CODE_CLIENT_GONE, "its client went away");
}

/* ---- what people see ---- */

void job_covers(const struct job *j, uint64_t chunk, char *text, size_t size)
{
    text[0] = '\0';
    if (j->batch) {
        snprintf(text, size, "%s", job_input(j, chunk));
    } else if (j->unit[0] != '\0' && j->unit_size > 0) {
        uint64_t from = chunk * j->unit_size, to = MIN(from + j->unit_size, MAX(j->units, from + 1));
        snprintf(text, size, "%s %lu to %lu", j->unit, (unsigned long)(j->unit_from + from),
                 (unsigned long)(j->unit_from + to - 1));
    }
}

const char *job_input(const struct job *j, uint64_t chunk)
{
    const struct item *it = j->batch ? job_find_item(j, chunk) : NULL;
    return it != NULL ? it->name : j->input != NULL ? j->input : "";
}

void job_counts(const struct job *j, Pwc__Counts *ret)
{
    if (job_is_terminal(j)) {
        *ret = j->last_counts;
        return;
    }
    pwc__counts__init(ret);
    const struct ledger *l = &j->ledger;
    ret->total = l->total;
    ret->done = l->done.count;
    ret->absorbed = j->absorb == PWC__ABSORB__ABSORB_SERIAL ? j->assembly.absorbed : l->done.count;
    ret->failed = l->bad.count;
    ret->retried = l->retried;
    ret->redone = l->redone;
    ret->deaths = j->deaths;
    ret->workers = j->distinct_workers;
    ret->leases = j->leases;
    ret->bytes_in = j->bytes_in;
    ret->bytes_out = j->bytes_out;
}

bool job_awaits_client(const struct job *j)
{
    return j->batch ? ledger_waiting(&j->ledger) == 0 : j->items > 0 && !j->have_fds;
}

const char *job_waiting_for(const struct job *j)
{
    if (job_is_terminal(j))
        return "";
    bool held_back =
        (j->d->short_of_memory && j->d->seats_busy < j->d->seats) || (j->active && solo_holds_back(j));
    if (j->workers_on == 0 && lack_holds_now(j)) /* where only its consumer has a stage, too */
        return lack_of_memory(j->d) ? "memory" : "descriptors";
    if (j->stages_on > 0)
        return held_back && ledger_waiting(&j->ledger) > 0 ? "memory" : "";
    if (j->d->catalogue == NULL || j->d->pool == NULL)
        return "stages";
    if (j->d->short_of_memory)
        return "memory";
    if (!j->active)
        return "turn";
    if (job_awaits_client(j))
        return "descriptors";
    if (held_back)
        return "memory";
    return MAX(j->d->seats_busy, j->user->running) >= j->d->seats ? "seats" : "stages";
}
