/*
 * roles.h - in which role a stage knows a job, and the roles of which a job has one each: planner, producer,
 * consumer.
 *
 *   planner    holds a seat; reads the input's header and decides, or does all of a small job
 *   producer   the planner's stage goes on; another takes its place if it dies      no seat
 *   consumer   begins with the job's first lease and stays until the output is whole   no seat
 */
#ifndef PWC_ROLES_H
#define PWC_ROLES_H

#include "daemon/job.h"

/* Stages a job may hold without a seat: its consumer's and its producer's. */
uint32_t roles_needed(const struct job *j);
/* By all jobs that have begun. */
uint32_t roles_taken(const struct daemon *d);
/* JobOpen, unless the stage has the job open in this role. False: it could not be told, and is being killed.
 */
bool roles_open(struct job *j, struct stage *s, Stage__Role role);
/* False: there is no stage for it now, or no room yet for the roles that the job will fill. */
bool roles_plan(struct job *j);
/* The stage, which is idle and has the job open, begins to produce. */
void roles_produce(struct job *j, struct stage *s);
/* Attempts at a role so far, the one under way or next included. */
uint32_t roles_attempt(const struct job *j, enum lease_kind role);
/* How many more a charge for this would leave, if all of them ended like that. */
uint32_t roles_left(const struct job *j, enum lease_kind role, enum cause cause);
/* The consumer, and a producer in place of one that died: those that are missing and can be started. */
void roles_fill(struct job *j);

#endif
