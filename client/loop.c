/*
 * loop.c - who reads, who sleeps, when things are sent, and the callbacks. See internal.h.
 *
 * A turn of the reader: send what has gathered; if callbacks are due run them; else read once, waiting if
 * need be, handle the frames under the lock, run the callbacks they caused without it. That the daemon has
 * closed does not end the connection while sending: what it said before is still read.
 */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/internal.h"

#define READ_EVERY                                                                                           \
    128u /* requests gathered without a look at the answers: the daemon's queue for us is finite */
#define FULL_READ 12000u /* bytes of a read after which more is likely there already */

void conn_lock(struct pwc *c)
{
    pthread_mutex_lock(&c->lock);
}

void conn_unlock(struct pwc *c)
{
    pthread_mutex_unlock(&c->lock);
}

void conn_unref(struct pwc *c)
{
    conn_lock(c);
    bool last = --c->refs == 0;
    conn_unlock(c);
    if (!last)
        return;
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->changed);
    table_clear(&c->by_tag);
    table_clear(&c->by_id);
    table_clear(&c->requests);
    free(c->server);
    free(c->path);
    free(c);
}

/* ---- the end of a connection ---- */

static void end_jobs(struct pwc *c, struct table *t, bool by_id)
{
    for (struct node *n; (n = table_any(t)) != NULL;) {
        struct pwc_job *job =
            by_id ? NODE_OF(n, struct pwc_job, id_node) : NODE_OF(n, struct pwc_job, tag_node);
        job_finish(job, PWC_JOB_LOST, PWC_E_GONE, c->why, NULL);
    }
}

void conn_break(struct pwc *c, int code, const char *fmt, ...)
{
    if (c->broken != 0)
        return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(c->why, sizeof c->why, fmt, ap);
    va_end(ap);
    c->broken = code;
    end_jobs(c, &c->by_tag, false);
    end_jobs(c, &c->by_id, true);
    for (struct node *n; (n = table_any(&c->requests)) != NULL;) {
        table_remove(&c->requests, n);
        request_end(NODE_OF(n, struct request, node), code, c->why);
    }
    pthread_cond_broadcast(&c->changed);
}

int conn_broken(struct pwc *c)
{
    return c->broken != 0 ? fail(c->broken, "%s", c->why) : PWC_OK;
}

/* ---- sending ---- */

/* A peer that is gone has said why. Any other failure would leave both sides waiting for each other: the
 * reader ends the connection, at a moment when nobody is in the middle of a job. */
static void flush(struct pwc *c)
{
    int r = c->broken == 0 && !c->mute ? chan_flush(c->chan) : 0;
    if (r == 0)
        return;
    c->mute = true;
    if (r != -EPIPE && r != -ECONNRESET)
        c->send_error = -r;
}

static bool unsent(const struct pwc *c)
{
    return c->broken == 0 && !c->mute && chan_queued(c->chan) > 0;
}

bool conn_is_reader(const struct pwc *c)
{
    return c->reading && pthread_equal(c->reader, pthread_self());
}

static void wake_reader(struct pwc *c)
{
    uint64_t one = 1;
    if (c->polling)
        (void)!write(c->wake, &one, sizeof one);
}

int conn_send(struct pwc *c, uint16_t type, uint64_t tag, const ProtobufCMessage *msg, const int *fds,
              unsigned nfds)
{
    if (c->broken != 0)
        return conn_broken(c);
    c->unheard++;
    if (c->mute)
        return PWC_OK; /* reading will say why */
    int r = chan_send_full(c->chan, type, tag, msg, NULL, 0, fds, nfds);
    if (r == -EMSGSIZE)
        return fail(PWC_E_ARGUMENT, "the message is larger than %u bytes", PWC_BODY_MAX);
    if (r < 0)
        return fail_errno(PWC_E_SYSTEM, -r, "cannot send to pwcd");
    if (chan_queued(c->chan) >= SEND_GATHERED || c->polling)
        flush(c);
    if (unsent(c) || c->send_error != 0)
        wake_reader(c); /* it polls for reading only */
    return PWC_OK;
}

/* ---- receiving ---- */

static void lost(struct pwc *c, int r)
{
    bool gone = r == 0 || r == -ECONNRESET || r == -EPIPE; /* reset: it has not read all that we sent */
    if (gone && c->last_words[0] != '\0')
        conn_break(c, PWC_E_GONE, "pwcd ended the connection: %s", c->last_words);
    else if (gone)
        conn_break(c, PWC_E_GONE, "the connection to pwcd is lost: it has stopped, or it dropped us");
    else if (r == -EPROTO || r == -EBADMSG)
        conn_break(c, PWC_E_PROTOCOL, "pwcd broke the protocol: %s", chan_error(c->chan));
    else
        conn_break(c, PWC_E_SYSTEM, "reading from pwcd failed: %s", strerrordesc_np(-r));
}

