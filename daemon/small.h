/*
 * small.h - jobs of one chunk that need neither descriptors nor a plan, and how many of them share a message.
 *
 * Their lease is a message of its own, Small, which brings the job's description along, and ends with its
 * report: one message there, one back, no JobOpen and no JobClose. When all seats are taken and the op is
 * known to be quick, further ones are sent *ahead* to a stage that holds a small lease already; it takes them
 * one after the other and sends their reports together. So what a message and a wake-up cost is shared by
 * many jobs.
 *
 *   the stage's lease (stage.lease, stage.job)   the one it is at, as far as is known; it has the seat
 *   stage.ahead[]                                held as well, in no order: reports name their lease
 *
 * small_face() makes the lease that the slot names the stage's own: so timeouts, deaths and lists need not
 * know of this. What is ahead can always be taken back: `revoke` in the control page says which leases are
 * not to be begun any more. That is done when one of them ends early, when its stage dies, and when the stage
 * has not reported for a while: nobody waits long behind a chunk that is slower than its op used to be.
 */
#ifndef PWC_SMALL_H
#define PWC_SMALL_H

#include "daemon/job.h"

void small_init(struct daemon *d);
void small_end(struct daemon *d);

bool job_is_small(const struct job *j);
/* It is likely to be over in a moment. */
bool small_is_quick(const struct job *j);
/* The look, some milliseconds from now, at what waits in stages and in daemon.later. */
void small_arm(struct daemon *d);
/* A lease of the job's only chunk. The stage is idle and in its domain. */
void small_start(struct job *j, struct stage *s);
/* Gives further ones to stages that hold such a lease. */
void small_ahead(struct daemon *d);

/* The lease the slot names becomes the stage's own. */
void small_face(struct stage *s);
/* The same for a lease that was reported. False: the stage does not hold it. */
bool small_face_lease(struct stage *s, uint64_t lease);
/* The stage's own is over: the next one takes its place and the seat. False: there is none. */
bool small_next(struct stage *s);
/* All but its own wait again. */
void small_take_back(struct stage *s);
/* How long a small job of this op took. */
void small_took(struct daemon *d, const Pwc__OpInfo *op, uint64_t ns);

#endif
