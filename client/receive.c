/*
 * receive.c - what each message of the daemon means. One table row and one handler a message.
 *
 * Runs in the reader with the lock held. Handlers own the unpacked message. What makes no sense (an unknown
 * job, an answer to nothing) is ignored: it may concern a handle that was let go.
 */
#include <string.h>

#include "client/internal.h"

static struct pwc_job *tagged_job(struct pwc *c, uint64_t tag)
{
    struct node *n = table_find(&c->by_tag, tag);
    return n != NULL ? NODE_OF(n, struct pwc_job, tag_node) : NULL;
}

/* An earlier Submit made the job, and the daemon has its descriptors or asks for them there. So ours are not
 * needed, what is said of items is about files that are not ours, and freeing the handle cancels nothing,
 * not even when it was freed before we knew. */
static void made_before(struct pwc_job *job)
{
    job->existing = true;
    items_close(job);
    job->batch = (struct job_items){0};
    job->trace = (struct job_trace){0};
}

static void on_accepted(struct pwc *c, const struct frame *f, ProtobufCMessage *msg)
{
    const Pwc__Accepted *a = (const void *)msg;
    struct pwc_job *job = tagged_job(c, f->tag);
    if (job != NULL) {
        if (a->existing)
            made_before(job);
        job_set_id(job, a->job);
    }
    msg_free(msg);
}

static void on_rejected(struct pwc *c, const struct frame *f, ProtobufCMessage *msg)
{
    const Pwc__Rejected *r = (const void *)msg;
    struct pwc_job *job = tagged_job(c, f->tag);
    if (job == NULL) {
        msg_free(msg);
        return;
    }
    job->field = text_of(r->field);
    job_finish(job, PWC_JOB_REFUSED, r->code != 0 ? (int)r->code : PWC_E_PROTOCOL, text_of(r->reason), msg);
}

static void on_error(struct pwc *c, const struct frame *f, ProtobufCMessage *msg)
{
    const Pwc__Error *e = (const void *)msg;
    struct pwc_job *job = tagged_job(c, f->tag);
    struct node *n = table_find(&c->requests, f->tag);
    int code = e->code != 0 ? (int)e->code : PWC_E_PROTOCOL;
    if (job != NULL) {
        job_finish(job, PWC_JOB_REFUSED, code, text_of(e->text), msg);
        return;
    }
    if (n != NULL) {
        table_remove(&c->requests, n);
        request_end(NODE_OF(n, struct request, node), code, text_of(e->text));
    } else if (f->tag == 0) {
        strncpy(c->last_words, text_of(e->text), sizeof c->last_words - 1);
    }
    msg_free(msg);
}

static void on_want(struct pwc *c, const struct frame *f, ProtobufCMessage *msg)
{
    (void)f;
    const Pwc__Want *w = (const void *)msg;
    struct pwc_job *job = job_first(c, w->job);
    while (job != NULL && (job->existing || job->attached))
        job = job_next(job);
    if (job != NULL)
        items_want(job, w->first, w->n);
    msg_free(msg);
}

static void on_item_done(struct pwc *c, const struct frame *f, ProtobufCMessage *msg)
{
    (void)f;
    const Pwc__ItemDone *d = (const void *)msg;
    struct pwc_job *job = job_first(c, d->job);
    while (job != NULL && job->batch.item_done == NULL)
        job = job_next(job);
    if (job != NULL && !job->released && d->index < job->batch.items)
        call_push(c, CALL_ITEM_DONE, job, msg);
    else
        msg_free(msg);
}

/* DEATH, RETRY and QUARANTINE carry one. */
static enum call_kind event_call(const Pwc__Event *e)
{
    return e->death != NULL ? CALL_DEATH : CALL_PROGRESS;
}

static bool wants_event(const struct pwc_job *job, enum call_kind kind)
{
    return !job->released && (kind == CALL_DEATH ? job->cb.death != NULL : job->cb.progress != NULL);
}

static void on_event(struct pwc *c, const struct frame *f, ProtobufCMessage *msg)
{
    const Pwc__Event *e = (const void *)msg;
    enum call_kind kind = event_call(e);
    struct pwc_job *taker = NULL; /* gets msg; further handles of the same job get copies */
    for (struct pwc_job *job = job_first(c, e->job); job != NULL; job = job_next(job)) {
        if (e->state > PWC__JOB_STATE__JOB_UNKNOWN && e->state < PWC__JOB_STATE__JOB_DONE)
            job->state = (enum pwc_job_state)e->state;
        counts_from(&job->counts, e->counts);
        if (!wants_event(job, kind))
            continue;
        if (taker == NULL)
            taker = job;
        else
            call_push(c, kind, job, msg_unpack(f->desc, f->body, f->body_len));
    }
    if (taker != NULL)
        call_push(c, kind, taker, msg);
    else
        msg_free(msg);
}

