/*
 * requests.c - what clients ask, one handler a message. A new request is a row here and in messages.def.
 *
 * Handlers borrow the unpacked message and the frame; descriptors they keep are taken out of the frame.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/cgroup.h"
#include "daemon/closer.h"
#include "daemon/deaths.h"
#include "daemon/dispatch.h"
#include "daemon/events.h"
#include "daemon/pool.h"
#include "daemon/posture.h"
#include "daemon/quarantine.h"
#include "daemon/session.h"
#include "daemon/small.h"
#include "daemon/trace.h"
#include "daemon/watch.h"
#include "ipc/log.h"

#define STUCK_CLOSES_MAX 4u /* descriptors whose close hangs: after so many their user may send no more */

static char server_name[] = "pwcd " PACKAGE_VERSION;

/* ---- hello, ping ---- */

static void on_hello(struct session *s, struct frame *f, const ProtobufCMessage *msg)
{
    const Pwc__Hello *m = (const Pwc__Hello *)msg;
    if (m->version_min > PWC_VERSION_MAX || m->version_max < PWC_VERSION_MIN) {
        char text[96];
        snprintf(text, sizeof text, "protocol versions %u to %u are not spoken here, %u to %u are",
                 m->version_min, m->version_max, PWC_VERSION_MIN, PWC_VERSION_MAX);
        session_error(s, f->tag, f->type, PWC__CODE__CODE_VERSION, text);
        session_doom(s, "no common version");
        return;
    }
    s->open = true;
    event_add(s->read_ev, NULL); /* keeps the event, ends its time-out */
    event_remove_timer(s->read_ev);
    Pwc__Welcome w = PWC__WELCOME__INIT;
    w.version = MIN(m->version_max, PWC_VERSION_MAX);
    w.instance = (ProtobufCBinaryData){sizeof s->d->instance, s->d->instance};
    w.server = server_name;
    w.body_max = PWC_BODY_MAX;
    w.tail_max = PWC_TAIL_MAX;
    w.fds_max = PWC_FDS_MAX;
    w.workers = s->d->seats;
    w.uid = (uint32_t)s->uid;
    session_send(s, PWC_MSG_WELCOME, f->tag, &w.base);
}

static void on_ping(struct session *s, struct frame *f, const ProtobufCMessage *msg)
{
    const Pwc__Ping *m = (const Pwc__Ping *)msg;
    Pwc__Pong p = PWC__PONG__INIT;
    p.payload = m->payload;
    p.payload.len = MIN(p.payload.len, (size_t)32);
    session_send(s, PWC_MSG_PONG, f->tag, &p.base);
}

/* ---- submit ---- */

static void reject(struct session *s, uint64_t tag, Pwc__Code code, const char *field, const char *reason)
{
    Pwc__Rejected m = PWC__REJECTED__INIT;
    m.code = code;
    m.field = (char *)(uintptr_t)field;
    m.reason = (char *)(uintptr_t)reason;
    session_send(s, PWC_MSG_REJECTED, tag, &m.base);
}

static const struct job *in_list(const struct job_list *list, const Pwc__Submit *m)
{
    const struct job *j;
    TAILQ_FOREACH(j, list, link)
    {
        if (j->key_len == m->request_key.len && memcmp(j->key, m->request_key.data, j->key_len) == 0)
            return j;
    }
    return NULL;
}

static const struct job *same_request(struct session *s, const Pwc__Submit *m)
{
    if (m->request_key.len == 0)
        return NULL;
    const struct job *j = in_list(&s->user->active, m);
    if (j == NULL)
        j = in_list(&s->user->flying, m);
    for (int i = 0; j == NULL && i < PRIORITIES; i++)
        j = in_list(&s->user->waiting[i], m);
    if (j != NULL)
        return j;
    TAILQ_FOREACH(j, &s->d->history, link)
    {
        if (j->user == s->user && j->key_len == m->request_key.len &&
            memcmp(j->key, m->request_key.data, j->key_len) == 0)
            return j;
    }
    return NULL;
}

/* Until a stage has said which ops there are. */
static const char *why_no_ops(const struct daemon *d, char *text, size_t size)
{
    if (d->pool->last_words[0] == '\0')
        return "stages are starting: try again";
    snprintf(text, size, "no stage can be started: %s", d->pool->last_words);
    return text;
}

