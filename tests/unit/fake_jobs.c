/* fake_jobs.c - the fake daemon's jobs: what is asked of them, and what their ops do (test_client_fake.h). */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/fake_conn.h"

struct job {
    uint64_t id, tag, items, wanted, answered, failed;
    char op[64], key[40];
    Pwc__Submit *submit;
    uint32_t credit, records;
    unsigned window;
    struct job *next;
};

/* ---- sending ---- */

/* Goes round the channel: one byte a packet, so that the client sees every possible cut. */
static void send_bytewise(struct conn *c, uint16_t type, uint64_t tag, const ProtobufCMessage *msg)
{
    uint8_t bytes[4096];
    size_t body = protobuf_c_message_get_packed_size(msg);
    MUST(body < sizeof bytes - PWC_HEADER_BYTES);
    struct frame_head h = {(uint32_t)(PWC_HEADER_BYTES + body - 4), type, 0, tag, (uint32_t)body};
    frame_put(bytes, &h);
    protobuf_c_message_pack(msg, bytes + PWC_HEADER_BYTES);
    for (size_t i = 0; i < PWC_HEADER_BYTES + body; i++)
        if (send(chan_fd(c->chan), bytes + i, 1, MSG_NOSIGNAL) != 1)
            c->end = true;
}

static void send_ok(struct conn *c, uint64_t tag, uint64_t job)
{
    Pwc__Ok ok = PWC__OK__INIT;
    ok.job = job;
    fake_send_msg(c, PWC_MSG_OK, tag, &ok.base);
}

/* ---- jobs ---- */

static struct job *job_find(struct conn *c, uint64_t id)
{
    for (struct job *j = c->jobs; j != NULL; j = j->next)
        if (j->id == id)
            return j;
    return NULL;
}

static void keyed_ended(struct fake *f, uint64_t job)
{
    pthread_mutex_lock(&f->lock);
    f->keyed.ended |= f->keyed.len > 0 && f->keyed.job == job;
    pthread_mutex_unlock(&f->lock);
}

static void job_drop(struct conn *c, struct job *job)
{
    struct job **at = &c->jobs;
    while (*at != job)
        at = &(*at)->next;
    *at = job->next;
    msg_free(&job->submit->base);
    free(job);
}

struct result {
    Pwc__Param param;
    Pwc__Value value;
};

static void finish(struct conn *c, struct job *job, Pwc__JobState state, Pwc__Code code, const char *reason,
                   uint64_t bytes)
{
    Pwc__Finished fin = PWC__FINISHED__INIT;
    Pwc__Counts counts = PWC__COUNTS__INIT;
    Pwc__Death death = PWC__DEATH__INIT;
    Pwc__Param extra = PWC__PARAM__INIT, *results[PWC_PARAMS_MAX + 1];
    Pwc__Value value = PWC__VALUE__INIT;
    extra.name = TEXT("bytes");
    extra.value = &value;
    value.kind_case = PWC__VALUE__KIND_U64;
    value.u64 = bytes;
    if (state == PWC__JOB_STATE__JOB_DONE) {
        for (; fin.n_results < job->submit->n_params; fin.n_results++)
            results[fin.n_results] = job->submit->params[fin.n_results];
        results[fin.n_results++] = &extra;
        fin.results = results;
    }
    counts.total = counts.done = job->items > 0 ? job->items : 1;
    counts.failed = job->failed;
    counts.workers = 2;
    if (code == PWC__CODE__CODE_CRASH) {
        death.chunk = 17;
        death.in_chunk = true;
        death.covers = TEXT("rows 2176 to 2303");
        death.signal = 11;
        death.code = code;
        death.attempt = death.attempts_max = 2;
        counts.deaths = 2;
        fin.death = &death;
    }
    keyed_ended(c->f, job->id);
    fin.job = job->id;
    fin.state = state;
    fin.code = code;
    fin.reason = TEXT(reason);
    fin.counts = &counts;
    fin.run_ns = 5000000;
    if (strcmp(job->op, "tiny") == 0)
        send_bytewise(c, PWC_MSG_FINISHED, 0, &fin.base);
    else
        fake_send_msg(c, PWC_MSG_FINISHED, 0, &fin.base);
    job_drop(c, job);
}

static void want(struct conn *c, struct job *job)
{
    uint64_t n = MIN(job->window - (job->wanted - job->answered), job->items - job->wanted);
    if (n == 0)
        return;
    Pwc__Want w = PWC__WANT__INIT;
    w.job = job->id;
    w.first = job->wanted;
    w.n = (uint32_t)n;
    job->wanted += n;
    fake_send_msg(c, PWC_MSG_WANT, 0, &w.base);
    unsigned out = (unsigned)(job->wanted - job->answered), most = atomic_load(&c->f->most_items);
    while (out > most && !atomic_compare_exchange_weak(&c->f->most_items, &most, out))
        continue;
}

