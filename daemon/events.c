/* events.c - see events.h. */
#include <string.h>

#include "daemon/events.h"
#include "daemon/session.h"

static void emit(struct job *j, Pwc__EventKind kind, const struct death *x)
{
    j->seq++;
    if (j->session == NULL)
        return;
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
        death.stack = death.stderr_tail = (char *)(uintptr_t)""; /* a LIST_DEATHS away: events stay small */
        m.death = &death;
    }
    session_event(j->session, j, &m);
}

void events_state(struct job *j)
{
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

void events_chunks(struct job *j, uint64_t first, uint64_t n, Pwc__Code code, uint32_t attempt, const char *reason)
{
    if (!j->records || j->session == NULL || n == 0)
        return;
    if (j->credit == 0) {
        j->seq++;
        return; /* no credit: the record is lost, the sequence tells */
    }
    j->credit--;
    Pwc__ChunkDone m = PWC__CHUNK_DONE__INIT;
    m.job = j->id;
    m.first = first;
    m.n = n;
    m.code = code;
    m.attempt = attempt;
    m.reason = (char *)(uintptr_t)reason;
    session_send(j->session, PWC_MSG_CHUNK_DONE, j->tag, &m.base);
}

void events_finished(struct job *j)
{
    j->seq++;
    if (j->session == NULL)
        return;
    ProtobufCMessage *kept = NULL;
    Pwc__Counts counts;
    Pwc__Death death;
    Pwc__Finished m = PWC__FINISHED__INIT;
    m.job = j->id;
    m.state = j->state;
    m.code = j->code;
    m.reason = j->reason;
    m.seq = j->seq;
    m.queued_ns = (uint64_t)mono_since(j->began.ns != 0 ? j->began : j->ended, j->born);
    m.run_ns = j->began.ns != 0 ? (uint64_t)mono_since(j->ended, j->began) : 0;
    job_counts(j, &counts);
    m.counts = &counts;
    if (j->results != NULL && (kept = msg_unpack(msg_find(PWC_MSG_FINISHED), j->results, j->results_len)) != NULL) {
        m.n_results = ((Pwc__Finished *)kept)->n_results;
        m.results = ((Pwc__Finished *)kept)->results;
    }
    if (j->last_death != NULL && j->code != PWC__CODE__CODE_OK) {
        deaths_pack(j->last_death, &death);
        death.stack = death.stderr_tail = (char *)(uintptr_t)"";
        m.death = &death;
    }
    session_send(j->session, PWC_MSG_FINISHED, j->tag, &m.base);
    msg_free(kept);
}

void events_forget_death(struct daemon *d, const struct death *x)
{
    for (size_t i = 0; d->jobs != NULL && i <= d->jobs_mask; i++)
        for (struct job *j = d->jobs[i]; j != NULL; j = j->hash_next)
            if (j->last_death == x)
                j->last_death = NULL;
}