static bool may_submit(struct session *s, uint64_t tag)
{
    struct daemon *d = s->d;
    char text[256];
    if (d->stopping)
        reject(s, tag, PWC__CODE__CODE_BUSY, "", "the daemon is shutting down");
    else if (d->catalogue == NULL)
        reject(s, tag, PWC__CODE__CODE_START, "", why_no_ops(d, text, sizeof text));
    else if (s->user->jobs >= d->cfg.jobs_per_user || d->njobs - d->nhistory >= d->cfg.jobs_max)
        reject(s, tag, PWC__CODE__CODE_BUSY, "", "too many jobs are waiting: try again later");
    else
        return true;
    return false;
}

/* A quick job's end will be told in a moment: one wake-up of the client is enough for both. */
static void accepted(struct session *s, uint64_t tag, const struct job *j, bool existing)
{
    Pwc__Accepted a = PWC__ACCEPTED__INIT;
    a.job = j->id;
    a.existing = existing;
    if (!existing && small_is_quick(j))
        session_send_later(s, PWC_MSG_ACCEPTED, tag, &a.base);
    else
        session_send(s, PWC_MSG_ACCEPTED, tag, &a.base);
}

static void on_submit(struct session *s, struct frame *f, const ProtobufCMessage *msg)
{
    const Pwc__Submit *m = (const Pwc__Submit *)msg;
    struct submission sub;
    struct refusal why;
    if (!may_submit(s, f->tag))
        return;
    const struct job *known = same_request(s, m);
    if (known != NULL) {
        accepted(s, f->tag, known, true);
        return;
    }
    if (submit_check(s->d->catalogue, m, &sub, &why) < 0) {
        reject(s, f->tag, why.code, why.field, why.reason);
        return;
    }
    struct job *j = job_new(s->d, s->user, &sub, m);
    submission_free(&sub);
    j->tag = f->tag;
    session_add_job(s, j);
    watch_add(s, j, f->tag);
    accepted(s, f->tag, j, false);
}

/* ---- items ---- */

static struct job *own_job(struct session *s, struct frame *f, uint64_t id)
{
    struct job *j = job_find(s->d, id);
    if (j != NULL && session_may_see(s, j))
        return j;
    char text[64];
    snprintf(text, sizeof text, "job %lu: no such job", (unsigned long)id);
    session_error(s, f->tag, f->type, PWC__CODE__CODE_NO_SUCH_JOB, text);
    return NULL;
}

static void on_item(struct session *s, struct frame *f, const ProtobufCMessage *msg)
{
    const Pwc__Item *m = (const Pwc__Item *)msg;
    struct job *j = job_find(s->d, m->job);
    /* A job may end while its items are on the way: they are closed with the frame. */
    if (j == NULL || j->session != s || j->state == PWC__JOB_STATE__JOB_ENDING || job_is_terminal(j))
        return;
    if (closer_stuck(s->uid) > STUCK_CLOSES_MAX) {
        job_item_failed(j, m->index, PWC__CODE__CODE_DENIED, m->name,
                        "too many of your descriptors hang when closed");
        return;
    }
    if (m->code != PWC__CODE__CODE_OK) {
        job_item_failed(j, m->index, m->code, m->name, m->reason);
        return;
    }
    Pwc__Code code = job_item(j, m->index, m->name, f->fds, f->nfds);
    if (code == PWC__CODE__CODE_OK) {
        for (unsigned i = 0; i < f->nfds; i++)
            (void)frame_take_fd(f, i);
        return;
    }
    session_error(s, f->tag, f->type, code,
                  code == PWC__CODE__CODE_STATE ? "item out of order" : "wrong number of descriptors");
    job_end(j, PWC__JOB_STATE__JOB_FAILED, code, "item %lu: out of order, or not one descriptor a role",
            (unsigned long)m->index);
}

static void on_chunk_credit(struct session *s, struct frame *f, const ProtobufCMessage *msg)
{
    const Pwc__ChunkCredit *m = (const Pwc__ChunkCredit *)msg;
    struct job *j = own_job(s, f, m->job);
    if (j != NULL && j->session == s)
        events_credit(j, m->n);
}

