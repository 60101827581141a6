/*
 * records.c - chunk records and the credit for them.
 *
 * A job may have several handles: one that submitted it, others that did so again with its request key. The
 * connection gets each record once, and one handle has it: the first that asked, until it is let go; then the
 * next takes over the credit that is under way.
 */
#include "client/internal.h"

static struct pwc_job *taker(struct pwc *c, uint64_t id)
{
    struct pwc_job *job = job_first(c, id);
    while (job != NULL && !job->takes)
        job = job_next(job);
    return job;
}

/* When half of the window is free: a message for many records. */
static void give_credit(struct pwc_job *job)
{
    if (job->released || job->credit > job->window / 2)
        return;
    Pwc__ChunkCredit credit = PWC__CHUNK_CREDIT__INIT;
    credit.job = job->id;
    credit.n = job->window - job->credit;
    job->credit = job->window;
    conn_send(job->c, PWC_MSG_CHUNK_CREDIT, 0, &credit.base, NULL, 0);
}

void records_assign(struct pwc *c, uint64_t id)
{
    struct pwc_job *old = taker(c, id), *next = job_first(c, id);
    if (old != NULL && !old->released)
        return;
    while (next != NULL && (next->window == 0 || next->released))
        next = job_next(next);
    if (next == NULL)
        return;
    if (old != NULL) {
        old->takes = false;
        next->credit = old->credit;
    }
    next->takes = true;
    give_credit(next);
}

void records_take(struct pwc *c, uint64_t id, ProtobufCMessage *msg)
{
    struct pwc_job *job = taker(c, id);
    if (job != NULL && !job->released && job->cb.record != NULL) {
        call_push(c, CALL_RECORD, job, msg);
        return;
    }
    msg_free(msg);
    records_eaten(c, id);
}

/* At its end a job sends what is left without credit. */
void records_eaten(struct pwc *c, uint64_t id)
{
    struct pwc_job *job = taker(c, id);
    if (job == NULL || job->credit == 0)
        return;
    job->credit--;
    give_credit(job);
}