static void send_death(struct conn *c, struct job *job, Pwc__EventKind kind, uint32_t attempt)
{
    Pwc__Event e = PWC__EVENT__INIT;
    Pwc__Death d = PWC__DEATH__INIT;
    d.chunk = 17;
    d.in_chunk = true;
    d.covers = TEXT("rows 2176 to 2303");
    d.signal = 11;
    d.code = PWC__CODE__CODE_CRASH;
    d.role = TEXT("worker");
    d.pid = 4711;
    d.attempt = attempt;
    d.attempts_max = 2;
    e.job = job->id;
    e.kind = kind;
    e.state = PWC__JOB_STATE__JOB_RUNNING;
    e.death = &d;
    fake_send_msg(c, PWC_MSG_EVENT, 0, &e.base);
}

static void send_progress(struct conn *c, struct job *job, uint64_t done)
{
    Pwc__Event e = PWC__EVENT__INIT;
    Pwc__Counts n = PWC__COUNTS__INIT;
    n.total = 800;
    n.done = done;
    n.retried = 1;
    e.job = job->id;
    e.kind = PWC__EVENT_KIND__EVENT_PROGRESS;
    e.state = PWC__JOB_STATE__JOB_RUNNING;
    e.counts = &n;
    fake_send_msg(c, PWC_MSG_EVENT, 0, &e.base);
}

static void send_records(struct conn *c, struct job *job)
{
    for (; job->credit > 0 && job->records < 10; job->credit--, job->records++) {
        Pwc__ChunkDone d = PWC__CHUNK_DONE__INIT;
        d.job = job->id;
        d.first = job->records;
        d.n = 1;
        d.attempt = 1;
        d.code = job->records == 5 ? PWC__CODE__CODE_CRASH : PWC__CODE__CODE_OK;
        fake_send_msg(c, PWC_MSG_CHUNK_DONE, 0, &d.base);
    }
    if (job->records == 10)
        finish(c, job, PWC__JOB_STATE__JOB_DONE, PWC__CODE__CODE_OK, "", 0);
}

static void start_job(struct conn *c, struct job *job)
{
    const char *op = job->op;
    if (strcmp(op, "hang") == 0 || strcmp(op, "late") == 0)
        return;
    if (strcmp(op, "lose") == 0) {
        c->end = true;
    } else if (strcmp(op, "garbage") == 0) {
        c->end = send(chan_fd(c->chan), "\xff\xff\xff\xff garbage garbage garbage", 28, MSG_NOSIGNAL) < 0;
    } else if (strcmp(op, "shutdown") == 0) {
        fake_send_error(c, 0, PWC__CODE__CODE_SHUTDOWN, "shutting down");
        c->end = true;
    } else if (strcmp(op, "unread") == 0) {
        struct pollfd more = {.fd = chan_fd(c->chan), .events = POLLIN};
        MUST(poll(&more, 1, -1) == 1);
        fake_send_error(c, 0, PWC__CODE__CODE_SHUTDOWN, "shutting down");
        c->end = true;
    } else if (strcmp(op, "slow") == 0 || strcmp(op, "deaf") == 0) {
        for (uint64_t i = 100; i <= 400; i += 100)
            send_progress(c, job, i);
    } else if (strcmp(op, "records") == 0) {
        send_records(c, job);
    } else if (strcmp(op, "fail") == 0) {
        finish(c, job, PWC__JOB_STATE__JOB_FAILED, PWC__CODE__CODE_BAD_INPUT, "not an image", 0);
    } else if (strcmp(op, "partial") == 0) {
        job->failed = 1;
        finish(c, job, PWC__JOB_STATE__JOB_PARTIAL, PWC__CODE__CODE_OK, "1 chunk was given up", 0);
    } else if (strcmp(op, "crash") == 0) {
        send_death(c, job, PWC__EVENT_KIND__EVENT_DEATH, 1);
        send_death(c, job, PWC__EVENT_KIND__EVENT_QUARANTINE, 2);
        finish(c, job, PWC__JOB_STATE__JOB_FAILED, PWC__CODE__CODE_CRASH, "chunk 17 killed by SIGSEGV", 0);
    } else if (job->items > 0) {
        want(c, job);
    } else {
        finish(c, job, PWC__JOB_STATE__JOB_DONE, PWC__CODE__CODE_OK, "", 0);
    }
}

static void item_done(struct conn *c, struct job *job, uint64_t index, Pwc__Code code, const char *why)
{
    Pwc__ItemDone d = PWC__ITEM_DONE__INIT;
    d.job = job->id;
    d.index = index;
    d.code = code;
    d.reason = TEXT(why);
    d.attempts = 1;
    job->failed += code != 0;
    fake_send_msg(c, PWC_MSG_ITEM_DONE, 0, &d.base);
}