/* ---- cancel, attach, detach ---- */

static void ok(struct session *s, struct frame *f, uint64_t job)
{
    Pwc__Ok m = PWC__OK__INIT;
    m.job = job;
    session_send(s, PWC_MSG_OK, f->tag, &m.base);
}

static void on_cancel(struct session *s, struct frame *f, const ProtobufCMessage *msg)
{
    struct job *j = own_job(s, f, ((const Pwc__Cancel *)msg)->job);
    if (j == NULL)
        return;
    ok(s, f, j->id);
    if (!job_is_terminal(j))
        job_end(j, PWC__JOB_STATE__JOB_CANCELLED, PWC__CODE__CODE_CANCELLED, "cancelled");
}

static void on_attach(struct session *s, struct frame *f, const ProtobufCMessage *msg)
{
    const Pwc__Attach *m = (const Pwc__Attach *)msg;
    struct job *j = own_job(s, f, m->job);
    if (j == NULL)
        return;
    if (job_is_terminal(j)) {
        ok(s, f, j->id);
        events_end(j, s, f->tag);
        return;
    }
    struct watch *w = watch_add(s, j, f->tag);
    if (w == NULL) {
        char text[96];
        snprintf(text, sizeof text, "job %lu is followed by %u connections already; no more are taken",
                 (unsigned long)j->id, PWC_WATCHERS_MAX);
        session_error(s, f->tag, f->type, PWC__CODE__CODE_BUSY, text);
        return;
    }
    ok(s, f, j->id);
    if (m->since < j->seq)
        w->gap_from = m->since + 1;
    if (j->session == s)
        j->tag = f->tag;
    if (j->session == NULL)
        watch_inherit(j);
    if (j->linger_ev != NULL)
        event_free(TAKE_PTR(j->linger_ev));
    events_state(j);
}

static void on_detach(struct session *s, struct frame *f, const ProtobufCMessage *msg)
{
    struct job *j = own_job(s, f, ((const Pwc__Detach *)msg)->job);
    if (j == NULL)
        return;
    if (j->items_in < j->items) {
        session_error(s, f->tag, f->type, PWC__CODE__CODE_STATE,
                      "the job still needs descriptors of its client");
        return;
    }
    if (j->session == s) {
        watch_end(watch_find(s, j));
        TAILQ_REMOVE(&s->jobs, j, by_session);
        trace_stop(j);
        j->session = NULL;
        j->on_disconnect = PWC__ON_DISCONNECT__ON_DISCONNECT_DETACH;
    }
    ok(s, f, j->id);
}

/* ---- lists: each step sends one item and moves on ---- */

static void send_job(struct session *s, const struct job *j)
{
    Pwc__JobInfo m = PWC__JOB_INFO__INIT;
    Pwc__Counts counts;
    struct mono now = clock_now();
    job_counts(j, &counts);
    m.job = j->id;
    m.op = j->op->name;
    m.uid = (uint32_t)j->user->uid;
    m.state = j->state;
    m.counts = &counts;
    m.waiting = (char *)(uintptr_t)job_waiting_for(j);
    m.age_ns = (uint64_t)mono_since(now, j->born);
    m.run_ns = j->began.ns == 0 ? 0 : (uint64_t)mono_since(job_is_terminal(j) ? j->ended : now, j->began);
    m.code = j->code;
    m.reason = (char *)(uintptr_t)j->reason;
    m.domain = (char *)(uintptr_t)j->label;
    m.items = j->items;
    session_send(s, PWC_MSG_JOB_INFO, s->list.tag, &m.base);
}

/* By id: the table may change between two steps, the order of ids does not. */
static bool step_jobs(struct session *s, uint64_t *position)
{
    uint64_t only = s->list.filter;
    const struct job *j = only != 0 ? job_find(s->d, only) : job_after(s->d, *position);
    if (only != 0 && *position >= only)
        return false;
    while (j != NULL && only == 0 && !session_may_see(s, j))
        j = job_after(s->d, j->id);
    if (j == NULL || !session_may_see(s, j))
        return false;
    *position = j->id;
    send_job(s, j);
    return true;
}

