/*
 * items.c - descriptors on demand: Want is the daemon's credit, Item our answer.
 *
 * One item's descriptors were duplicated at pwc_submit; they are sent and closed here, without asking
 * anybody. A batch's are opened by the user's callback, one item at a time, sent, and closed; when the socket
 * is full the next item waits, for unsent descriptors are held open.
 */
#include <string.h>
#include <unistd.h>

#include "client/internal.h"

static int send_item(struct pwc_job *job, uint64_t index, const char *name, const int *fds, unsigned nfds)
{
    Pwc__Item item = PWC__ITEM__INIT;
    item.job = job->id;
    item.index = index;
    item.name = msg_bytes(name);
    return conn_send(job->c, PWC_MSG_ITEM, 0, &item.base, fds, nfds);
}

static void send_failed(struct pwc_job *job, uint64_t index, const char *name, int code, const char *why)
{
    Pwc__Item item = PWC__ITEM__INIT;
    item.job = job->id;
    item.index = index;
    item.name = msg_bytes(name);
    item.code = (Pwc__Code)(code > 0 && code < PWC_E_UNREACHABLE ? code : PWC_BAD_INPUT);
    item.reason = (char *)(uintptr_t)why;
    conn_send(job->c, PWC_MSG_ITEM, 0, &item.base, NULL, 0);
}

void items_close(struct pwc_job *job)
{
    for (unsigned i = 0; i < job->nfds; i++)
        close(job->fds[i]);
    free(TAKE_PTR(job->fds));
    free(TAKE_PTR(job->name));
    job->nfds = 0;
}

static void send_single(struct pwc_job *job)
{
    const char *name = text_of(job->name);
    if (job->fds == NULL) {
        send_failed(job, 0, name, PWC_BAD_DESCRIPTOR, "its descriptors were sent before");
        return;
    }
    if (send_item(job, 0, name, job->fds, job->nfds) != PWC_OK)
        send_failed(job, 0, name, PWC_BAD_DESCRIPTOR, pwc_error());
    items_close(job);
}

void items_want(struct pwc_job *job, uint64_t first, uint64_t n)
{
    if (job->batch.items == 0) {
        if (first == 0 && n > 0)
            send_single(job);
        return;
    }
    if (first >= job->batch.items || n == 0)
        return;
    struct call *call = call_push(job->c, CALL_WANT, job, NULL);
    call->first = first;
    call->n = MIN(n, job->batch.items - first);
}

/* Names and reasons are for messages only: what would not fit is cut. */
static void keep(char *to, size_t size, const char *text)
{
    size_t n = text != NULL ? strnlen(text, size - 1) : 0;
    if (n > 0)
        memcpy(to, text, n);
    to[n] = '\0';
}

void items_open_next(struct call *call)
{
    struct pwc_job *job = call->job;
    struct pwc_item item = {.fds = {-1, -1, -1, -1, -1, -1, -1, -1}};
    char name[PWC_ITEM_NAME_MAX + 1], why[PWC_TEXT_MAX];
    uint64_t index = call->first++;
    call->n--;

    conn_unlock(job->c);
    int r = job->batch.open_item(job, index, &item, job->batch.user);
    keep(name, sizeof name, item.name);
    keep(why, sizeof why, item.error);
    conn_lock(job->c);

    if (!job_terminal(job) && r == PWC_OK)
        r = send_item(job, index, name, item.fds, (unsigned)job->batch.nroles);
    if (!job_terminal(job) && r != PWC_OK)
        send_failed(job, index, name, r, why[0] != '\0' ? why : pwc_error());
    for (size_t i = 0; i < ARRAY_LEN(item.fds); i++)
        if (item.fds[i] >= 0)
            close(item.fds[i]);
}
