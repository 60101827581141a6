/* watch.c - see watch.h. */
#include "daemon/watch.h"

struct watch *watch_find(const struct session *s, const struct job *j)
{
    struct watch *w;
    TAILQ_FOREACH(w, &j->watches, of_job)
    {
        if (w->session == s)
            return w;
    }
    return NULL;
}

struct watch *watch_add(struct session *s, struct job *j, uint64_t tag)
{
    struct watch *w = watch_find(s, j);
    if (w == NULL) {
        if (j->nwatches >= PWC_WATCHERS_MAX)
            return NULL;
        w = xcalloc(1, sizeof *w);
        w->job = j;
        w->session = s;
        TAILQ_INSERT_TAIL(&j->watches, w, of_job);
        TAILQ_INSERT_TAIL(&s->watches, w, of_session);
        j->nwatches++;
    }
    w->tag = tag;
    return w;
}

void watch_end(struct watch *w)
{
    TAILQ_REMOVE(&w->job->watches, w, of_job);
    TAILQ_REMOVE(&w->session->watches, w, of_session);
    w->job->nwatches--;
    w->session->d->room_made |= !session_has_room(w->session); /* nobody waits for it any more */
    free(w);
}

void watch_end_all(struct job *j)
{
    struct watch *w;
    while ((w = TAILQ_FIRST(&j->watches)) != NULL) {
        struct session *s = w->session;
        watch_end(w);
        session_check_done(s);
    }
}

void watch_event(struct watch *w, const Pwc__Event *m)
{
    struct session *s = w->session;
    bool skippable = m->kind == PWC__EVENT_KIND__EVENT_PROGRESS;
    size_t queued = chan_queued(s->chan);
    if (queued > PWC_SEND_QUEUE_MAX / 2 || (skippable && queued > PWC_SEND_QUEUE_MAX / 4)) {
        if (w->gap_from == 0)
            w->gap_from = m->seq;
        return;
    }
    if (w->gap_from != 0 && w->gap_from < m->seq) {
        Pwc__Gap gap = PWC__GAP__INIT;
        gap.job = m->job;
        gap.from = w->gap_from;
        gap.to = m->seq - 1;
        session_send(s, PWC_MSG_GAP, w->tag, &gap.base);
    }
    w->gap_from = 0;
    session_send(s, PWC_MSG_EVENT, w->tag, &m->base);
}

bool watch_submitted(const struct job *j)
{
    const struct watch *w;
    TAILQ_FOREACH(w, &j->watches, of_job)
    {
        if (w->submitted)
            return true;
    }
    return false;
}

bool watch_inherit(struct job *j)
{
    struct watch *w = TAILQ_FIRST(&j->watches);
    if (w == NULL)
        return false;
    session_add_job(w->session, j);
    j->tag = w->tag;
    j->adopted = true;
    return true;
}