static void on_list_jobs(struct session *s, struct frame *f, const ProtobufCMessage *msg)
{
    session_list(s, f->tag, step_jobs, ((const Pwc__ListJobs *)msg)->job, UINT64_MAX);
}

static bool step_stages(struct session *s, uint64_t *position)
{
    const struct stage *x, *found = NULL;
    TAILQ_FOREACH(x, &s->d->pool->stages, link)
    {
        if (x->id > *position && (found == NULL || x->id < found->id) &&
            (s->uid == 0 || x->domain == 0 || x->uid == s->uid))
            found = x;
    }
    if (found == NULL)
        return false;
    *position = found->id;
    uint64_t chunk = stage_slot_chunk(found);
    Pwc__StageInfo m = PWC__STAGE_INFO__INIT;
    m.stage = found->id;
    m.pid = (uint32_t)found->pid;
    m.role = (char *)(uintptr_t)stage_role_name(found);
    m.state = (char *)(uintptr_t)stage_state_name(found->state);
    m.uid = found->uid;
    m.job = found->job != NULL ? found->job->id : 0;
    m.in_chunk = found->lease.kind == LEASE_CHUNKS && chunk >= found->lease.first && chunk < found->lease.end;
    m.chunk = m.in_chunk ? chunk : 0;
    m.chunks = found->chunks;
    m.age_ns = (uint64_t)mono_since(clock_now(), found->born);
    m.layers = (char *)(uintptr_t)found->layers;
    session_send(s, PWC_MSG_STAGE_INFO, s->list.tag, &m.base);
    return true;
}

/* The nursery stands first in the list, as stage 0. */
static bool step_nursery(struct session *s, uint64_t *position)
{
    const struct pool *p = s->d->pool;
    *position = 0;
    s->list.step = step_stages;
    if (p->nursery == NULL)
        return step_stages(s, position);
    Pwc__StageInfo m = PWC__STAGE_INFO__INIT;
    m.pid = (uint32_t)p->nursery_pid;
    m.role = (char *)(uintptr_t) "nursery";
    m.state = (char *)(uintptr_t)(p->nursery_ready ? "ready" : "booting");
    session_send(s, PWC_MSG_STAGE_INFO, s->list.tag, &m.base);
    return true;
}

static void on_list_stages(struct session *s, struct frame *f, const ProtobufCMessage *msg)
{
    (void)msg;
    session_list(s, f->tag, step_nursery, 0, UINT64_MAX);
}

static bool step_ops(struct session *s, uint64_t *position)
{
    const struct catalogue *c = s->d->catalogue;
    while (c != NULL && *position < catalogue_len(c)) {
        const struct catalogue_op *op = catalogue_at(c, (*position)++);
        if (s->list.name[0] != '\0' && strcmp(s->list.name, op->info->name) != 0)
            continue;
        session_send(s, PWC_MSG_OP_INFO, s->list.tag, &op->info->base);
        return true;
    }
    return false;
}

static void on_list_ops(struct session *s, struct frame *f, const ProtobufCMessage *msg)
{
    const Pwc__ListOps *m = (const Pwc__ListOps *)msg;
    char text[256];
    if (s->d->catalogue == NULL) {
        session_error(s, f->tag, f->type, PWC__CODE__CODE_START, why_no_ops(s->d, text, sizeof text));
        return;
    }
    if (m->name[0] != '\0' && catalogue_find(s->d->catalogue, m->name) == NULL) {
        const char *near = catalogue_nearest(s->d->catalogue, m->name);
        snprintf(text, sizeof text, "no op '%.64s'%s%s%s", m->name, near != NULL ? "; did you mean '" : "",
                 near != NULL ? near : "", near != NULL ? "'?" : "");
        session_error(s, f->tag, f->type, PWC__CODE__CODE_NO_SUCH_OP, text);
        return;
    }
    snprintf(s->list.name, sizeof s->list.name, "%s", m->name);
    session_list(s, f->tag, step_ops, 0, UINT64_MAX);
}

