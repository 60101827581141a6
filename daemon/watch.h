/*
 * watch.h - who follows a job: the client that submitted it and whoever attached, each with its own place in
 * the stream.
 *
 * A job has an owner as well (job.session), which is asked for descriptors, told of items and records, and
 * whose going may end the job; the owner is one of its watchers. When it goes and the job stays, the next
 * watcher takes its place, but is not asked for what only the submitter has.
 *
 * A watch belongs to its job and its session alike: it ends with whichever goes first. Bounded:
 * PWC_WATCHERS_MAX a job, and a session has one a job at most.
 */
#ifndef PWC_WATCH_H
#define PWC_WATCH_H

#include "daemon/session.h"

struct watch {
    TAILQ_ENTRY(watch) of_job, of_session; /* the one that watches longest first */
    struct job *job;
    struct session *session;
    uint64_t tag;
    uint64_t gap_from; /* first event it missed; 0 none */
    uint32_t credit;   /* chunk records it will take, when it is the owner */
    bool submitted;    /* it sent the Submit, or the same one again: a client of the job, not a looker-on */
};

/* NULL: the job has as many as it may have. One that is there already is taken up again under the new tag. */
struct watch *watch_add(struct session *s, struct job *j, uint64_t tag);
struct watch *watch_find(const struct session *s, const struct job *j);
void watch_end(struct watch *w);
void watch_end_all(struct job *j);
/* Progress may be skipped for a slow reader; what is skipped is named by a Gap before the next event. */
void watch_event(struct watch *w, const Pwc__Event *m);
/* Does anybody follow it who has submitted it? */
bool watch_submitted(const struct job *j);
/* The job has no owner: whoever watches it longest is it. False: nobody does. */
bool watch_inherit(struct job *j);

#endif