/* One recv and all the frames in it. True if there was anything. */
static bool read_once(struct pwc *c)
{
    int r = chan_fill(c->chan);
    c->more = r >= (int)FULL_READ;
    if (r == -EAGAIN)
        return false;
    c->unheard = 0;
    struct frame f;
    int n = 0;
    while (c->broken == 0 && r > 0 && (n = chan_next(c->chan, &f)) > 0) {
        receive_frame(c, &f);
        frame_close(c->chan, &f);
    }
    if (r <= 0 || n < 0)
        lost(c, r <= 0 ? r : n);
    pthread_cond_broadcast(&c->changed);
    return true;
}

/* Waits, unlocked, until there is something to read or to send. */
static void poll_once(struct pwc *c, int timeout_ms)
{
    struct pollfd p[2] = {
        {.fd = chan_fd(c->chan), .events = (short)(POLLIN | (unsent(c) ? POLLOUT : 0))},
        {.fd = c->wake, .events = POLLIN},
    };
    c->polling = true;
    conn_unlock(c);
    int r = poll(p, 2, timeout_ms);
    conn_lock(c);
    c->polling = false;
    if (r > 0 && (p[1].revents & POLLIN) != 0) {
        uint64_t n;
        (void)!read(c->wake, &n, sizeof n);
    }
}

/* Sends and reads, and waits if there is nothing to do at once. */
static void pump(struct pwc *c, int timeout_ms)
{
    flush(c);
    if (c->send_error != 0)
        conn_break(c, PWC_E_SYSTEM, "sending to pwcd failed: %s", strerrordesc_np(c->send_error));
    if (c->broken != 0)
        return;
    if ((c->more || timeout_ms == 0) && read_once(c))
        return;
    if (timeout_ms == 0 || c->broken != 0)
        return;
    poll_once(c, timeout_ms);
    flush(c);
    read_once(c);
}

int conn_relieve(struct pwc *c)
{
    while (c->broken == 0 && (c->unheard >= READ_EVERY || (unsent(c) && chan_queued(c->chan) > SEND_MAX))) {
        bool full = unsent(c) && chan_queued(c->chan) > SEND_MAX;
        if (c->reading && !conn_is_reader(c)) {
            if (!full)
                break; /* the reader reads */
            pthread_cond_wait(&c->changed, &c->lock);
            continue;
        }
        bool nested = c->reading;
        c->reading = true;
        c->reader = pthread_self();
        pump(c, full ? 1000 : 0);
        c->reading = nested;
        pthread_cond_broadcast(&c->changed);
        c->unheard = 0;
    }
    return conn_broken(c);
}

/* ---- callbacks ---- */

struct call *call_push(struct pwc *c, enum call_kind kind, struct pwc_job *job, ProtobufCMessage *msg)
{
    struct call_list *list = job->held != NULL ? job->held : &c->calls;
    struct call *call = xcalloc(1, sizeof *call);
    call->kind = kind;
    call->job = job;
    call->msg = msg;
    job->refs++;
    job->queued++;
    *list->end = call;
    list->end = &call->next;
    return call;
}

void calls_append(struct pwc *c, const struct call_list *list)
{
    if (list->first == NULL)
        return;
    *c->calls.end = list->first;
    c->calls.end = list->end;
    wake_reader(c); /* nothing more need come that would */
}

/* The credit of a RECORD is not given back: there are some only where the connection has ended. */
void calls_drop(struct call_list *list)
{
    for (struct call *call = list->first, *next; call != NULL; call = next) {
        next = call->next;
        call->job->queued--;
        job_unref(call->job);
        msg_free(call->msg);
        free(call);
    }
    *list = (struct call_list){.end = &list->first};
}

static void tell_event(const struct call *call)
{
    struct pwc_job *job = call->job;
    const Pwc__Event *e = (const void *)call->msg;
    if (call->kind == CALL_DEATH) {
        struct pwc_death death;
        death_from(&death, e->death);
        job->cb.death(job, &death, e->kind == PWC__EVENT_KIND__EVENT_QUARANTINE, job->user);
        return;
    }
    struct pwc_counts counts = {0};
    counts_from(&counts, e->counts);
    job->cb.progress(job, (enum pwc_job_state)e->state, &counts, text_of(e->waiting), job->user);
}

static void tell_record(const struct call *call)
{
    const Pwc__ChunkDone *d = (const void *)call->msg;
    struct pwc_record record = {d->first, d->n, (int)d->code, d->attempt, text_of(d->reason)};
    call->job->cb.record(call->job, &record, call->job->user);
}

static void tell_item(const struct call *call)
{
    const Pwc__ItemDone *d = (const void *)call->msg;
    const struct job_items *b = &call->job->batch;
    b->item_done(call->job, d->index, (int)d->code, text_of(d->reason), d->attempts, b->user);
}

static void tell(const struct call *call)
{
    switch (call->kind) {
    case CALL_PROGRESS:
    case CALL_DEATH:
        tell_event(call);
        break;
    case CALL_RECORD:
        tell_record(call);
        break;
    case CALL_TRACE:
        trace_tell(call->job, (const void *)call->msg);
        break;
    case CALL_ITEM_DONE:
        tell_item(call);
        break;
    case CALL_FINISHED:
        call->job->cb.finished(call->job, call->job->user);
        break;
    case CALL_WANT:
        break;
    }
}

