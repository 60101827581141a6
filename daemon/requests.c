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
#include "daemon/lack.h"
#include "daemon/lists.h"
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

/* Until a stage has said which ops there are. */
static bool may_submit(struct session *s, uint64_t tag)
{
    struct daemon *d = s->d;
    char text[256];
    if (d->stopping)
        reject(s, tag, PWC__CODE__CODE_BUSY, "", "the daemon is shutting down");
    else if (d->catalogue == NULL)
        reject(s, tag, PWC__CODE__CODE_START, "", lists_why_no_ops(d, text, sizeof text));
    else if (s->user->jobs >= d->cfg.jobs_per_user || d->njobs - d->nhistory >= d->cfg.jobs_max)
        reject(s, tag, PWC__CODE__CODE_BUSY, "", "too many jobs are waiting: try again later");
    else if (pool_denies(d->pool, (uint32_t)s->user->uid))
        reject(s, tag, PWC__CODE__CODE_BUSY, "",
               "processes of yours hang in the kernel and cannot be killed: try again when they are gone");
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

static const char *too_many_follow(const struct job *j, char *text, size_t size)
{
    snprintf(text, size, "job %lu is followed by %u connections already; no more are taken",
             (unsigned long)j->id, PWC_WATCHERS_MAX);
    return text;
}

static void linger_ends(struct job *j)
{
    if (j->linger_ev != NULL)
        event_free(TAKE_PTR(j->linger_ev));
}

/* A connection that has just been told so follows a job from here on, and it may be the first since nobody
 * did. */
static void taken_up(struct session *s, struct job *j, struct watch *w, uint64_t since)
{
    if (since < j->seq)
        w->gap_from = since + 1;
    if (j->session == s)
        j->tag = w->tag;
    if (j->session == NULL)
        watch_inherit(j);
    linger_ends(j);
    events_state(j);
}

/* The same request once more, mostly because the connection was lost: whoever sends it must hear the end of
 * the job as if it had been the first. It is not asked for descriptors: the job has those of the first, or
 * asks for them there. */
static void submit_again(struct session *s, uint64_t tag, struct job *j)
{
    char text[96];
    if (job_is_terminal(j)) {
        accepted(s, tag, j, true);
        events_end(j, s, tag);
        return;
    }
    bool follows = watch_find(s, j) != NULL; /* then it has missed nothing that it was not told of */
    struct watch *w = watch_add(s, j, tag);
    if (w == NULL) {
        reject(s, tag, PWC__CODE__CODE_BUSY, "", too_many_follow(j, text, sizeof text));
        return;
    }
    w->submitted = true;
    accepted(s, tag, j, true);
    taken_up(s, j, w, follows ? j->seq : 0);
}

static void on_submit(struct session *s, struct frame *f, const ProtobufCMessage *msg)
{
    const Pwc__Submit *m = (const Pwc__Submit *)msg;
    struct submission sub;
    struct refusal why;
    struct request_key key;
    request_key(&key, s->user, m->request_key.data, m->request_key.len);
    struct job *known = jobs_by_key(s->d, &key);
    if (known != NULL) {
        submit_again(s, f->tag, known);
        return;
    }
    if (!may_submit(s, f->tag))
        return;
    if (submit_check(s->d->catalogue, m, &sub, &why) < 0) {
        reject(s, f->tag, why.code, why.field, why.reason);
        return;
    }
    struct job *j = job_new(s->d, s->user, &sub, m);
    submission_free(&sub);
    j->tag = f->tag;
    session_add_job(s, j);
    watch_add(s, j, f->tag)->submitted = true;
    accepted(s, f->tag, j, false);
}

/* ---- items ---- */

struct job *request_job(struct session *s, struct frame *f, uint64_t id)
{
    struct job *j = job_find(s->d, id);
    if (j != NULL && session_may_see(s, j))
        return j;
    char text[64];
    snprintf(text, sizeof text, "job %lu: no such job", (unsigned long)id);
    session_error(s, f->tag, f->type, PWC__CODE__CODE_NO_SUCH_JOB, text);
    return NULL;
}

static bool known(Pwc__Code code)
{
    return protobuf_c_enum_descriptor_get_value(&pwc__code__descriptor, (int)code) != NULL;
}

static Pwc__Code take_item(struct session *s, struct frame *f, const Pwc__Item *m, struct job *j)
{
    const char *name = msg_name_of(&m->name);
    if (closer_stuck(s->uid) > STUCK_CLOSES_MAX)
        return job_item_failed(j, m->index, PWC__CODE__CODE_DENIED, name,
                               "too many of your descriptors hang when closed");
    if (f->lost)
        return job_item_lost(j, m->index, name);
    if (m->code != PWC__CODE__CODE_OK) /* one of ours: it is told to whoever asks for the job */
        return job_item_failed(j, m->index, known(m->code) ? m->code : PWC__CODE__CODE_BAD_INPUT, name,
                               m->reason);
    Pwc__Code code = job_item(j, m->index, name, f->fds, f->nfds);
    for (unsigned i = 0; code == PWC__CODE__CODE_OK && i < f->nfds; i++)
        (void)frame_take_fd(f, i);
    return code;
}

static void on_item(struct session *s, struct frame *f, const ProtobufCMessage *msg)
{
    const Pwc__Item *m = (const Pwc__Item *)msg;
    struct job *j = job_find(s->d, m->job);
    /* A job may end while its items are on the way: they are closed with the frame. */
    if (j == NULL || j->session != s || j->state == PWC__JOB_STATE__JOB_ENDING || job_is_terminal(j))
        return;
    Pwc__Code code = take_item(s, f, m, j);
    if (code == PWC__CODE__CODE_OK)
        return;
    session_error(s, f->tag, f->type, code,
                  code == PWC__CODE__CODE_STATE ? "item out of order" : "wrong number of descriptors");
    job_end(j, PWC__JOB_STATE__JOB_FAILED, code, "item %lu: out of order, or not one descriptor a role",
            (unsigned long)m->index);
}

static void on_chunk_credit(struct session *s, struct frame *f, const ProtobufCMessage *msg)
{
    const Pwc__ChunkCredit *m = (const Pwc__ChunkCredit *)msg;
    struct job *j = request_job(s, f, m->job);
    struct watch *w = j != NULL ? watch_find(s, j) : NULL;
    if (w != NULL)
        events_credit(w, m->n);
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
    struct job *j = request_job(s, f, ((const Pwc__Cancel *)msg)->job);
    if (j == NULL)
        return;
    ok(s, f, j->id);
    if (!job_is_terminal(j))
        job_end(j, PWC__JOB_STATE__JOB_CANCELLED, PWC__CODE__CODE_CANCELLED, "cancelled");
}

static void on_attach(struct session *s, struct frame *f, const ProtobufCMessage *msg)
{
    const Pwc__Attach *m = (const Pwc__Attach *)msg;
    struct job *j = request_job(s, f, m->job);
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
        session_error(s, f->tag, f->type, PWC__CODE__CODE_BUSY, too_many_follow(j, text, sizeof text));
        return;
    }
    ok(s, f, j->id);
    taken_up(s, j, w, m->since);
}

