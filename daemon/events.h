/*
 * events.h - what a job's clients are told: the event stream, Finished, ItemDone, Want.
 *
 * Each job numbers its events. Progress is only marked as due and sent by the tick, at most ten times a
 * second; a client that reads too slowly loses events (Gap) but never the end.
 */
#ifndef PWC_EVENTS_H
#define PWC_EVENTS_H

#include "daemon/deaths.h"
#include "daemon/job.h"

void events_state(struct job *j);
void events_progress(struct job *j); /* now */
void events_death(struct job *j, Pwc__EventKind kind, const struct death *x);
void events_chunks(struct job *j, uint64_t first, uint64_t n, Pwc__Code code, uint32_t attempt,
                   const char *reason);
struct watch;
void events_credit(struct watch *w, uint32_t n);
void events_unsent(struct job *j);    /* records that wait, as far as the owner's credit goes */
void events_go_on(struct session *s); /* those that waited for it to read */
void events_drop_records(struct job *j);
void events_finished(struct job *j);
/* Finished, once more, to who asks after the job has ended. */
void events_end(const struct job *j, struct session *s, uint64_t tag);
void events_forget_death(struct daemon *d, const struct death *x);

#endif