/* One step of the first call; false: it must wait until something has been sent. */
static bool call_step(struct pwc *c, struct call *call)
{
    struct pwc_job *job = call->job;
    if (call->kind == CALL_WANT && call->n > 0 && !job->released && !job_terminal(job)) {
        if (unsent(c) && chan_queued(c->chan) > ITEMS_QUEUED)
            return false;
        items_open_next(call);
        if (call->n > 0)
            return true;
    } else if (call->kind != CALL_WANT && !job->released) {
        conn_unlock(c);
        tell(call);
        conn_lock(c);
    }
    if (call->kind == CALL_RECORD)
        records_eaten(c, job->id);
    c->calls.first = call->next;
    if (c->calls.first == NULL)
        c->calls.end = &c->calls.first;
    if (--job->queued == 0 && job_terminal(job))
        pthread_cond_broadcast(&c->changed);
    job_unref(job);
    msg_free(call->msg);
    free(call);
    return true;
}

static unsigned run_calls(struct pwc *c)
{
    unsigned n = 0;
    while (c->calls.first != NULL && call_step(c, c->calls.first))
        n++;
    return n;
}

/* ---- waiting ---- */

static void turn(struct pwc *c, int timeout_ms)
{
    flush(c);
    if (run_calls(c) > 0) {
        flush(c);
        return;
    }
    pump(c, timeout_ms);
    run_calls(c);
    flush(c);
}

static void become_reader(struct pwc *c)
{
    c->reading = true;
    c->reader = pthread_self();
}

static void resign(struct pwc *c)
{
    c->reading = false;
    pthread_cond_broadcast(&c->changed);
}

static int left_ms(struct mono deadline, int timeout_ms)
{
    if (timeout_ms < 0)
        return -1;
    int64_t ns = mono_since(deadline, clock_now());
    return ns <= 0 ? 0 : (int)MIN((ns + NS_PER_MS - 1) / NS_PER_MS, INT32_MAX);
}

static void sleep_until(struct pwc *c, struct mono deadline, int timeout_ms)
{
    if (timeout_ms < 0) {
        pthread_cond_wait(&c->changed, &c->lock);
        return;
    }
    struct timespec ts = {deadline.ns / NS_PER_S, deadline.ns % NS_PER_S};
    pthread_cond_timedwait(&c->changed, &c->lock, &ts);
}

/* Nothing comes any more, and what came was told. */
static bool all_told(const struct pwc *c)
{
    return c->broken != 0 && c->calls.first == NULL;
}

int conn_wait(struct pwc *c, bool (*done)(void *), void *arg, int timeout_ms)
{
    struct mono deadline = mono_add(clock_now(), timeout_ms * NS_PER_MS);
    if (conn_is_reader(c) && !done(arg))
        return fail(PWC_E_ARGUMENT, "waiting inside a callback would never end");
    bool reader = false;
    for (bool last = false; !done(arg) && !all_told(c);) {
        int left = left_ms(deadline, timeout_ms);
        if (left == 0 && last)
            break;
        last = left == 0;
        if (!reader && c->reading) {
            sleep_until(c, deadline, timeout_ms);
            continue;
        }
        become_reader(c);
        reader = true;
        turn(c, left);
    }
    if (reader) {
        run_calls(c); /* after a broken connection jobs have ended: tell */
        resign(c);
    }
    if (done(arg))
        return PWC_OK;
    return all_told(c) ? conn_broken(c) : fail(PWC_E_TIMEOUT, "not done within %d ms", timeout_ms);
}

int pwc_dispatch(struct pwc *c, int timeout_ms)
{
    conn_lock(c);
    int r = PWC_OK;
    if (conn_is_reader(c)) {
        r = fail(PWC_E_ARGUMENT, "pwc_dispatch inside a callback");
    } else if (c->reading) {
        if (timeout_ms != 0)
            sleep_until(c, mono_add(clock_now(), timeout_ms * NS_PER_MS), timeout_ms);
    } else {
        become_reader(c);
        turn(c, timeout_ms);
        resign(c);
    }
    if (r == PWC_OK)
        r = conn_broken(c);
    conn_unlock(c);
    return r;
}

int pwc_flush(struct pwc *c)
{
    conn_lock(c);
    flush(c);
    int r = conn_broken(c);
    conn_unlock(c);
    return r;
}

int pwc_fd(const struct pwc *c)
{
    return chan_fd(c->chan);
}

short pwc_events(struct pwc *c)
{
    conn_lock(c);
    /* Callbacks that wait to be run must not wait for the daemon too: a socket is nearly always writable. */
    bool now = c->calls.first != NULL || c->send_error != 0;
    short events = (short)(POLLIN | (unsent(c) || now ? POLLOUT : 0));
    conn_unlock(c);
    return events;
}