static void on_chunk_done(struct pwc *c, const struct frame *f, ProtobufCMessage *msg)
{
    (void)f;
    records_take(c, ((const Pwc__ChunkDone *)(const void *)msg)->job, msg);
}

static void on_trace(struct pwc *c, const struct frame *f, ProtobufCMessage *msg)
{
    (void)f;
    struct pwc_job *job = job_first(c, ((const Pwc__Trace *)(const void *)msg)->job);
    while (job != NULL && job->trace.each == NULL)
        job = job_next(job);
    if (job != NULL && !job->released)
        call_push(c, CALL_TRACE, job, msg);
    else
        msg_free(msg);
}

static enum pwc_job_state end_state(const Pwc__Finished *e)
{
    return e->state >= PWC__JOB_STATE__JOB_DONE && e->state <= PWC__JOB_STATE__JOB_PARTIAL
               ? (enum pwc_job_state)e->state
               : PWC_JOB_FAILED;
}

static void on_finished(struct pwc *c, const struct frame *f, ProtobufCMessage *msg)
{
    const uint64_t id = ((const Pwc__Finished *)(const void *)msg)->job;
    for (struct pwc_job *job = job_first(c, id), *next; job != NULL; job = next) {
        next = job_next(job);
        if (msg == NULL && (msg = msg_unpack(f->desc, f->body, f->body_len)) == NULL)
            break;
        const Pwc__Finished *e = (const void *)msg;
        counts_from(&job->counts, e->counts);
        job_finish(job, end_state(e), (int)e->code, text_of(e->reason), TAKE_PTR(msg));
    }
    msg_free(msg);
}

static void on_gap(struct pwc *c, const struct frame *f, ProtobufCMessage *msg)
{
    (void)c; /* we read too slowly: what was left out was progress and deaths, which counts still show */
    (void)f;
    msg_free(msg);
}

/* Answers to questions: Ok, Pong, Status, the entries of lists. */
static void on_answer(struct pwc *c, const struct frame *f, ProtobufCMessage *msg)
{
    struct node *n = table_find(&c->requests, f->tag);
    if (n == NULL) {
        msg_free(msg);
        return;
    }
    struct request *rq = NODE_OF(n, struct request, node);
    request_answer(rq, f, msg);
    if (rq->done)
        table_remove(&c->requests, n);
}

static const struct {
    uint16_t type;
    void (*handler)(struct pwc *, const struct frame *, ProtobufCMessage *);
} handlers[] = {
    {PWC_MSG_ERROR, on_error},       {PWC_MSG_PONG, on_answer},    {PWC_MSG_ACCEPTED, on_accepted},
    {PWC_MSG_REJECTED, on_rejected}, {PWC_MSG_WANT, on_want},      {PWC_MSG_ITEM_DONE, on_item_done},
    {PWC_MSG_EVENT, on_event},       {PWC_MSG_GAP, on_gap},        {PWC_MSG_CHUNK_DONE, on_chunk_done},
    {PWC_MSG_FINISHED, on_finished}, {PWC_MSG_OK, on_answer},      {PWC_MSG_JOB_INFO, on_answer},
    {PWC_MSG_STAGE_INFO, on_answer}, {PWC_MSG_OP_INFO, on_answer}, {PWC_MSG_DEATH, on_answer},
    {PWC_MSG_STATUS, on_answer},     {PWC_MSG_END, on_answer},     {PWC_MSG_QUARANTINED, on_answer},
    {PWC_MSG_TRACE, on_trace},
};

void receive_frame(struct pwc *c, struct frame *f)
{
    if (f->desc == NULL)
        return; /* a newer daemon's; nothing that we asked for */
    for (size_t i = 0; i < ARRAY_LEN(handlers); i++) {
        if (handlers[i].type != f->type)
            continue;
        ProtobufCMessage *msg = msg_unpack(f->desc, f->body, f->body_len);
        c->last_words[0] = '\0'; /* what comes after them shows that they were not the last */
        if (msg == NULL)
            conn_break(c, PWC_E_PROTOCOL, "pwcd sent a malformed %s", f->desc->name);
        else
            handlers[i].handler(c, f, msg);
        return;
    }
    conn_break(c, PWC_E_PROTOCOL, "pwcd sent a %s, which it may not at this point", f->desc->name);
}
