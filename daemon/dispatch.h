/*
 * dispatch.h - who computes what next: seats to users, users to jobs, jobs to chunks.
 *
 * Fair by user, then by job: a free seat goes to the user with fewest seats in use and, among equals, least
 * time used; within a user the active jobs take turns. When nothing is left to lease, the tail of the longest
 * lease is taken back from its holder for the idle seat. Where no seat comes free for a second, users who
 * have none get one on top.
 */
#ifndef PWC_DISPATCH_H
#define PWC_DISPATCH_H

#include "daemon/job.h"

void dispatch_run(struct daemon *d);
/* Free seats, and those that are owed, to whoever comes next. */
void dispatch_serve(struct daemon *d);
/* What comes next in it gets a seat, if there is something and it may; false: nothing was begun. */
bool dispatch_start_one(struct job *j);
/* May it have one more, for what it has left to do? */
bool dispatch_may_have_worker(const struct job *j);
/* Takes the tail of a lease back; false: there is none worth it. */
bool dispatch_steal(struct daemon *d);
/* An idle stage of the job's domain; NULL: none, up to `wanted` spares have been sent there. */
struct stage *dispatch_find_stage(struct job *j, uint32_t wanted);
/* The stage is idle: it holds a new lease, with a number of its own, and no chunks yet. seat: it takes one.
 */
void dispatch_begin(struct job *j, struct stage *s, enum lease_kind kind, bool seat);
/* No seat has been free for so long that whoever has none is owed one. */
bool dispatch_full_long(struct daemon *d);
/* It stands still, or goes on: meanwhile others have its seat. When it goes on it computes at once, and for
 * the rest of a lease of theirs one too many may. Its user is counted as having it all the time: however many
 * of his stages stand still, he has no more of them than there are seats. */
void dispatch_lend(struct stage *s, bool lend);
/* Its seat and the states that it was to fold in are free for others; it holds its lease on. */
void dispatch_let_go(struct stage *s);
/* The lease is over: seat and job are released. keep: fold states it was handed go back to the job. */
void dispatch_release(struct stage *s, bool keep_states);

#endif