/* ---- requests ---- */

static unsigned param_window(const Pwc__Submit *s)
{
    for (size_t i = 0; i < s->n_params; i++)
        if (strcmp(s->params[i]->name, "window") == 0 &&
            s->params[i]->value->kind_case == PWC__VALUE__KIND_STR)
            return (unsigned)atoi(s->params[i]->value->str);
    return PWC_WANT_WINDOW;
}

static struct job *job_add(struct conn *c, uint64_t id, Pwc__Submit *s)
{
    struct job *job = xcalloc(1, sizeof *job);
    snprintf(job->op, sizeof job->op, "%s", s->op);
    job->id = id;
    job->items = s->items;
    job->submit = s;
    job->window = param_window(s);
    job->next = c->jobs;
    c->jobs = job;
    return job;
}

/* What the request's key stands for; one that is new stands for the job that is made next. */
static struct keyed keyed_job(struct fake *f, const Pwc__Submit *s)
{
    struct keyed k = {.len = 0};
    pthread_mutex_lock(&f->lock);
    if (s->request_key.len > 0 && f->keyed.len == 0) {
        f->keyed.len = MIN(s->request_key.len, sizeof f->keyed.key);
        memcpy(f->keyed.key, s->request_key.data, f->keyed.len);
        f->keyed.job = atomic_load(&f->next_job);
    } else if (f->keyed.len > 0 && f->keyed.len == s->request_key.len &&
               memcmp(f->keyed.key, s->request_key.data, f->keyed.len) == 0) {
        k = f->keyed;
    }
    pthread_mutex_unlock(&f->lock);
    return k;
}

/* The job goes on where it was, or is over; one whose connection is gone is this one's now, and ends. */
static void submit_again(struct conn *c, uint64_t tag, const struct keyed *k, Pwc__Submit *s)
{
    Pwc__Accepted a = PWC__ACCEPTED__INIT;
    a.job = k->job;
    a.existing = true;
    fake_send_msg(c, PWC_MSG_ACCEPTED, tag, &a.base);
    struct job *job = job_find(c, k->job);
    if (job != NULL) {
        msg_free(&s->base);
        if (strcmp(job->op, "late") == 0)
            want(c, job);
        return;
    }
    job = job_add(c, k->job, s);
    if (!k->ended && s->batch)
        item_done(c, job, 0, PWC__CODE__CODE_OK, "");
    if (strcmp(s->op, "hang") != 0)
        finish(c, job, PWC__JOB_STATE__JOB_DONE, PWC__CODE__CODE_OK, "", 0);
}

void fake_submit(struct conn *c, const struct frame *f, ProtobufCMessage *msg)
{
    Pwc__Submit *s = (void *)msg;
    if (strcmp(s->op, "refuse") == 0 || strcmp(s->op, "busy") == 0) {
        Pwc__Rejected r = PWC__REJECTED__INIT;
        bool busy = strcmp(s->op, "busy") == 0;
        r.code = busy ? PWC__CODE__CODE_BUSY : PWC__CODE__CODE_BAD_PARAM;
        r.field = TEXT(busy ? "" : "params.sigma");
        r.reason = TEXT(busy ? "the queue is full" : "sigma is 'x': a number from 0.01 to 1000");
        fake_send_msg(c, PWC_MSG_REJECTED, f->tag, &r.base);
        msg_free(msg);
        return;
    }
    struct keyed known = keyed_job(c->f, s);
    if (known.len > 0) {
        submit_again(c, f->tag, &known, s);
        return;
    }
    struct job *job = job_add(c, atomic_fetch_add(&c->f->next_job, 1), s);
    Pwc__Accepted a = PWC__ACCEPTED__INIT;
    a.job = job->id;
    if (strcmp(s->op, "tiny") == 0)
        send_bytewise(c, PWC_MSG_ACCEPTED, f->tag, &a.base);
    else
        fake_send_msg(c, PWC_MSG_ACCEPTED, f->tag, &a.base);
    start_job(c, job);
}

/* The work: in to out. Returns the size of in; *bad when it says so. */
static uint64_t copy_item(const struct frame *f, bool *ret_bad)
{
    struct stat st;
    char text[256];
    uint64_t size = 0;
    if (f->nfds > 0) {
        MUST(fstat(f->fds[0], &st) == 0);
        size = (uint64_t)st.st_size;
        ssize_t n = pread(f->fds[0], text, sizeof text, 0);
        *ret_bad = n >= 3 && memcmp(text, "bad", 3) == 0;
        for (off_t at = 0; f->nfds > 1 && n > 0; n = pread(f->fds[0], text, sizeof text, at)) {
            MUST(pwrite(f->fds[1], text, (size_t)n, at) == n);
            at += n;
        }
    }
    return size;
}