static bool step_deaths(struct session *s, uint64_t *position)
{
    uint64_t i = 0;
    const struct death *x;
    TAILQ_FOREACH(x, &s->d->deaths, link)
    {
        if (i++ < *position)
            continue;
        *position = i;
        if ((s->uid != 0 && x->uid != s->uid) || (s->list.filter != 0 && x->job != s->list.filter))
            continue;
        if (s->list.chunk != UINT64_MAX && !(x->in_chunk && x->chunk == s->list.chunk))
            continue;
        Pwc__Death m;
        deaths_pack(x, &m);
        session_send(s, PWC_MSG_DEATH, s->list.tag, &m.base);
        return true;
    }
    return false;
}

static void on_list_deaths(struct session *s, struct frame *f, const ProtobufCMessage *msg)
{
    const Pwc__ListDeaths *m = (const Pwc__ListDeaths *)msg;
    session_list(s, f->tag, step_deaths, m->job, m->one_chunk ? m->chunk : UINT64_MAX);
}

/* ---- quarantine ---- */

static void send_quarantined(struct session *s, const struct given_up *g)
{
    char why[PWC_TEXT_MAX];
    quarantine_why_not(g, why, sizeof why);
    Pwc__Quarantined m = PWC__QUARANTINED__INIT;
    m.job = g->job->id;
    m.chunk = g->chunk;
    m.op = g->job->op->name;
    m.state = g->job->state;
    m.uid = (uint32_t)g->job->user->uid;
    m.covers = g->covers;
    m.code = g->code;
    m.reason = g->reason;
    m.attempts = g->attempts;
    m.at_ns = (uint64_t)g->at_ns;
    m.on_failure = g->job->on_failure;
    m.fill = g->job->fill;
    m.why_not = why;
    session_send(s, PWC_MSG_QUARANTINED, s->list.tag, &m.base);
}

static bool step_quarantine(struct session *s, uint64_t *position)
{
    uint64_t i = 0;
    const struct given_up *g;
    TAILQ_FOREACH(g, &s->d->quarantine, link)
    {
        if (i++ < *position)
            continue;
        *position = i;
        if (!session_may_see(s, g->job) || (s->list.filter != 0 && g->job->id != s->list.filter) ||
            (s->list.chunk != UINT64_MAX && g->chunk != s->list.chunk))
            continue;
        send_quarantined(s, g);
        return true;
    }
    return false;
}

static void on_list_quarantine(struct session *s, struct frame *f, const ProtobufCMessage *msg)
{
    const Pwc__ListQuarantine *m = (const Pwc__ListQuarantine *)msg;
    if (m->job == 0 || own_job(s, f, m->job) != NULL)
        session_list(s, f->tag, step_quarantine, m->job, m->one_chunk ? m->chunk : UINT64_MAX);
}

static void ok_many(struct session *s, struct frame *f, uint64_t job, uint64_t n)
{
    Pwc__Ok m = PWC__OK__INIT;
    m.job = job;
    m.n = n;
    session_send(s, PWC_MSG_OK, f->tag, &m.base);
}

static void on_retry_chunks(struct session *s, struct frame *f, const ProtobufCMessage *msg)
{
    const Pwc__RetryChunks *m = (const Pwc__RetryChunks *)msg;
    char why[PWC_TEXT_MAX];
    struct job *j = own_job(s, f, m->job);
    if (j == NULL)
        return;
    uint64_t n = quarantine_retry(j, m->one_chunk ? m->chunk : ALL_CHUNKS, why, sizeof why);
    if (n > 0)
        ok_many(s, f, j->id, n);
    else
        session_error(s, f->tag, f->type, PWC__CODE__CODE_STATE, why);
}

static void on_drop_chunks(struct session *s, struct frame *f, const ProtobufCMessage *msg)
{
    const Pwc__DropChunks *m = (const Pwc__DropChunks *)msg;
    struct job *j = own_job(s, f, m->job);
    if (j != NULL)
        ok_many(s, f, j->id, quarantine_drop(j, m->one_chunk ? m->chunk : ALL_CHUNKS));
}

/* ---- status ---- */

