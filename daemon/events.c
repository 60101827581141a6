/* events.c - see events.h. */
#include <string.h>

#include "daemon/events.h"
#include "daemon/session.h"
#include "daemon/trace.h"
#include "daemon/watch.h"

static void emit(struct job *j, Pwc__EventKind kind, const struct death *x)
{
    j->seq++;
    if (TAILQ_EMPTY(&j->watches))
        return;
    struct watch *w;
    Pwc__Counts counts;
    Pwc__Death death;
    Pwc__Event m = PWC__EVENT__INIT;
    m.job = j->id;
    m.seq = j->seq;
    m.kind = kind;
    m.state = j->state;
    m.at_ns = (uint64_t)mono_since(clock_now(), j->born);
    m.waiting = (char *)(uintptr_t)job_waiting_for(j);
    job_counts(j, &counts);
    m.counts = &counts;
    if (x != NULL) {
        deaths_pack(x, &death);
        death.stack = death.stderr_tail = (char *)(uintptr_t) ""; /* a LIST_DEATHS away: events stay small */
        m.death = &death;
    }
    TAILQ_FOREACH(w, &j->watches, of_job)
    {
        watch_event(w, &m);
    }
}

void events_state(struct job *j)
{
    j->state_due = false;
    trace_job(j);
    emit(j, PWC__EVENT_KIND__EVENT_STATE, NULL);
}

void events_progress(struct job *j)
{
    j->progress_due = false;
    emit(j, PWC__EVENT_KIND__EVENT_PROGRESS, NULL);
}

void events_death(struct job *j, Pwc__EventKind kind, const struct death *x)
{
    emit(j, kind, x);
}

/* Bytes of reasons that wait for a client's credit: what is given up then is told without. */
#define REASONS_WAIT ((size_t)64 * 1024)
/* Beyond it records wait although there is credit: events would be thinned out for their sake. */
#define QUEUE (PWC_SEND_QUEUE_MAX / 4)
/* At the end nothing waits: what goes beyond this would end the connection, and Finished comes behind. */
#define LAST_QUEUE (PWC_SEND_QUEUE_MAX - 4 * PWC_BODY_MAX)

#define RECORD 64u /* bytes of one on its way, without its reason */

/* A range of chunks that were given up alike, whose record waits for credit. */
struct record {
    TAILQ_ENTRY(record) link;
    uint64_t first, n;
    Pwc__Code code;
    uint32_t attempt;
    char reason[];
};

static void send_record(struct job *j, uint64_t first, uint64_t n, const struct record *bad)
{
    Pwc__ChunkDone m = PWC__CHUNK_DONE__INIT;
    m.job = j->id;
    m.first = first;
    m.n = n;
    m.code = bad != NULL ? bad->code : PWC__CODE__CODE_OK;
    m.attempt = bad != NULL ? bad->attempt : 1;
    m.reason = (char *)(uintptr_t)(bad != NULL ? bad->reason : "");
    session_send(j->session, PWC_MSG_CHUNK_DONE, j->tag, &m.base);
}

static void drop_record(struct job *j)
{
    struct record *bad = TAILQ_FIRST(&j->records_bad);
    TAILQ_REMOVE(&j->records_bad, bad, link);
    j->records_wait--;
    j->reasons_wait -= strlen(bad->reason);
    free(bad);
}

static bool goes_on(const struct record *bad, uint64_t chunk, Pwc__Code code, uint32_t attempt)
{
    return bad != NULL && bad->first + bad->n == chunk && bad->code == code && bad->attempt == attempt;
}

static void add_record(struct job *j, uint64_t chunk, Pwc__Code code, uint32_t attempt, const char *reason)
{
    struct record *last = TAILQ_LAST(&j->records_bad, record_list);
    if (j->reasons_wait >= REASONS_WAIT)
        reason = "";
    if (goes_on(last, chunk, code, attempt) && strcmp(last->reason, reason) == 0) {
        last->n++;
        return;
    }
    size_t len = strlen(reason);
    struct record *bad = xcalloc(1, sizeof *bad + len + 1);
    *bad = (struct record){.first = chunk, .n = 1, .code = code, .attempt = attempt};
    memcpy(bad->reason, reason, len + 1);
    TAILQ_INSERT_TAIL(&j->records_bad, bad, link);
    j->records_wait++;
    j->reasons_wait += len;
}

/* Without their reasons neighbours are alike, and all may find room. */
static void merge_records(struct job *j)
{
    struct record *bad = TAILQ_FIRST(&j->records_bad), *next, *before = NULL;
    for (; bad != NULL; bad = next) {
        next = TAILQ_NEXT(bad, link);
        j->reasons_wait -= strlen(bad->reason);
        bad->reason[0] = '\0';
        if (goes_on(before, bad->first, bad->code, bad->attempt)) {
            before->n += bad->n;
            TAILQ_REMOVE(&j->records_bad, bad, link);
            j->records_wait--;
            free(bad);
        } else {
            before = bad;
        }
    }
}