static bool needs_items(const struct job *j)
{
    return !job_is_terminal(j) && j->state != PWC__JOB_STATE__JOB_ENDING &&
           (j->items_in < j->items || j->asked_again.n > 0 || j->recalled.n > 0 || j->lost.n > 0);
}

/* Like Cancel it is about the job, whoever of its user says so: the one that submitted it, or the same again,
 * or looks on. */
static void on_detach(struct session *s, struct frame *f, const ProtobufCMessage *msg)
{
    struct job *j = request_job(s, f, ((const Pwc__Detach *)msg)->job);
    if (j == NULL)
        return;
    if (needs_items(j)) {
        session_error(s, f->tag, f->type, PWC__CODE__CODE_STATE,
                      "the job still needs descriptors of its client");
        return;
    }
    struct watch *w = watch_find(s, j);
    if (w != NULL)
        watch_end(w);
    if (j->session == s) {
        TAILQ_REMOVE(&s->jobs, j, by_session);
        trace_stop(j);
        j->session = NULL;
        watch_inherit(j);
    }
    j->on_disconnect = PWC__ON_DISCONNECT__ON_DISCONNECT_DETACH;
    linger_ends(j);
    ok(s, f, j->id);
}

/* ---- quarantine ---- */

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
    struct job *j = request_job(s, f, m->job);
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
    struct job *j = request_job(s, f, m->job);
    if (j != NULL)
        ok_many(s, f, j->id, quarantine_drop(j, m->one_chunk ? m->chunk : ALL_CHUNKS));
}

/* ---- status ---- */

static void count_jobs(const struct daemon *d, Pwc__Status *m)
{
    const struct user *u;
    const struct job *j;
    TAILQ_FOREACH(u, &d->busy, busy_link)
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

/* One line on what is wrong. A job was the last to miss the place for rasters, and nobody tells us when it is
 * back: it is looked for again. */
static const char *health(struct daemon *d, char *text, size_t size)
{
    char lack[LACK_TEXT];
    const char *trouble = starts_trouble(d->pool);
    if (trouble != NULL)
        return trouble;
    int r = d->scratch_error != 0 ? posture_scratch_try(d->cfg.scratch) : 0;
    if (!lack_passes(r)) /* which is told as what it is, below */
        d->scratch_error = r;
    if (lack_now(d, lack))
        snprintf(text, size, "%s", lack);
    else if (d->scratch_error != 0)
        snprintf(text, size, "no scratch file in %.150s: %s", d->cfg.scratch, strerror(-d->scratch_error));
    else
        return d->stopping ? "shutting down" : "ok";
    return text;
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
    char ill[256];
    m.health = (char *)(uintptr_t)health(d, ill, sizeof ill);
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
    {PWC_MSG_LIST_JOBS, lists_jobs},
    {PWC_MSG_LIST_STAGES, lists_stages},
    {PWC_MSG_LIST_OPS, lists_ops},
    {PWC_MSG_LIST_DEATHS, lists_deaths},
    {PWC_MSG_GET_STATUS, on_get_status},
    {PWC_MSG_DATA, on_reserved},
    {PWC_MSG_CREDIT, on_reserved},
    {PWC_MSG_LIST_QUARANTINE, lists_quarantine},
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