static void count_jobs(const struct daemon *d, Pwc__Status *m)
{
    const struct user *u;
    const struct job *j;
    TAILQ_FOREACH(u, &d->users, link)
    {
        m->jobs_queued += u->jobs - u->nactive;
        m->jobs_running += u->nflying;
        TAILQ_FOREACH(j, &u->active, link)
        {
            if (j->state == PWC__JOB_STATE__JOB_QUEUED)
                m->jobs_queued++;
            else
                m->jobs_running++;
        }
    }
}

static void on_get_status(struct session *s, struct frame *f, const ProtobufCMessage *msg)
{
    (void)msg;
    struct daemon *d = s->d;
    Pwc__Status m = PWC__STATUS__INIT;
    m.server = server_name;
    m.pid = (uint32_t)getpid();
    m.workers = d->seats;
    m.workers_from = (char *)(uintptr_t)d->seats_from;
    m.busy = d->seats_busy;
    m.stages = d->pool->n;
    m.spares = pool_count(d->pool, STAGE_SPARE, 0);
    count_jobs(d, &m);
    m.jobs_done = d->totals.done;
    m.jobs_failed = d->totals.failed;
    m.deaths = d->totals.deaths;
    m.dropped = d->totals.dropped;
    m.clients = d->nsessions;
    m.up_ns = (uint64_t)mono_since(clock_now(), d->started);
    m.health = d->pool->restart.in_row >= RESTART_GIVE_UP ? d->pool->last_words : (char *)(uintptr_t) "ok";
    const struct stage *x;
    TAILQ_FOREACH(x, &d->pool->stages, link)
    {
        if (x->layers[0] == '\0')
            continue;
        m.layers = (char *)(uintptr_t)x->layers;
        m.missing = (char *)(uintptr_t)x->missing;
    }
    char limits[256];
    m.memory = (char *)(uintptr_t)cgroups_posture();
    m.limits = posture_limits(&d->cfg, d->seats, limits, sizeof limits);
    m.scratch = d->scratch;
    session_send(s, PWC_MSG_STATUS, f->tag, &m.base);
}

static void on_reserved(struct session *s, struct frame *f, const ProtobufCMessage *msg)
{
    (void)msg;
    session_error(s, f->tag, f->type, PWC__CODE__CODE_UNSUPPORTED,
                  "reserved for remote peers: pass a descriptor instead");
}

/* ---- the table ---- */

static const struct {
    uint16_t type;
    void (*handle)(struct session *, struct frame *, const ProtobufCMessage *);
} handlers[] = {
    {PWC_MSG_HELLO, on_hello},
    {PWC_MSG_PING, on_ping},
    {PWC_MSG_SUBMIT, on_submit},
    {PWC_MSG_ITEM, on_item},
    {PWC_MSG_CHUNK_CREDIT, on_chunk_credit},
    {PWC_MSG_CANCEL, on_cancel},
    {PWC_MSG_ATTACH, on_attach},
    {PWC_MSG_DETACH, on_detach},
    {PWC_MSG_LIST_JOBS, on_list_jobs},
    {PWC_MSG_LIST_STAGES, on_list_stages},
    {PWC_MSG_LIST_OPS, on_list_ops},
    {PWC_MSG_LIST_DEATHS, on_list_deaths},
    {PWC_MSG_GET_STATUS, on_get_status},
    {PWC_MSG_DATA, on_reserved},
    {PWC_MSG_CREDIT, on_reserved},
    {PWC_MSG_LIST_QUARANTINE, on_list_quarantine},
    {PWC_MSG_RETRY_CHUNKS, on_retry_chunks},
    {PWC_MSG_DROP_CHUNKS, on_drop_chunks},
};

void request_handle(struct session *s, struct frame *f)
{
    for (size_t i = 0; i < ARRAY_LEN(handlers); i++) {
        if (handlers[i].type != f->type)
            continue;
        ProtobufCMessage *m = msg_unpack(f->desc, f->body, f->body_len);
        if (m == NULL) {
            session_error(s, f->tag, f->type, PWC__CODE__CODE_MALFORMED, "body does not parse");
            session_doom(s, "sent a malformed body");
            return;
        }
        handlers[i].handle(s, f, m);
        msg_free(m);
        return;
    }
    session_error(s, f->tag, f->type, PWC__CODE__CODE_UNSUPPORTED, "not supported");
}