static bool all_find_room(const struct job *j)
{
    return chan_queued(j->session->chan) + (j->unsent.n + j->records_wait) * RECORD + j->reasons_wait <
           LAST_QUEUE;
}

static bool may_send(const struct watch *w, bool end)
{
    struct session *s = w->session;
    if (s->doomed || (!end && w->credit == 0))
        return false;
    bool room = chan_queued(s->chan) < (end ? LAST_QUEUE : QUEUE);
    s->records_wait |= !room && !end;
    return room;
}

/* What waits for credit, or for the client to read, is merged meanwhile. The end of the job does not wait:
 * then the rest is sent without credit, as far as there is room for it, and without reasons if that helps. */
static void flush_records(struct job *j, bool end)
{
    struct record *bad;
    struct watch *w = j->session != NULL ? watch_find(j->session, j) : NULL;
    if (w != NULL && end && !all_find_room(j))
        merge_records(j);
    while (w != NULL && may_send(w, end)) {
        if (j->unsent.n > 0) {
            struct range r = j->unsent.ranges[0];
            send_record(j, r.from, r.to - r.from, NULL);
            iset_remove(&j->unsent, r.from, r.to);
        } else if ((bad = TAILQ_FIRST(&j->records_bad)) != NULL) {
            send_record(j, bad->first, bad->n, bad);
            drop_record(j);
        } else {
            return;
        }
        if (w->credit > 0)
            w->credit--;
    }
}

void events_chunks(struct job *j, uint64_t first, uint64_t n, Pwc__Code code, uint32_t attempt,
                   const char *reason)
{
    if (!j->records || n == 0)
        return;
    if (code == PWC__CODE__CODE_OK)
        iset_add(&j->unsent, first, first + n);
    else
        add_record(j, first, code, attempt, reason);
    flush_records(j, false);
}

void events_unsent(struct job *j)
{
    if (j->records)
        flush_records(j, false);
}

void events_go_on(struct session *s)
{
    struct job *j;
    if (!s->records_wait)
        return;
    s->records_wait = false;
    TAILQ_FOREACH(j, &s->jobs, by_session)
    {
        events_unsent(j);
    }
}

/* Of who does not own the job it is kept: it may come to. */
void events_credit(struct watch *w, uint32_t n)
{
    w->credit = w->credit + n < w->credit ? UINT32_MAX : w->credit + n;
    if (w->job->session == w->session)
        events_unsent(w->job);
}

void events_drop_records(struct job *j)
{
    iset_free(&j->unsent);
    while (!TAILQ_EMPTY(&j->records_bad))
        drop_record(j);
}

void events_end(const struct job *j, struct session *s, uint64_t tag)
{
    ProtobufCMessage *kept = NULL;
    Pwc__Counts counts;
    Pwc__Death death;
    Pwc__Finished m = PWC__FINISHED__INIT;
    m.job = j->id;
    m.state = j->state;
    m.code = j->code;
    m.reason = (char *)(uintptr_t)job_reason(j);
    m.seq = j->seq;
    m.queued_ns = (uint64_t)mono_since(j->began.ns != 0 ? j->began : j->ended, j->born);
    m.run_ns = j->began.ns != 0 ? (uint64_t)mono_since(j->ended, j->began) : 0;
    job_counts(j, &counts);
    m.counts = &counts;
    if (j->results != NULL &&
        (kept = msg_unpack(msg_find(PWC_MSG_FINISHED), j->results, j->results_len)) != NULL) {
        m.n_results = ((Pwc__Finished *)kept)->n_results;
        m.results = ((Pwc__Finished *)kept)->results;
    }
    if (j->ended_by != NULL) {
        deaths_pack(j->ended_by, &death);
        death.stack = death.stderr_tail = (char *)(uintptr_t) "";
        m.death = &death;
    }
    session_send(s, PWC_MSG_FINISHED, tag, &m.base);
    msg_free(kept);
}

void events_finished(struct job *j)
{
    struct watch *w;
    if (j->records)
        flush_records(j, true);
    trace_finish(j);
    j->seq++;
    TAILQ_FOREACH(w, &j->watches, of_job)
    {
        events_end(j, w->session, w->tag);
    }
}

void events_forget_death(struct daemon *d, const struct death *x)
{
    struct job *j = job_find(d, x->job);
    if (j != NULL && j->last_death == x)
        j->last_death = NULL;
    if (j != NULL && j->ended_by == x)
        j->ended_by = NULL;
}