static void keep_name(struct fake *f, const char *name)
{
    MUST(strlen(name) < sizeof f->item_name);
    pthread_mutex_lock(&f->lock);
    snprintf(f->item_name, sizeof f->item_name, "%s", name);
    pthread_mutex_unlock(&f->lock);
}

void fake_item(struct conn *c, const struct frame *f, ProtobufCMessage *msg)
{
    const Pwc__Item *item = (const void *)msg;
    struct job *job = job_find(c, item->job);
    bool bad = false;
    keep_name(c->f, msg_name_of(&item->name));
    uint64_t size = item->code == 0 ? copy_item(f, &bad) : 0;
    if (job == NULL) {
        msg_free(msg);
        return;
    }
    job->answered++;
    if (strcmp(job->op, "stall") == 0 || strcmp(job->op, "overtaken") == 0) {
        send_progress(c, job, 400);
    } else if (!job->submit->batch) {
        finish(c, job, item->code == 0 ? PWC__JOB_STATE__JOB_DONE : PWC__JOB_STATE__JOB_FAILED, item->code,
               item->reason, size);
    } else {
        Pwc__Code code = bad ? PWC__CODE__CODE_BAD_INPUT : item->code;
        item_done(c, job, item->index, code, bad ? "not an image" : item->reason);
        want(c, job);
        if (job->answered == job->items)
            finish(c, job, job->failed ? PWC__JOB_STATE__JOB_PARTIAL : PWC__JOB_STATE__JOB_DONE, 0, "", size);
    }
    msg_free(msg);
}

void fake_cancel(struct conn *c, const struct frame *f, ProtobufCMessage *msg)
{
    uint64_t id = ((const Pwc__Cancel *)(const void *)msg)->job;
    atomic_fetch_add(&c->f->cancels, 1);
    struct job *job = job_find(c, id);
    if (job == NULL && id < 900) {
        fake_send_error(c, f->tag, PWC__CODE__CODE_NO_SUCH_JOB, "there is no such job");
    } else {
        send_ok(c, f->tag, id);
        if (job != NULL && strcmp(job->op, "overtaken") == 0)
            finish(c, job, PWC__JOB_STATE__JOB_DONE, PWC__CODE__CODE_OK, "", 0);
        else if (job != NULL && strcmp(job->op, "deaf") != 0)
            finish(c, job, PWC__JOB_STATE__JOB_CANCELLED, PWC__CODE__CODE_CANCELLED, "cancelled", 0);
    }
    msg_free(msg);
}

/* Job 901 ended long ago with a result; 902 was cancelled. Asked for 903 it goes away. */
void fake_attach(struct conn *c, const struct frame *f, ProtobufCMessage *msg)
{
    uint64_t id = ((const Pwc__Attach *)(const void *)msg)->job;
    msg_free(msg);
    c->end |= id == 903;
    if (id != 901 && id != 902) {
        if (!c->end)
            fake_send_error(c, f->tag, PWC__CODE__CODE_NO_SUCH_JOB, "there is no such job");
        return;
    }
    chan_hold(c->chan, true); /* one packet, as the daemon's */
    send_ok(c, f->tag, id);
    Pwc__Finished fin = PWC__FINISHED__INIT;
    Pwc__Param sum = PWC__PARAM__INIT, *results = &sum;
    Pwc__Value v = PWC__VALUE__INIT;
    sum.name = TEXT("sum");
    sum.value = &v;
    v.kind_case = PWC__VALUE__KIND_I64;
    v.i64 = -42;
    fin.job = id;
    fin.state = id == 901 ? PWC__JOB_STATE__JOB_DONE : PWC__JOB_STATE__JOB_CANCELLED;
    fin.code = id == 901 ? PWC__CODE__CODE_OK : PWC__CODE__CODE_CANCELLED;
    fin.results = &results;
    fin.n_results = id == 901 ? 1 : 0;
    fake_send_msg(c, PWC_MSG_FINISHED, 0, &fin.base);
    chan_hold(c->chan, false);
    c->end |= chan_flush(c->chan) < 0;
}

void fake_detach(struct conn *c, const struct frame *f, ProtobufCMessage *msg)
{
    send_ok(c, f->tag, ((const Pwc__Detach *)(const void *)msg)->job);
    msg_free(msg);
}

void fake_credit(struct conn *c, const struct frame *f, ProtobufCMessage *msg)
{
    (void)f;
    const Pwc__ChunkCredit *cc = (const void *)msg;
    struct job *job = job_find(c, cc->job);
    if (job != NULL) {
        job->credit += cc->n;
        send_records(c, job);
    }
    msg_free(msg);
}

void fake_jobs_drop(struct conn *c)
{
    while (c->jobs != NULL)
        job_drop(c, c->jobs);
}
